/* An encrypted layer's options, its key's proof, and the decryption itself: published vectors, and a layer that skopeo
 * 1.22 encrypted. */
#include <glib.h>

#include "base/error.h"
#include "puller/decrypt.h"

/* NIST SP 800-38A, F.5.5: CTR-AES256. */
#define NIST_KEY "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
#define NIST_COUNTER "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
#define NIST_PLAIN                                                                                                     \
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b1"  \
    "7ad2b417be66c3710"
#define NIST_CIPHER                                                                                                    \
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce87017ba2d84988ddfc9c58db67aada6" \
    "13c2dd08457941a6"

/* HMAC-SHA256 of the ciphertext under that key, by another program (Python). */
#define HMAC_OF_NIST_CIPHER "c24f1318ee1ab5f6e6468f7bc85f05eafcc5abeb16d46b2955f7c22e32a73161"

static GByteArray *unhex(const char *text)
{
    GByteArray *bytes = g_byte_array_new();
    for (; *text; text += 2) {
        guint8 byte = (guint8) (g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
        g_byte_array_append(bytes, &byte, 1);
    }
    return bytes;
}

static char *base64_of_hex(const char *hex)
{
    g_autoptr(GByteArray) bytes = unhex(hex);
    return g_base64_encode(bytes->data, bytes->len);
}

/* A key made of hex; NULL and @error as gp_layer_key_parse() says. */
static GpLayerKey *key_of(const char *secret, const char *nonce, const char *hmac, GError **error)
{
    g_autofree char *s = base64_of_hex(secret), *n = base64_of_hex(nonce), *h = base64_of_hex(hmac);
    g_autofree char *public_json =
        g_strdup_printf("{\"cipher\":\"AES_256_CTR_HMAC_SHA256\",\"hmac\":\"%s\",\"cipheroptions\":{}}", h);
    g_autofree char *public_text = g_base64_encode((const guchar *) public_json, strlen(public_json));
    char *private_json = g_strdup_printf("{\"symkey\":\"%s\",\"digest\":\"sha256:"
                                         "0000000000000000000000000000000000000000000000000000000000000000\","
                                         "\"cipheroptions\":{\"nonce\":\"%s\"}}",
        s, n);
    g_autoptr(GBytes) private_options = g_bytes_new_take(private_json, strlen(private_json));
    return gp_layer_key_parse(public_text, private_options, error);
}

static void decrypt(GpDecryptor *decryptor, GByteArray *data, gsize step)
{
    for (gsize at = 0; at < data->len; at += step)
        gp_decryptor_update(decryptor, data->data + at, MIN(step, data->len - at));
}

static void test_aes_ctr_vector(void)
{
    static const gsize steps[] = {1, 7, 16, 33, 64};
    g_autoptr(GError) error = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_autoptr(GpLayerKey) key = key_of(NIST_KEY, NIST_COUNTER, HMAC_OF_NIST_CIPHER, &error);
        g_assert_no_error(error);
        g_autoptr(GpDecryptor) decryptor = gp_decryptor_new(key);
        g_autoptr(GByteArray) data = unhex(NIST_CIPHER);
        g_autoptr(GByteArray) expected = unhex(NIST_PLAIN);
        decrypt(decryptor, data, steps[i]);
        g_assert_cmpmem(data->data, data->len, expected->data, expected->len);
        g_assert_true(gp_decryptor_finish(decryptor, &error));
    }
}

