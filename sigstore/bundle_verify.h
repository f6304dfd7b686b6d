/* Verification of bundles, keyed and keyless, offline (docs/sigstore.md, "The order of checks"). The clock of the guest
 * is never asked: time is what logs and timestamp authorities attest. */
#pragma once

#include "sigstore/bundle.h"
#include "sigstore/evidence.h"
#include "sigstore/trusted_root.h"

/* What is asked. Zeroed memory admits nobody. */
typedef struct {
    GPtrArray *keys;           /* GpPublicKey*: one of them signed; NULL: a certificate must say who signed */
    const GpTrustedRoot *root; /* may be NULL with keys: then log entries and timestamps are not looked at */
    /* Is it one of those who may sign? Asked last, when all else is verified; NULL: nobody (ignored with keys). */
    gboolean (*admits)(const GpCertificateIdentity *identity, gpointer data);
    gpointer admits_data;
    guint logs, scts, timestamps; /* so many distinct logs, CT logs, timestamp authorities must vouch */
    GBytes *artifact;             /* what was signed; NULL: only its digest is known */
    GpDigest digest;              /* of the artifact, SHA-256 */
    const char *predicate_type;   /* a statement of this type is demanded; NULL: any, and plain signatures too */
} GpBundleRequest;

/* The facts of @bundle, if it is what @request asks for. Everything in it that can be verified must be good: a bad
 * entry beside a good one refuses. Errors: SIGNATURE with one of the words of docs/sigstore.md. */
GpSignatureFacts *gp_bundle_verify(const GpBundle *bundle, const GpBundleRequest *request, GError **error);
