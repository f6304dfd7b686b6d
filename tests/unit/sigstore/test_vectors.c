/* The public fixtures of containers/image, read through GUEST_PULL_VECTORS (a directory with containers-image/ in it).
 */
#include "sigstore/cosign.h"
#include "sigstore/simple_signing.h"

#include <jansson.h>

#include "tests/unit/sigstore/gpg_kit.h"

#define SKOPEO_KEY "GPG key 08CD26E446E2E95249B7A405E932F44B23E8DD43"
#define SUBKEY_KEY "GPG key B9F4CDB9FD8C475BFA340AC38D54A947EE396F36"
#define IMAGE "sha256:20bf21ed457b390829cdbeec8795a7bea1626991fda603e0d01b4e7f60427e55"

static GBytes *vector(const char *name)
{
    const char *root = g_getenv("GUEST_PULL_VECTORS");
    if (!root) {
        g_test_skip("GUEST_PULL_VECTORS does not say where the public vectors are");
        return NULL;
    }
    g_autofree char *path = g_build_filename(root, "containers-image", name, NULL);
    char *data;
    gsize size;
    g_autoptr(GError) error = NULL;
    g_file_get_contents(path, &data, &size, &error);
    g_assert_no_error(error);
    return g_bytes_new_take(data, size);
}

typedef struct {
    const char *signature;
    const char *key;
    const char *expected; /* signer, or the beginning of the reason */
    const char *reference;
    const char *manifest; /* a file with the digest that is stated; NULL: a digest of no file here */
} GpgRow;

static const GpgRow gpg_rows[] = {
    {"image.signature", "public-key.gpg", SKOPEO_KEY, "testing/manifest", "image.manifest.json"},
    {"image.signature", "public-key-1.gpg", SKOPEO_KEY, "testing/manifest", "image.manifest.json"},
    {"image.signature", "public-key-with-subkey.gpg", "unknown-key: ", NULL, NULL},
    {"subkey.signature", "public-key-with-subkey.gpg", SUBKEY_KEY, NULL, NULL},
    {"subkey.signature", "public-key.gpg", "unknown-key: ", NULL, NULL},
    {"corrupt.signature", "public-key.gpg", "signature-format: bytes behind the compressed message", NULL, NULL},
    {"expired.signature", "public-key.gpg", "expired-signature: ", NULL, NULL},
    {"unknown-key.signature", "public-key.gpg", "unknown-key: ", NULL, NULL},
    {"unsigned-literal.signature", "public-key.gpg", "signature-format: the message carries no signature", NULL, NULL},
    {"dir-img-valid/signature-1", "public-key.gpg", SKOPEO_KEY, NULL, "dir-img-valid/manifest.json"},
    {"dir-img-mixed/signature-1", "public-key.gpg", "payload: signed text: ", NULL, NULL},
    {"dir-img-mixed/signature-2", "public-key.gpg", SKOPEO_KEY, NULL, "dir-img-mixed/manifest.json"},
    /* The signature is good; that the manifest is another one is for the caller to see. */
    {"dir-img-modified-manifest/signature-1", "public-key.gpg", SKOPEO_KEY, NULL, "dir-img-valid/manifest.json"},
    {"dir-img-cosign-valid/signature-1", "public-key.gpg", "signature-format: ", NULL, NULL},
    {"image.signature", "cosign.pub", "no-usable-key: ", NULL, NULL},
};

static void assert_manifest(const GpSignatureFacts *facts, const char *manifest)
{
    g_autoptr(GBytes) bytes = vector(manifest);
    g_autoptr(GError) error = NULL;
    gp_digest_check_bytes(&facts->manifest_digest, bytes, manifest, &error);
    g_assert_no_error(error);
}

static void test_gpg(gconstpointer data)
{
    const GpgRow *row = data;
    g_autoptr(GBytes) blob = vector(row->signature);
    if (!blob)
        return;
    g_autoptr(GBytes) key = vector(row->key);
    g_autoptr(GPtrArray) keys = g_ptr_array_new();
    g_ptr_array_add(keys, key);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSignatureFacts) facts = kit_verify(blob, keys, &error);
    kit_assert_clean();
    if (!g_str_has_prefix(row->expected, "GPG key ")) {
        g_assert_null(facts);
        GpErrorCode code = g_str_has_prefix(row->expected, "no-usable") ? GP_ERROR_KEY : GP_ERROR_SIGNATURE;
        g_assert_error(error, GP_ERROR, (int) code);
        if (!g_str_has_prefix(error->message, row->expected))
            g_error("expected \"%s…\", got \"%s\"", row->expected, error->message);
        return;
    }
    g_assert_no_error(error);
    g_assert_cmpstr(facts->signer, ==, row->expected);
    if (row->reference)
        g_assert_cmpstr(facts->docker_reference, ==, row->reference);
    if (row->manifest)
        assert_manifest(facts, row->manifest);
}

