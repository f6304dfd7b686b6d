#include "base/digest.h"

#include <openssl/evp.h>

#include "base/error.h"

struct _GpHasher {
    EVP_MD_CTX *context;
    GpDigestAlgorithm algorithm;
};

const char *gp_digest_algorithm_name(GpDigestAlgorithm algorithm)
{
    return algorithm == GP_DIGEST_SHA512 ? "sha512" : "sha256";
}

gsize gp_digest_size(GpDigestAlgorithm algorithm)
{
    return algorithm == GP_DIGEST_SHA512 ? 64 : 32;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* image-spec descriptor.md: digest ::= algorithm ":" encoded, algorithm ::= [a-z0-9]+ ([+._-] [a-z0-9]+)*. */
static gboolean looks_like_digest(const char *text)
{
    const char *colon = strchr(text, ':');
    if (!colon || colon == text || !colon[1] || strlen(text) >= GP_DIGEST_MAX_TEXT)
        return FALSE;
    for (const char *p = text; p < colon; p++)
        if (!g_ascii_islower(*p) && !g_ascii_isdigit(*p) && (p == text || !strchr("+._-", *p)))
            return FALSE;
    for (const char *p = colon + 1; *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr("=_-", *p))
            return FALSE;
    return TRUE;
}

gboolean gp_digest_parse(const char *text, GpDigest *digest, GError **error)
{
    GpDigest result = {0};
    if (g_str_has_prefix(text, "sha256:")) {
        result.algorithm = GP_DIGEST_SHA256;
    } else if (g_str_has_prefix(text, "sha512:")) {
        result.algorithm = GP_DIGEST_SHA512;
    } else {
        g_autofree char *shown = gp_escape(text, -1, 160);
        gboolean known_form = looks_like_digest(text);
        g_set_error(error, GP_ERROR, known_form ? GP_ERROR_UNSUPPORTED : GP_ERROR_INVALID, "%s: %s",
            known_form ? "digest algorithm is neither sha256 nor sha512" : "not a digest", shown);
        return FALSE;
    }

    const char *hex = text + 7;
    gsize size = gp_digest_size(result.algorithm);
    gboolean good = strlen(hex) == 2 * size;
    for (gsize i = 0; good && i < size; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        good = high >= 0 && low >= 0;
        if (good)
            result.bytes[i] = (guint8) (high << 4 | low);
    }
    if (!good) {
        g_autofree char *shown = gp_escape(text, -1, 160);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "not a digest (%s needs %u lower-case hex digits): %s",
            gp_digest_algorithm_name(result.algorithm), (unsigned) (2 * size), shown);
        return FALSE;
    }
    *digest = result;
    return TRUE;
}

char *gp_digest_to_hex(const GpDigest *digest)
{
    gsize size = gp_digest_size(digest->algorithm);
    char *hex = g_malloc(2 * size + 1);
    for (gsize i = 0; i < size; i++) {
        hex[2 * i] = "0123456789abcdef"[digest->bytes[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest->bytes[i] & 15];
    }
    hex[2 * size] = '\0';
    return hex;
}

char *gp_digest_to_string(const GpDigest *digest)
{
    g_autofree char *hex = gp_digest_to_hex(digest);
    return g_strconcat(gp_digest_algorithm_name(digest->algorithm), ":", hex, NULL);
}

gboolean gp_digest_equal(const GpDigest *a, const GpDigest *b)
{
    return a->algorithm == b->algorithm && a->algorithm != 0 &&
           memcmp(a->bytes, b->bytes, gp_digest_size(a->algorithm)) == 0;
}

guint gp_digest_hash(gconstpointer digest)
{
    guint value = 0;
    memcpy(&value, ((const GpDigest *) digest)->bytes, sizeof value);
    return value;
}

void gp_digest_of(GpDigestAlgorithm algorithm, const void *data, gsize length, GpDigest *digest)
{
    g_autoptr(GpHasher) hasher = gp_hasher_new(algorithm);
    gp_hasher_update(hasher, data, length);
    gp_hasher_finish(hasher, digest);
}

gboolean gp_digest_check(const GpDigest *expected, const GpDigest *actual, const char *what, GError **error)
{
    if (gp_digest_equal(expected, actual))
        return TRUE;
    g_autofree char *wanted = gp_digest_to_string(expected);
    g_autofree char *got = gp_digest_to_string(actual);
    g_set_error(error, GP_ERROR, GP_ERROR_DIGEST, "%s is %s, expected %s", what, got, wanted);
    return FALSE;
}

gboolean gp_digest_check_bytes(const GpDigest *expected, GBytes *data, const char *what, GError **error)
{
    gsize length = 0;
    const void *bytes = g_bytes_get_data(data, &length);
    GpDigest actual;
    gp_digest_of(expected->algorithm, bytes, length, &actual);
    return gp_digest_check(expected, &actual, what, error);
}

/* OpenSSL fails here only without memory or without the algorithm: nothing sensible can go on then. */
static void must(int ok, const char *what)
{
    if (ok != 1)
        g_error("OpenSSL: %s failed", what);
}

GpHasher *gp_hasher_new(GpDigestAlgorithm algorithm)
{
    GpHasher *hasher = g_new0(GpHasher, 1);
    hasher->algorithm = algorithm;
    hasher->context = EVP_MD_CTX_new();
    must(hasher->context != NULL, "EVP_MD_CTX_new");
    must(EVP_DigestInit_ex(hasher->context, algorithm == GP_DIGEST_SHA512 ? EVP_sha512() : EVP_sha256(), NULL),
        "EVP_DigestInit_ex");
    return hasher;
}

void gp_hasher_restart(GpHasher *hasher)
{
    must(EVP_DigestInit_ex(hasher->context, NULL, NULL), "EVP_DigestInit_ex");
}

void gp_hasher_update(GpHasher *hasher, const void *data, gsize length)
{
    must(EVP_DigestUpdate(hasher->context, data, length), "EVP_DigestUpdate");
}

void gp_hasher_finish(GpHasher *hasher, GpDigest *digest)
{
    *digest = (GpDigest){.algorithm = hasher->algorithm};
    must(EVP_DigestFinal_ex(hasher->context, digest->bytes, NULL), "EVP_DigestFinal_ex");
}

void gp_hasher_free(GpHasher *hasher)
{
    if (!hasher)
        return;
    EVP_MD_CTX_free(hasher->context);
    g_free(hasher);
}
