#include "sigstore/public_key.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "tests/unit/sigstore/key_kit.h"

static GpPublicKey *parse(const char *pem, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new(pem, strlen(pem));
    return gp_public_key_parse(bytes, "the key", error);
}

static void assert_refused(const char *pem, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(parse(pem, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
    if (!g_str_has_prefix(error->message, reason))
        g_error("expected \"%s…\", got \"%s\"", reason, error->message);
    g_assert_cmpuint(ERR_peek_error(), ==, 0);
}

static void test_accepted(gconstpointer data)
{
    g_autoptr(EVP_PKEY) pkey = kit_key(data);
    g_autofree char *pem = kit_pem(pkey);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPublicKey) key = parse(pem, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) der = kit_der(pkey);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(der, NULL), g_bytes_get_size(der), &digest);
    g_autofree char *id = gp_digest_to_string(&digest);
    g_assert_cmpstr(gp_public_key_id(key), ==, id);
}

static void test_refused(gconstpointer data)
{
    g_autoptr(EVP_PKEY) pkey = kit_key(data);
    g_autofree char *pem = kit_pem(pkey);
    assert_refused(pem, "the key: a key of kind ");
}

static void test_white_space(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("P-256");
    g_autofree char *pem = kit_pem(pkey);
    g_autofree char *around = g_strdup_printf(" \r\n\t%s\n\n ", pem);
    g_auto(GStrv) lines = g_strsplit(pem, "\n", -1);
    g_autofree char *crlf = g_strjoinv("\r\n", lines);
    const char *const texts[] = {around, crlf};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpPublicKey) key = parse(texts[i], &error);
        g_assert_no_error(error);
    }
}

static void test_more_than_one_block(void)
{
    g_autoptr(EVP_PKEY) first = kit_key("P-256");
    g_autoptr(EVP_PKEY) second = kit_key("P-256");
    g_autofree char *a = kit_pem(first), *b = kit_pem(second);
    g_autofree char *both = g_strconcat(a, b, NULL);
    assert_refused(both, "the key: something stands behind the PEM block\nOne key a file");
    g_autofree char *behind = g_strconcat(a, "x\n", NULL);
    assert_refused(behind, "the key: something stands behind the PEM block\nGive one");
    g_autofree char *before = g_strconcat("x\n", a, NULL);
    assert_refused(before, "the key: does not begin with ");
}

static void test_malformed(void)
{
    assert_refused("", "the key: does not begin with ");
    assert_refused("hello", "the key: does not begin with ");
    assert_refused("-----BEGIN PUBLIC KEY-----", "the key: the PEM block has no end");
    assert_refused("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", "the key: the PEM block is not base64");
    assert_refused(
        "-----BEGIN PUBLIC KEY-----\nA*==\n-----END PUBLIC KEY-----\n", "the key: the PEM block is not base64");
    assert_refused(
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "the key: not a SubjectPublicKeyInfo");
    assert_refused("-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PUBLIC KEY-----\n",
        "the key: the PEM block is not base64");
    g_autoptr(GBytes) nul = g_bytes_new_static("-----BEGIN\0", 11);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_public_key_parse(nul, "the key", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
    g_autofree char *huge = g_strnfill(GP_LIMIT_KEY + 1, ' ');
    assert_refused(huge, "the key: no PEM text");
}

/* The same key in another dress would have another id. */
static void test_other_encodings(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("P-256");
    g_autoptr(GBytes) der = kit_der(pkey);
    g_autofree char *label = kit_pem_of(der, "CERTIFICATE");
    assert_refused(label, "the key: does not begin with ");

    GByteArray *longer = g_byte_array_new();
    g_byte_array_append(longer, g_bytes_get_data(der, NULL), (guint) g_bytes_get_size(der));
    g_byte_array_append(longer, (const guint8 *) "", 1);
    g_autoptr(GBytes) trailing = g_byte_array_free_to_bytes(longer);
    g_autofree char *trailing_pem = kit_pem_of(trailing, "PUBLIC KEY");
    assert_refused(trailing_pem, "the key: not a SubjectPublicKeyInfo");

    g_assert_cmpint(EVP_PKEY_set_utf8_string_param(pkey, "point-format", "compressed"), ==, 1);
    g_autofree char *compressed = kit_pem(pkey);
    assert_refused(compressed, "the key: a key of kind EC, 256 bits is not accepted");

    g_autoptr(EVP_PKEY) other = kit_key("P-256");
    g_assert_cmpint(EVP_PKEY_set_utf8_string_param(other, "encoding", "explicit"), ==, 1);
    g_autofree char *explicit_curve = kit_pem(other);
    assert_refused(explicit_curve, "the key: a key of kind EC, 256 bits is not accepted");
}

static void test_unsound(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("P-256");
    g_autoptr(GBytes) der = kit_der(pkey);
    g_autofree guint8 *copy = g_memdup2(g_bytes_get_data(der, NULL), g_bytes_get_size(der));
    copy[g_bytes_get_size(der) - 1] ^= 1;
    g_autoptr(GBytes) off_curve = g_bytes_new(copy, g_bytes_get_size(der));
    g_autofree char *pem = kit_pem_of(off_curve, "PUBLIC KEY");
    assert_refused(pem, "the key: not a SubjectPublicKeyInfo");

    g_autoptr(EVP_PKEY) rsa = kit_key("RSA-2048");
    g_autoptr(GBytes) rsa_der = kit_der(rsa);
    gsize size = g_bytes_get_size(rsa_der);
    g_autofree guint8 *weak = g_memdup2(g_bytes_get_data(rsa_der, NULL), size);
    weak[size - 1] = 0; /* exponent 65536 */
    g_autoptr(GBytes) weak_der = g_bytes_new(weak, size);
    g_autofree char *weak_pem = kit_pem_of(weak_der, "PUBLIC KEY");
    assert_refused(weak_pem, "the key: the key's numbers are no valid public key");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const char *const good[] = {"P-256", "P-384", "P-521", "RSA-2048", "RSA-3072", "RSA-4096", "ED25519"};
    static const char *const bad[] = {
        "RSA-1024", "RSA-2040", "RSA-4104", "RSA-PSS", "ED448", "X25519", "secp256k1", "P-224", "brainpoolP256r1"};
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *path = g_strdup_printf("/sigstore/public-key/%s-is-accepted", good[i]);
        g_test_add_data_func(path, good[i], test_accepted);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *path = g_strdup_printf("/sigstore/public-key/%s-is-refused", bad[i]);
        g_test_add_data_func(path, bad[i], test_refused);
    }
    g_test_add_func("/sigstore/public-key/white-space-around-is-fine", test_white_space);
    g_test_add_func("/sigstore/public-key/more-than-one-block-is-refused", test_more_than_one_block);
    g_test_add_func("/sigstore/public-key/malformed-is-refused", test_malformed);
    g_test_add_func("/sigstore/public-key/other-encodings-are-refused", test_other_encodings);
    g_test_add_func("/sigstore/public-key/unsound-numbers-are-refused", test_unsound);
    return g_test_run();
}
