/* What a transparency log's entry is about, and whether it is *this* signature (CVE-2022-36056, CVE-2026-22703). */
#pragma once

#include <glib.h>

#include "base/digest.h"
#include "sigstore/bundle.h"

/* What the entry must be bound to. */
typedef struct {
    GBytes *signature;
    GBytes *verifier; /* DER of the signer's certificate, or of the bare public key */
    gboolean is_certificate;
    const char *key_details; /* of the signer's key, as gp_public_key_details() */
    GBytes *data; /* what was signed: the artifact or the envelope's encoding; NULL: only its digest is known */
    const GpDigest *data_digest; /* SHA-256 of it */
    GBytes *payload;             /* the DSSE envelope's; NULL: no envelope */
} GpLogBinding;

/* Is @entry one of the four kinds that are known (hashedrekord 0.0.1 and 0.0.2, dsse 0.0.1, intoto 0.0.2), is its body
 * of that kind, and does it hold signature, verifier and data of @binding? The body of 0.0.2 is made anew and compared
 * byte for byte. Errors: SIGNATURE "log-entry-not-bound: ". */
gboolean gp_rekor_body_check(const GpLogEntry *entry, const GpLogBinding *binding, GError **error);

/* TRUE for an entry of Rekor v2, which has no signed time. */
gboolean gp_rekor_is_v2(const GpLogEntry *entry);
