/* Signed certificate timestamps (RFC 6962 §3.2, §3.3) embedded in a signer's certificate: a log of certificates
 * promises that everybody can see that this one was issued. */
#pragma once

#include "sigstore/trusted_root.h"

/* How many of @logs (GpTrustedLog*) promise @leaf, which @issuer, out of the verified chain, issued: distinct logs,
 * each with a good signature and a time at which its key was in use. What logs that nobody knows say counts as nothing.
 * *@bad (may be NULL) tells, when one did not count, what was wrong with it: static, or NULL. */
guint gp_sct_count(X509 *leaf, X509 *issuer, GPtrArray *logs, const char **bad);

/* At least @wanted must. Errors: SIGNATURE with "sct-missing: " (too few, and none was bad), "sct-invalid: " (too few,
 * and one was bad). */
gboolean gp_sct_verify(X509 *leaf, X509 *issuer, GPtrArray *logs, guint wanted, GError **error);
