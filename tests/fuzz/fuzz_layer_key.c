/* FUZZ_LIBS: puller base
 * An encrypted layer's options: public ones, a NUL, then private ones, bare and as a JWE that is for nobody. */
#include <openssl/rsa.h>

#include "base/error.h"
#include "puller/jwe.h"
#include "puller/layer_key.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static EVP_PKEY *key;
    if (!key)
        key = EVP_RSA_gen(2048);
    const guint8 *cut = size ? memchr(data, '\0', size) : NULL;
    gsize first = cut ? (gsize) (cut - data) : size;
    g_autofree char *public_options = g_strndup((const char *) data, first);
    g_autoptr(GBytes) private_options = g_bytes_new(cut ? cut + 1 : data, cut ? size - first - 1 : 0);
    g_autoptr(GError) error = NULL, jwe_error = NULL;
    g_autoptr(GpLayerKey) parsed = gp_layer_key_parse(public_options, private_options, &error);
    g_assert_true((parsed == NULL) == (error != NULL));
    g_autoptr(GBytes) opened = gp_jwe_decrypt(private_options, key, &jwe_error);
    g_assert_null(opened);
    g_assert_nonnull(jwe_error);
    return 0;
}
