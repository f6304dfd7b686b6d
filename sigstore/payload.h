/* The signed JSON of simple signing (containers-signature(5)) and of cosign: one grammar, two values of "type". */
#pragma once

#include "sigstore/evidence.h"

typedef enum {
    GP_PAYLOAD_ATOMIC, /* "atomic container signature"; "optional" must be an object */
    GP_PAYLOAD_COSIGN, /* "cosign container image signature"; "optional" may be null or absent */
} GpPayloadKind;

/* Reads @payload, whose signature is already verified. Strict: every key of the grammar and no other, except inside
 * "optional", where only "creator" (string) and "timestamp" (integral) are looked at. The digest is validated; the
 * reference is copied verbatim. @signer is copied into the facts. Errors: SIGNATURE, text beginning with "payload: ".
 */
GpSignatureFacts *gp_payload_parse(GBytes *payload, GpPayloadKind kind, const char *signer, GError **error);
