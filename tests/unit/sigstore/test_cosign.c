#include "sigstore/cosign.h"

#include "base/error.h"
#include "base/limits.h"
#include "tests/unit/sigstore/key_kit.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define PAYLOAD                                                                                                        \
    "{\"critical\":{\"identity\":{\"docker-reference\":\"registry.example/"                                            \
    "app\"},\"image\":{\"docker-manifest-digest\":\"sha256:" HEX32 HEX32                                               \
    "\"},\"type\":\"cosign container image signature\"},\"optional\":null}"

static GpPublicKey *public_key(EVP_PKEY *pkey)
{
    g_autofree char *pem = kit_pem(pkey);
    g_autoptr(GBytes) bytes = g_bytes_new(pem, strlen(pem));
    g_autoptr(GError) error = NULL;
    GpPublicKey *key = gp_public_key_parse(bytes, "test key", &error);
    g_assert_no_error(error);
    return key;
}

static GPtrArray *keys_of(EVP_PKEY *const *pkeys, gsize count)
{
    GPtrArray *keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_public_key_free);
    for (gsize i = 0; i < count; i++)
        g_ptr_array_add(keys, public_key(pkeys[i]));
    return keys;
}

static char *sign(EVP_PKEY *pkey, const char *hash, const char *payload)
{
    g_autoptr(GBytes) signature = kit_sign(pkey, hash, payload, strlen(payload));
    return g_base64_encode(g_bytes_get_data(signature, NULL), g_bytes_get_size(signature));
}

static GpSignatureFacts *verify(const char *payload, const char *signature, GPtrArray *keys, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new(payload, strlen(payload));
    GpSignatureFacts *facts = gp_cosign_verify(bytes, signature, keys, error);
    g_assert_cmpuint(ERR_peek_error(), ==, 0);
    return facts;
}