/* The fixture ends with a newline, which alone is enough to refuse it; without that the signature itself is wrong. */
static void test_corrupt_without_newline(void)
{
    g_autoptr(GBytes) blob = vector("corrupt.signature");
    if (!blob)
        return;
    g_autoptr(GBytes) key = vector("public-key.gpg");
    g_autoptr(GBytes) shorter = g_bytes_new_from_bytes(blob, 0, g_bytes_get_size(blob) - 1);
    g_autoptr(GPtrArray) keys = g_ptr_array_new();
    g_ptr_array_add(keys, key);
    g_autoptr(GError) error = NULL;
    g_assert_null(kit_verify(shorter, keys, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    g_assert_true(g_str_has_prefix(error->message, "bad-signature: "));
}

typedef struct {
    const char *image;
    const char *key;
    const char *manifest; /* NULL: made by another key */
} CosignRow;

static const CosignRow cosign_rows[] = {
    {"dir-img-cosign-valid", "cosign.pub", "dir-img-cosign-valid/manifest.json"},
    {"dir-img-cosign-valid", "cosign2.pub", NULL},
    {"dir-img-cosign-valid", "rekor.pub", NULL},
    {"dir-img-cosign-modified-manifest", "cosign.pub", "dir-img-cosign-valid/manifest.json"},
    {"dir-img-cosign-key-rekor-valid", "cosign2.pub", "dir-img-cosign-key-rekor-valid/manifest.json"},
    {"dir-img-cosign-key-rekor-valid", "cosign.pub", NULL},
    {"dir-img-cosign-fulcio-rekor-valid", "cosign.pub", NULL},
};

/* What containers/image's "dir:" transport stores: "\0sigstore-json\n" and a JSON object. */
static json_t *open_attachment(GBytes *file)
{
    static const char magic[] = "\0sigstore-json\n";
    gsize size;
    const char *data = g_bytes_get_data(file, &size);
    g_assert_cmpmem(data, sizeof magic - 1, magic, sizeof magic - 1);
    json_t *document = json_loadb(data + sizeof magic - 1, size - (sizeof magic - 1), 0, NULL);
    g_assert_nonnull(document);
    g_assert_cmpstr(json_string_value(json_object_get(document, "mimeType")), ==, GP_COSIGN_PAYLOAD_TYPE);
    return document;
}

static void test_cosign(gconstpointer data)
{
    const CosignRow *row = data;
    g_autofree char *file = g_strconcat(row->image, "/signature-1", NULL);
    g_autoptr(GBytes) blob = vector(file);
    if (!blob)
        return;
    g_autoptr(GBytes) pem = vector(row->key);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_public_key_free);
    g_ptr_array_add(keys, gp_public_key_parse(pem, row->key, &error));
    g_assert_no_error(error);
    json_t *document = open_attachment(blob);
    gsize size;
    guchar *raw = g_base64_decode(json_string_value(json_object_get(document, "payload")), &size);
    g_autoptr(GBytes) payload = g_bytes_new_take(raw, size);
    json_t *annotations = json_object_get(document, "annotations");
    const char *signature = json_string_value(json_object_get(annotations, GP_COSIGN_SIGNATURE_ANNOTATION));
    g_autoptr(GpSignatureFacts) facts = gp_cosign_verify(payload, signature, keys, &error);
    json_decref(document);
    if (!row->manifest) {
        g_assert_null(facts);
        g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
        g_assert_true(g_str_has_prefix(error->message, "bad-signature: "));
        return;
    }
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(facts->docker_reference, "192.168.64.2:5000/cosign-signed"));
    assert_manifest(facts, row->manifest);
}

static void add_tests(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(gpg_rows); i++) {
        g_autofree char *path =
            g_strdup_printf("/sigstore/vectors/gpg/%s-with-%s", gpg_rows[i].signature, gpg_rows[i].key);
        g_test_add_data_func(path, &gpg_rows[i], test_gpg);
    }
    g_test_add_func("/sigstore/vectors/gpg/corrupt.signature-without-its-newline", test_corrupt_without_newline);
    for (gsize i = 0; i < G_N_ELEMENTS(cosign_rows); i++) {
        g_autofree char *path =
            g_strdup_printf("/sigstore/vectors/cosign/%s-with-%s", cosign_rows[i].image, cosign_rows[i].key);
        g_test_add_data_func(path, &cosign_rows[i], test_cosign);
    }
}

int main(int argc, char **argv)
{
    return kit_main(argc, argv, NULL, add_tests);
}
