/* Decryption of a layer in its stream: AES-256-CTR, authenticated by HMAC-SHA256 over the ciphertext under the same key
 * (ocicrypt). Whether the bytes are authentic is known at their end only: who uses them earlier must be able to throw
 * away what came of them. */
#pragma once

#include <glib.h>

#include "puller/layer_key.h"

typedef struct _GpDecryptor GpDecryptor;

/* @key is copied into OpenSSL's contexts, which wipe it. */
GpDecryptor *gp_decryptor_new(const GpLayerKey *key);
void gp_decryptor_free(GpDecryptor *decryptor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpDecryptor, gp_decryptor_free)

/* Decrypts the next @length bytes at @data in place. */
void gp_decryptor_update(GpDecryptor *decryptor, guint8 *data, gsize length);

/* To be called once, after the last byte: TRUE if all of it was what the holder of the key encrypted. Errors: KEY. */
gboolean gp_decryptor_finish(GpDecryptor *decryptor, GError **error);