/* RFC 4231: its keys are shorter than ours, and HMAC pads keys with zeros, so that ours are the same keys. */
static void test_hmac_vectors(void)
{
    static const struct {
        const char *key, *data, *mac;
    } rows[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b000000000000000000000000", "4869205468657265",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {"4a65666500000000000000000000000000000000000000000000000000000000",
            "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpLayerKey) key = key_of(rows[i].key, NIST_COUNTER, rows[i].mac, &error);
        g_assert_no_error(error);
        g_autoptr(GpDecryptor) decryptor = gp_decryptor_new(key);
        g_autoptr(GByteArray) data = unhex(rows[i].data);
        decrypt(decryptor, data, 5);
        g_assert_true(gp_decryptor_finish(decryptor, &error));
        /* One bit less of it. */
        g_autoptr(GpDecryptor) other = gp_decryptor_new(key);
        g_autoptr(GByteArray) changed = unhex(rows[i].data);
        changed->data[0] ^= 1;
        decrypt(other, changed, 5);
        g_assert_false(gp_decryptor_finish(other, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
        g_assert_nonnull(strstr(error->message, "hmac-mismatch: cannot decrypt the layer"));
    }
}

/* Written by skopeo 1.22 (ocicrypt) from a gzip layer; the key provider's program kept the private options. */
#define SKOPEO_PUBLIC                                                                                                  \
    "eyJjaXBoZXIiOiJBRVNfMjU2X0NUUl9ITUFDX1NIQTI1NiIsImhtYWMiOiJpYUQ5YU9YYmNWNkVjM1F2NFIvQnlETHdRaHVS"                 \
    "NGdnOUdnc3RiNlJ5Ym9rPSIsImNpcGhlcm9wdGlvbnMiOnt9fQ=="
#define SKOPEO_PRIVATE                                                                                                 \
    "{\"symkey\":\"hC7UighF33f9WJjpEPxko3kXEGaypipA4RJ9tU2sIQ0=\",\"digest\":\"sha256:1bd16cb8af2a8d65b5270a"          \
    "fe4c8ee4a6acd26cb7cf4cd51c482b8cc4e49eb04a\",\"cipheroptions\":{\"nonce\":\"XK12Wxpvo72e5IkglIRSUA==\"}"          \
    "}"
#define SKOPEO_BLOB                                                                                                    \
    "ZPl+vd5b15CHzYqIMBUvqUxQ9+6C7GWlfWNi/IShapZP74Jay3STlr+jwjOt+xeDzBMKYN2WCpTjtFK83eNndoV5/up/GirY"                 \
    "Kv4cGBkQ7uc9oNHUOeR84yqAjGmiR2GG4VtRhyrfJPPGsnZd"
#define SKOPEO_PLAIN_DIGEST "sha256:1bd16cb8af2a8d65b5270afe4c8ee4a6acd26cb7cf4cd51c482b8cc4e49eb04a"

static void test_layer_of_skopeo(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) private_options = g_bytes_new_static(SKOPEO_PRIVATE, strlen(SKOPEO_PRIVATE));
    g_autoptr(GpLayerKey) key = gp_layer_key_parse(SKOPEO_PUBLIC, private_options, &error);
    g_assert_no_error(error);
    g_autoptr(GpDecryptor) decryptor = gp_decryptor_new(key);
    gsize length;
    g_autofree guchar *blob = g_base64_decode(SKOPEO_BLOB, &length);
    gp_decryptor_update(decryptor, blob, length);
    g_assert_true(gp_decryptor_finish(decryptor, &error));
    GpDigest plain;
    gp_digest_of(GP_DIGEST_SHA256, blob, length, &plain);
    g_autofree char *text = gp_digest_to_string(&plain);
    g_assert_cmpstr(text, ==, SKOPEO_PLAIN_DIGEST);
}

static void test_proof(void)
{
    static const char other_key[] = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff5";
    static const char other_nonce[] = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfefe";
    g_autoptr(GpLayerKey) key = key_of(NIST_KEY, NIST_COUNTER, HMAC_OF_NIST_CIPHER, NULL);
    g_autoptr(GpLayerKey) same = key_of(NIST_KEY, NIST_COUNTER, NIST_KEY, NULL); /* another annotation, the same key */
    g_autoptr(GpLayerKey) another_key = key_of(other_key, NIST_COUNTER, HMAC_OF_NIST_CIPHER, NULL);
    g_autoptr(GpLayerKey) another_nonce = key_of(NIST_KEY, other_nonce, HMAC_OF_NIST_CIPHER, NULL);
    GpDigest one, two;
    gp_digest_of(GP_DIGEST_SHA256, "1", 1, &one);
    gp_digest_of(GP_DIGEST_SHA256, "2", 1, &two);
    g_autofree char *proof = gp_layer_key_proof(key, &one);
    g_autofree char *equal = gp_layer_key_proof(same, &one);
    g_autofree char *of_key = gp_layer_key_proof(another_key, &one);
    g_autofree char *of_nonce = gp_layer_key_proof(another_nonce, &one);
    g_autofree char *of_blob = gp_layer_key_proof(key, &two);
    g_assert_cmpuint(strlen(proof), ==, 64);
    g_assert_cmpstr(proof, ==, equal);
    g_assert_cmpstr(proof, !=, of_key);
    g_assert_cmpstr(proof, !=, of_nonce);
    g_assert_cmpstr(proof, !=, of_blob);
}

/* What no error may do: tell the key. */
static void test_errors_keep_the_secret(void)
{
    static const char text[] = "{\"symkey\":\"c2VjcmV0\",\"digest\":\"x\",\"cipheroptions\":{}} c2VjcmV0";
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) private_options = g_bytes_new_static(text, strlen(text));
    g_assert_null(gp_layer_key_parse(SKOPEO_PUBLIC, private_options, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
    g_assert_null(strstr(error->message, "c2Vj"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/layer-key/aes-ctr-vector", test_aes_ctr_vector);
    g_test_add_func("/layer-key/hmac-vectors", test_hmac_vectors);
    g_test_add_func("/layer-key/layer-of-skopeo", test_layer_of_skopeo);
    g_test_add_func("/layer-key/proof", test_proof);
    g_test_add_func("/layer-key/errors-keep-the-secret", test_errors_keep_the_secret);
    return g_test_run();
}
