#include "puller/layer_key.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/ttrpc.h"

#define CIPHER "AES_256_CTR_HMAC_SHA256"
#define PROOF_LABEL "guest-pull layer key 1"

struct _GpLayerKey {
    guint8 secret[GP_LAYER_KEY_SIZE];
    guint8 nonce[GP_LAYER_NONCE_SIZE];
    guint8 hmac[GP_LAYER_HMAC_SIZE];
    gboolean has_nonce;
};

/* A page of its own: mlock() works by pages. Where locking is not allowed (an ordinary user's limit) the key is used
 * all the same; that swap is encrypted or absent is checked elsewhere. */
static GpLayerKey *key_new(void)
{
    /* cppcheck-suppress invalidFunctionArg ; MAP_ANONYMOUS wants -1 */
    GpLayerKey *key = mmap(NULL, sizeof *key, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (key == MAP_FAILED)
        g_error("no memory for a key");
    (void) mlock(key, sizeof *key);
    (void) madvise(key, sizeof *key, MADV_DONTDUMP);
    return key;
}

void gp_layer_key_free(GpLayerKey *key)
{
    if (!key)
        return;
    explicit_bzero(key, sizeof *key);
    (void) munmap(key, sizeof *key);
}

static gboolean invalid(GError **error, const char *place, const char *reason)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %s", place, reason);
    return FALSE;
}

/* The one padded base64 of @size bytes, and no other spelling of it. */
static gboolean decode_exactly(const char *text, gsize size, guint8 *out)
{
    guint8 raw[64];
    char again[96];
    gsize encoded = (size + 2) / 3 * 4;
    g_assert(encoded < sizeof again && encoded / 4 * 3 <= sizeof raw);
    gboolean good = strlen(text) == encoded &&
                    EVP_DecodeBlock(raw, (const guint8 *) text, (int) encoded) == (int) (encoded / 4 * 3) &&
                    EVP_EncodeBlock((guint8 *) again, raw, (int) size) == (int) encoded && strcmp(again, text) == 0;
    if (good)
        memcpy(out, raw, size);
    explicit_bzero(raw, sizeof raw);
    explicit_bzero(again, sizeof again);
    return good;
}

/* cipheroptions: nothing, or the nonce. */
static gboolean read_cipher_options(GpLayerKey *key, json_t *object, const char *place, GError **error)
{
    json_t *nonce;
    const GpJsonField fields[] = {{"nonce", GP_JSON_STRING, GP_JSON_OPTIONAL, &nonce}, {NULL}};
    if (!object)
        return TRUE;
    if (!gp_json_fields(object, place, fields, TRUE, error))
        return FALSE;
    if (!nonce)
        return TRUE;
    if (key->has_nonce)
        return invalid(error, place, "a nonce in the public and in the private options");
    if (!decode_exactly(json_string_value(nonce), GP_LAYER_NONCE_SIZE, key->nonce))
        return invalid(error, place, "the nonce must be 16 bytes in base64");
    key->has_nonce = TRUE;
    return TRUE;
}

static gboolean read_public(GpLayerKey *key, const char *text, GError **error)
{
    static const char place[] = "public options";
    gsize length = 0;
    json_t *cipher, *hmac, *options;
    const GpJsonField fields[] = {{"cipher", GP_JSON_STRING, GP_JSON_MANDATORY, &cipher},
        {"hmac", GP_JSON_STRING, GP_JSON_MANDATORY, &hmac},
        {"cipheroptions", GP_JSON_OBJECT, GP_JSON_NULLABLE, &options}, {NULL}};
    g_autofree guchar *bytes = strlen(text) <= GP_LIMIT_LAYER_OPTIONS ? g_base64_decode(text, &length) : NULL;
    g_autofree char *again = bytes ? g_base64_encode(bytes, length) : NULL;
    if (!again || strcmp(again, text) != 0)
        return invalid(error, place, "not padded base64, or too long");
    g_autoptr(json_t) document = gp_json_parse(bytes, length, GP_LIMIT_LAYER_OPTIONS, place, error);
    if (!document || !gp_json_fields(document, place, fields, TRUE, error))
        return FALSE;
    if (strcmp(json_string_value(cipher), CIPHER) != 0) {
        g_autofree char *shown = gp_escape(json_string_value(cipher), -1, 80);
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "%s: cipher \"%s\", only %s is known", place, shown, CIPHER);
        return FALSE;
    }
    if (!decode_exactly(json_string_value(hmac), GP_LAYER_HMAC_SIZE, key->hmac))
        return invalid(error, place, "the hmac must be 32 bytes in base64");
    return read_cipher_options(key, options, "public options: cipheroptions", error);
}