static void assert_refused(const char *payload, const char *signature, GPtrArray *keys, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(verify(payload, signature, keys, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    if (!g_str_has_prefix(error->message, reason))
        g_error("expected \"%s…\", got \"%s\"", reason, error->message);
}

typedef struct {
    const char *kind;
    const char *hash;
    gboolean good;
} HashRule;

static const HashRule hash_rules[] = {
    {"P-256", "SHA256", TRUE},
    {"P-256", "SHA384", FALSE},
    {"P-256", "SHA512", FALSE},
    {"P-256", "SHA1", FALSE},
    {"P-384", "SHA384", TRUE},
    {"P-384", "SHA256", TRUE},
    {"P-384", "SHA512", FALSE},
    {"P-521", "SHA512", TRUE},
    {"P-521", "SHA256", TRUE},
    {"P-521", "SHA384", FALSE},
    {"RSA-2048", "SHA256", TRUE},
    {"RSA-2048", "SHA512", FALSE},
    {"RSA-2048", "SHA1", FALSE},
    {"RSA-3072", "SHA256", TRUE},
    {"RSA-4096", "SHA256", TRUE},
    {"ED25519", NULL, TRUE},
};

static void test_hash_rule(gconstpointer data)
{
    const HashRule *rule = data;
    g_autoptr(EVP_PKEY) pkey = kit_key(rule->kind);
    g_autoptr(EVP_PKEY) other = kit_key(rule->kind);
    g_autoptr(GPtrArray) right = keys_of(&pkey, 1);
    g_autoptr(GPtrArray) wrong = keys_of(&other, 1);
    g_autoptr(GPtrArray) either = keys_of((EVP_PKEY *[]){other, pkey}, 2);
    g_autofree char *signature = sign(pkey, rule->hash, PAYLOAD);
    assert_refused(PAYLOAD, signature, wrong, "bad-signature: made by none of the 1 accepted keys");
    if (!rule->good) {
        assert_refused(PAYLOAD, signature, right, "bad-signature: ");
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSignatureFacts) facts = verify(PAYLOAD, signature, either, &error);
    g_assert_no_error(error);
    g_autofree char *signer = g_strdup_printf("key %s", gp_public_key_id(g_ptr_array_index(right, 0)));
    g_assert_cmpstr(facts->signer, ==, signer);
    g_assert_cmpstr(facts->docker_reference, ==, "registry.example/app");
    assert_refused(PAYLOAD "\n", signature, right, "bad-signature: ");
    assert_refused("", signature, right, "bad-signature: ");
}

static void test_rsa_pss(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("RSA-2048");
    g_autoptr(GPtrArray) keys = keys_of(&pkey, 1);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    g_assert_cmpint(EVP_DigestSignInit_ex(ctx, &pctx, "SHA256", NULL, NULL, pkey, NULL), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), ==, 1);
    guint8 signature[256];
    gsize size = sizeof signature;
    g_assert_cmpint(EVP_DigestSign(ctx, signature, &size, (const guint8 *) PAYLOAD, strlen(PAYLOAD)), ==, 1);
    EVP_MD_CTX_free(ctx);
    g_autofree char *text = g_base64_encode(signature, size);
    assert_refused(PAYLOAD, text, keys, "bad-signature: ");
}

static void test_base64(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("ED25519");
    g_autoptr(GPtrArray) keys = keys_of(&pkey, 1);
    g_autofree char *good = sign(pkey, NULL, PAYLOAD);
    g_autofree char *head = g_strndup(good, 40);
    g_autofree char *wrapped = g_strdup_printf("%s\r\n%s\n", head, good + 40);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSignatureFacts) facts = verify(PAYLOAD, wrapped, keys, &error);
    g_assert_no_error(error);

    g_autofree char *unpadded = g_strndup(good, strlen(good) - 2);
    g_autofree char *blank = g_strconcat(" ", good, NULL);
    g_autofree char *twice = g_strconcat(good, good, NULL);
    g_autofree char *url = g_strdelimit(g_strdup("+//////////////////////w=="), "+/", '_');
    g_autofree char *bits = g_strdup(good); /* 64 bytes: the last digit carries four unused bits */
    char *last = &bits[strlen(bits) - 3];
    *last = (char) (*last == 'A' ? 'B' : *last == 'Q' ? 'R' : *last == 'g' ? 'h' : 'x');
    g_autofree char *huge = g_strnfill(20000, 'A');
    const char *const bad[] = {"", "\n", "=", "A", "AA", "AAA", "A===", "AA=A", "AAAA=", "====", unpadded, blank, twice,
        url, bits, huge, "AAAA\tAAAA", "\xc3\xa4==", "AAAA-AAA"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        assert_refused(
            PAYLOAD, bad[i], keys, "signature-format: the annotation dev.cosignproject.cosign/signature is not base64");
}

/* OpenSSL must not be lenient about DER, or a signature would have twins. */
static void test_ecdsa_encoding(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("P-256");
    g_autoptr(GPtrArray) keys = keys_of(&pkey, 1);
    g_autoptr(GBytes) signature = kit_sign(pkey, "SHA256", PAYLOAD, strlen(PAYLOAD));
    gsize size;
    const guint8 *data = g_bytes_get_data(signature, &size);
    guint8 longer[128] = {0};
    memcpy(longer, data, size);
    g_autofree char *trailing = g_base64_encode(longer, size + 1);
    assert_refused(PAYLOAD, trailing, keys, "bad-signature: ");
    g_autofree char *truncated = g_base64_encode(data, size - 1);
    assert_refused(PAYLOAD, truncated, keys, "bad-signature: ");
    memcpy(longer + 3, data + 2, size - 2);
    longer[0] = 0x30;
    longer[1] = 0x81; /* BER: a long form where the short one does */
    longer[2] = data[1];
    g_autofree char *ber = g_base64_encode(longer, size + 1);
    assert_refused(PAYLOAD, ber, keys, "bad-signature: ");
    const guint8 zeros[] = {0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00};
    g_autofree char *zero = g_base64_encode(zeros, sizeof zeros);
    assert_refused(PAYLOAD, zero, keys, "bad-signature: ");
}

static void test_payload_is_read_strictly(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("P-256");
    g_autoptr(GPtrArray) keys = keys_of(&pkey, 1);
    g_auto(GStrv) parts = g_strsplit(PAYLOAD, "cosign container image", 2);
    g_autofree char *atomic = g_strjoinv("atomic container", parts);
    g_autofree char *signature = sign(pkey, "SHA256", atomic);
    assert_refused(atomic, signature, keys, "payload: $.critical.type: is ");
    g_autofree char *empty = sign(pkey, "SHA256", "");
    assert_refused("", empty, keys, "payload: signed text: ");
}

static void test_no_keys(void)
{
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    g_assert_null(verify(PAYLOAD, "AAAA", none, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
    g_assert_cmpstr(error->message, ==, "no-usable-key: no public key to verify with");
}

static void test_huge_payload(void)
{
    g_autoptr(EVP_PKEY) pkey = kit_key("ED25519");
    g_autoptr(GPtrArray) keys = keys_of(&pkey, 1);
    g_autofree char *huge = g_strnfill(GP_LIMIT_SIGNATURE + 1, ' ');
    g_autofree char *signature = sign(pkey, NULL, huge);
    assert_refused(huge, signature, keys, "signature-format: the payload has more than 4194304 bytes");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(hash_rules); i++) {
        const HashRule *rule = &hash_rules[i];
        g_autofree char *path = g_strdup_printf("/sigstore/cosign/hash/%s-%s-is-%s", rule->kind,
            rule->hash ? rule->hash : "plain", rule->good ? "accepted" : "refused");
        g_test_add_data_func(path, rule, test_hash_rule);
    }
    g_test_add_func("/sigstore/cosign/rsa-pss-is-refused", test_rsa_pss);
    g_test_add_func("/sigstore/cosign/base64", test_base64);
    g_test_add_func("/sigstore/cosign/ecdsa-encoding-is-strict", test_ecdsa_encoding);
    g_test_add_func("/sigstore/cosign/payload-is-read-strictly", test_payload_is_read_strictly);
    g_test_add_func("/sigstore/cosign/no-keys", test_no_keys);
    g_test_add_func("/sigstore/cosign/huge-payload-is-refused", test_huge_payload);
    return g_test_run();
}
