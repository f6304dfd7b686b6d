/* Timestamps of RFC 3161: an authority attests that something existed at a time. */
#pragma once

#include "sigstore/trusted_root.h"

/* Verifies the TimeStampResp @response (DER, not a byte more) over @data, a signature's raw bytes, and gives its time
 * in seconds since 1970; *@index (may be NULL) becomes the place of its authority. One of @authorities
 * (GpTrustedAuthority*) must have made it: if the authority's own certificate is named, that one and no other
 * (CVE-2026-39984), else one that is part of the response and leads to it; for timestamps alone (RFC 3161 §2.3), valid,
 * and the authority in use, at the time it attests. Imprints by SHA-256 or more. Errors: SIGNATURE with
 * "timestamp-format: ", "timestamp-mismatch: " (it is of something else), "timestamp-untrusted: " (signature or chain),
 * "timestamp-authority-expired: ". */
gboolean gp_timestamp_verify(
    GBytes *response, GBytes *data, GPtrArray *authorities, gint64 *time, guint *index, GError **error);