/* jansson's texts may quote what they stumbled over, so nothing of them is passed on. */
static gboolean refuse_private(GError **error, const char *reason)
{
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "the unwrapped options of the layer: %s", reason);
    return FALSE;
}

static gboolean read_private(GpLayerKey *key, GBytes *bytes, GError **error)
{
    static const char place[] = "private options";
    json_t *secret, *digest, *options;
    const GpJsonField fields[] = {{"symkey", GP_JSON_STRING, GP_JSON_MANDATORY, &secret},
        {"digest", GP_JSON_STRING, GP_JSON_MANDATORY, &digest},
        {"cipheroptions", GP_JSON_OBJECT, GP_JSON_NULLABLE, &options}, {NULL}};
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);
    GpDigest named;
    g_autoptr(json_t) document = gp_json_parse(data, length, GP_LIMIT_LAYER_OPTIONS, place, NULL);
    if (!document)
        return refuse_private(error, "not JSON: the key is not the one that wrapped them");
    if (!gp_json_fields(document, place, fields, TRUE, NULL))
        return refuse_private(error, "must be {\"symkey\", \"digest\", \"cipheroptions\"}");
    if (!decode_exactly(json_string_value(secret), GP_LAYER_KEY_SIZE, key->secret))
        return refuse_private(error, "symkey must be 32 bytes in base64");
    if (!gp_digest_parse(json_string_value(digest), &named, NULL))
        return refuse_private(error, "digest is none");
    if (!read_cipher_options(key, options, "cipheroptions", NULL))
        return refuse_private(error, "cipheroptions must be {\"nonce\": 16 bytes in base64}, or be in the public ones");
    return key->has_nonce || refuse_private(error, "no nonce, nor in the public options");
}

GpLayerKey *gp_layer_key_parse(const char *public_options, GBytes *private_options, GError **error)
{
    g_autoptr(GpLayerKey) key = key_new();
    if (!read_public(key, public_options, error) || !read_private(key, private_options, error))
        return NULL;
    return g_steal_pointer(&key);
}

const guint8 *gp_layer_key_secret(const GpLayerKey *key)
{
    return key->secret;
}

const guint8 *gp_layer_key_nonce(const GpLayerKey *key)
{
    return key->nonce;
}

const guint8 *gp_layer_key_hmac(const GpLayerKey *key)
{
    return key->hmac;
}

char *gp_layer_key_proof(const GpLayerKey *key, const GpDigest *blob)
{
    g_autofree char *digest = gp_digest_to_string(blob);
    g_autoptr(GByteArray) text = g_byte_array_new();
    guint8 mac[GP_LAYER_HMAC_SIZE];
    unsigned length = sizeof mac;
    g_byte_array_append(text, (const guint8 *) PROOF_LABEL, sizeof PROOF_LABEL);
    g_byte_array_append(text, key->nonce, sizeof key->nonce);
    g_byte_array_append(text, (const guint8 *) digest, (guint) strlen(digest));
    if (!HMAC(EVP_sha256(), key->secret, sizeof key->secret, text->data, text->len, mac, &length))
        g_error("OpenSSL: HMAC");
    GString *hex = g_string_sized_new(2 * sizeof mac);
    for (gsize i = 0; i < sizeof mac; i++)
        g_string_append_printf(hex, "%02x", mac[i]);
    return g_string_free(hex, FALSE);
}
