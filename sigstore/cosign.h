/* Legacy cosign signatures: a payload blob and annotations of a layer of the ".sig" tag's manifest. */
#pragma once

#include "sigstore/evidence.h"
#include "sigstore/public_key.h"

#define GP_COSIGN_PAYLOAD_TYPE "application/vnd.dev.cosign.simplesigning.v1+json"
#define GP_COSIGN_SIGNATURE_ANNOTATION "dev.cosignproject.cosign/signature"

/* Verifies @signature_base64 over the raw @payload by any of @keys (GpPublicKey*), then reads the payload strictly.
 * Errors: SIGNATURE, text beginning with "signature-format: ", "bad-signature: ", "payload: "; KEY "no-usable-key: "
 * when @keys is empty. */
GpSignatureFacts *gp_cosign_verify(GBytes *payload, const char *signature_base64, GPtrArray *keys, GError **error);
