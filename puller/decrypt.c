#include "puller/decrypt.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/error.h"

struct _GpDecryptor {
    EVP_CIPHER_CTX *cipher;
    EVP_MAC_CTX *mac;
    guint8 expected[GP_LAYER_HMAC_SIZE];
};

/* With valid arguments OpenSSL's symmetric functions fail for want of memory only. */
static void must(int ok, const char *what)
{
    if (ok != 1)
        g_error("OpenSSL: %s", what);
}

static EVP_MAC_CTX *start_mac(const GpLayerKey *key)
{
    char sha256[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0), OSSL_PARAM_construct_end()};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    must(hmac != NULL, "HMAC");
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);
    must(context && EVP_MAC_init(context, gp_layer_key_secret(key), GP_LAYER_KEY_SIZE, parameters), "HMAC");
    return context;
}

GpDecryptor *gp_decryptor_new(const GpLayerKey *key)
{
    GpDecryptor *decryptor = g_new0(GpDecryptor, 1);
    memcpy(decryptor->expected, gp_layer_key_hmac(key), sizeof decryptor->expected);
    decryptor->mac = start_mac(key);
    decryptor->cipher = EVP_CIPHER_CTX_new();
    must(decryptor->cipher && EVP_DecryptInit_ex2(decryptor->cipher, EVP_aes_256_ctr(), gp_layer_key_secret(key),
                                  gp_layer_key_nonce(key), NULL),
        "AES-256-CTR");
    return decryptor;
}

void gp_decryptor_update(GpDecryptor *decryptor, guint8 *data, gsize length)
{
    int written = 0;
    g_assert(length <= G_MAXINT);
    must(EVP_MAC_update(decryptor->mac, data, length), "HMAC");
    must(EVP_DecryptUpdate(decryptor->cipher, data, &written, data, (int) length), "AES-256-CTR");
    g_assert((gsize) written == length);
}

gboolean gp_decryptor_finish(GpDecryptor *decryptor, GError **error)
{
    guint8 actual[GP_LAYER_HMAC_SIZE];
    gsize length = 0;
    must(EVP_MAC_final(decryptor->mac, actual, &length, sizeof actual), "HMAC");
    if (length == sizeof actual && CRYPTO_memcmp(actual, decryptor->expected, sizeof actual) == 0)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_KEY,
        "hmac-mismatch: cannot decrypt the layer: its HMAC is not what its annotation and key say, so the key is "
        "another layer's or the annotation was changed");
    return FALSE;
}

void gp_decryptor_free(GpDecryptor *decryptor)
{
    if (!decryptor)
        return;
    EVP_CIPHER_CTX_free(decryptor->cipher);
    EVP_MAC_CTX_free(decryptor->mac);
    g_free(decryptor);
}
