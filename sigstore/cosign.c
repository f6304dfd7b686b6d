#include "sigstore/cosign.h"

#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/base64.h"
#include "sigstore/payload.h"

/* An RSA-4096 signature is 512 bytes; a megabyte of base64 is somebody's joke. */
#define MAX_SIGNATURE_TEXT (16 * GP_KIB)

static GBytes *decode_signature(GBytes *payload, const char *text, GError **error)
{
    if (g_bytes_get_size(payload) > GP_LIMIT_SIGNATURE) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "signature-format: the payload has more than %" G_GUINT64_FORMAT " bytes", (guint64) GP_LIMIT_SIGNATURE);
        return NULL;
    }
    gsize length = strnlen(text, MAX_SIGNATURE_TEXT + 1);
    GBytes *signature = length <= MAX_SIGNATURE_TEXT ? gp_base64_decode(text, length) : NULL;
    if (!signature)
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "signature-format: the annotation %s is not base64",
            GP_COSIGN_SIGNATURE_ANNOTATION);
    return signature;
}

GpSignatureFacts *gp_cosign_verify(GBytes *payload, const char *signature_base64, GPtrArray *keys, GError **error)
{
    if (keys->len == 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "no-usable-key: no public key to verify with");
        return NULL;
    }
    g_autoptr(GBytes) signature = decode_signature(payload, signature_base64, error);
    if (!signature)
        return NULL;
    for (guint i = 0; i < keys->len; i++) {
        const GpPublicKey *key = g_ptr_array_index(keys, i);
        if (!gp_public_key_verifies(key, payload, signature))
            continue;
        g_autofree char *signer = g_strdup_printf("key %s", gp_public_key_id(key));
        return gp_payload_parse(payload, GP_PAYLOAD_COSIGN, signer, error);
    }
    g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
        "bad-signature: made by none of the %u accepted keys, or for another payload", keys->len);
    return NULL;
}
