/* DSSE envelopes and in-toto statements (github.com/secure-systems-lab/dsse protocol.md; in-toto attestation, Statement
 * v1). */
#pragma once

#include <glib.h>

#include "base/digest.h"

#define GP_STATEMENT_PAYLOAD_TYPE "application/vnd.in-toto+json"
/* The predicate of a signature of an image, as cosign 3 makes them. Any other is an attestation *about* the image. */
#define GP_PREDICATE_COSIGN_SIGN "https://sigstore.dev/cosign/sign/v1"

/* DSSE's pre-authentication encoding: "DSSEv1 <length> <type> <length> <payload>". */
GBytes *gp_dsse_pae(const char *payload_type, GBytes *payload);

/* Reads the statement @payload of type @payload_type, whose signature is already verified: it must be about @digest
 * and, unless NULL, have the predicate type @predicate_type. Errors: SIGNATURE "statement: ", "predicate-type: "
 * (CVE-2022-35929), "digest-mismatch: ". */
gboolean gp_statement_check(
    const char *payload_type, GBytes *payload, const GpDigest *digest, const char *predicate_type, GError **error);
