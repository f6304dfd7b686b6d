/* The key of one encrypted layer, as ocicrypt writes it: public options in an annotation, private ones wrapped for a
 * key provider (ocicrypt's spec.md, "AES_256_CTR_HMAC_SHA256"). Kept in memory that is locked, left out of core dumps,
 * and wiped. */
#pragma once

#include <glib.h>

#include "base/digest.h"

#define GP_LAYER_KEY_SIZE 32
#define GP_LAYER_NONCE_SIZE 16
#define GP_LAYER_HMAC_SIZE 32

typedef struct _GpLayerKey GpLayerKey;

/* Reads both sets of options strictly. @public_options: the annotation, padded base64 of {"cipher","hmac",
 * "cipheroptions"}. @private_options: JSON {"symkey","digest","cipheroptions"}. The nonce must be in exactly one of the
 * two; the digest must be one, but is not compared with the plaintext's: skopeo 1.22 writes the digest of what it read,
 * which is another when it compresses anew while encrypting. Errors: INVALID naming the member, UNSUPPORTED (another
 * cipher), KEY (private options that are none). No error quotes a secret. */
GpLayerKey *gp_layer_key_parse(const char *public_options, GBytes *private_options, GError **error);
void gp_layer_key_free(GpLayerKey *key);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpLayerKey, gp_layer_key_free)

const guint8 *gp_layer_key_secret(const GpLayerKey *key); /* GP_LAYER_KEY_SIZE bytes; borrowed */
const guint8 *gp_layer_key_nonce(const GpLayerKey *key);  /* GP_LAYER_NONCE_SIZE bytes; borrowed */
const guint8 *gp_layer_key_hmac(const GpLayerKey *key);   /* GP_LAYER_HMAC_SIZE bytes: what the ciphertext must have */

/* What shows later that somebody has this key for @blob without telling it: lower-case hex of an HMAC under the key
 * over its nonce and @blob. Kept with the decrypted layer in the store. Owned by the caller. */
char *gp_layer_key_proof(const GpLayerKey *key, const GpDigest *blob);
