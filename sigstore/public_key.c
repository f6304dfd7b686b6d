#include "sigstore/public_key.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "sigstore/openssl.h"
#include "base/base64.h"

#define PEM_BEGIN "-----BEGIN PUBLIC KEY-----"
#define PEM_END "-----END PUBLIC KEY-----"
#define KEY_HINT "\nGive one PEM \"PUBLIC KEY\" block (SubjectPublicKeyInfo), as cosign.pub has it."

/* What may sign, and the hashes that are tried in this order. */
typedef struct {
    const char *type;      /* OpenSSL's key type; "RSA" is not "RSA-PSS" */
    const char *group;     /* NULL: not an elliptic curve of X9.62 */
    gsize der_size;        /* of the only encoding accepted; 0: varies */
    const char *hashes[3]; /* NULL-ended; empty: the scheme brings its own */
    const char *details;   /* in Sigstore's words */
} KeyKind;

static const KeyKind key_kinds[] = {
    {"EC", "prime256v1", 91, {"SHA256"}, "PKIX_ECDSA_P256_SHA_256"},
    {"EC", "secp384r1", 120, {"SHA384", "SHA256"}, "PKIX_ECDSA_P384_SHA_384"},
    {"EC", "secp521r1", 158, {"SHA512", "SHA256"}, "PKIX_ECDSA_P521_SHA_512"},
    {"RSA", NULL, 0, {"SHA256"}, "PKIX_RSA_PKCS1V15_2048_SHA256"},
    {"ED25519", NULL, 44, {NULL}, "PKIX_ED25519"},
};

struct _GpPublicKey {
    gint references;
    EVP_PKEY *pkey;
    const KeyKind *kind;
    GBytes *der;
    char *id;
};

/* The DER inside the one PEM block of @pem. OpenSSL's reader skips whatever stands before a block and behind it, and
 * what a person believes to be configured must be what is used. */
static GBytes *pem_body(GBytes *pem, const char *what, GError **error)
{
    gsize size;
    const char *data = g_bytes_get_data(pem, &size);
    if (size > GP_LIMIT_KEY || (size > 0 && memchr(data, '\0', size))) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: no PEM text%s", what, KEY_HINT);
        return NULL;
    }
    g_autofree char *text = g_strstrip(g_strndup(size > 0 ? data : "", size));
    if (!g_str_has_prefix(text, PEM_BEGIN)) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: does not begin with \"%s\"%s", what, PEM_BEGIN, KEY_HINT);
        return NULL;
    }
    char *body = text + strlen(PEM_BEGIN);
    char *end = strstr(body, PEM_END);
    if (!end) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: the PEM block has no end%s", what, KEY_HINT);
        return NULL;
    }
    if (end[strlen(PEM_END)] != '\0') {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: something stands behind the PEM block%s", what,
            strstr(end + strlen(PEM_END), "-----BEGIN") ? "\nOne key a file: list several keys one by one." : KEY_HINT);
        return NULL;
    }
    *end = '\0';
    GBytes *der = gp_base64_decode(body, strlen(body));
    if (!der)
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: the PEM block is not base64%s", what, KEY_HINT);
    return der;
}

static const KeyKind *kind_of(EVP_PKEY *pkey, gsize der_size)
{
    char group[64] = "";
    EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(key_kinds); i++) {
        const KeyKind *kind = &key_kinds[i];
        if (EVP_PKEY_is_a(pkey, kind->type) && (!kind->group || g_str_equal(kind->group, group)) &&
            (kind->der_size == 0 || kind->der_size == der_size))
            return kind;
    }
    return NULL;
}

static gboolean is_sound(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    gboolean sound = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return sound;
}

static EVP_PKEY *decode(GBytes *der, const char *what, const KeyKind **kind, GError **error)
{
    gsize size;
    const unsigned char *bytes = g_bytes_get_data(der, &size), *next = bytes;
    g_autoptr(EVP_PKEY) pkey = d2i_PUBKEY(NULL, &next, (long) size);
    unsigned char *again = NULL;
    int again_size = pkey ? i2d_PUBKEY(pkey, &again) : -1;
    gboolean canonical = again_size >= 0 && (gsize) again_size == size && memcmp(again, bytes, size) == 0;
    OPENSSL_free(again);
    if (!canonical) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: not a SubjectPublicKeyInfo%s", what, KEY_HINT);
        return NULL;
    }
    *kind = kind_of(pkey, size);
    int bits = EVP_PKEY_get_bits(pkey);
    if (!*kind || (g_str_equal((*kind)->type, "RSA") && (bits < 2048 || bits > 4096))) {
        const char *type = EVP_PKEY_get0_type_name(pkey);
        g_set_error(error, GP_ERROR, GP_ERROR_KEY,
            "%s: a key of kind %s, %d bits is not accepted\nUse P-256, P-384, P-521 (named curve, uncompressed point), "
            "RSA of 2048 to 4096 bits, or Ed25519.",
            what, type ? type : "unknown", bits);
        return NULL;
    }
    if (!is_sound(pkey)) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: the key's numbers are no valid public key%s", what, KEY_HINT);
        return NULL;
    }
    return g_steal_pointer(&pkey);
}

GpPublicKey *gp_public_key_parse(GBytes *pem, const char *what, GError **error)
{
    g_autoptr(GBytes) der = pem_body(pem, what, error);
    return der ? gp_public_key_from_der(der, FALSE, what, error) : NULL;
}

/* RSAPublicKey to SubjectPublicKeyInfo. */
static GBytes *from_pkcs1(GBytes *der)
{
    gsize size;
    const unsigned char *bytes = g_bytes_get_data(der, &size), *next = bytes;
    g_autoptr(EVP_PKEY) pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &next, (long) size);
    unsigned char *spki = NULL;
    int length = pkey && next == bytes + size ? i2d_PUBKEY(pkey, &spki) : -1;
    GBytes *result = length > 0 ? g_bytes_new(spki, (gsize) length) : g_bytes_new(NULL, 0);
    OPENSSL_free(spki);
    return result;
}

GpPublicKey *gp_public_key_from_der(GBytes *der, gboolean pkcs1, const char *what, GError **error)
{
    g_autoptr(GBytes) spki = pkcs1 ? from_pkcs1(der) : g_bytes_ref(der);
    const KeyKind *kind = NULL;
    EVP_PKEY *pkey = decode(spki, what, &kind, error);
    ERR_clear_error();
    if (!pkey)
        return NULL;
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(spki, NULL), g_bytes_get_size(spki), &digest);
    GpPublicKey *key = g_new0(GpPublicKey, 1);
    key->references = 1;
    key->pkey = pkey;
    key->kind = kind;
    key->der = g_steal_pointer(&spki);
    key->id = gp_digest_to_string(&digest);
    return key;
}

static gboolean verifies_with(const GpPublicKey *key, const char *hash, GBytes *data, GBytes *signature)
{
    g_autoptr(EVP_MD_CTX) ctx = EVP_MD_CTX_new();
    return ctx && EVP_DigestVerifyInit_ex(ctx, NULL, hash, NULL, NULL, key->pkey, NULL) == 1 &&
           EVP_DigestVerify(ctx, g_bytes_get_data(signature, NULL), g_bytes_get_size(signature),
               g_bytes_get_data(data, NULL), g_bytes_get_size(data)) == 1;
}

gboolean gp_public_key_verifies(const GpPublicKey *key, GBytes *data, GBytes *signature)
{
    gboolean good = FALSE;
    if (!key->kind->hashes[0])
        good = verifies_with(key, NULL, data, signature);
    for (gsize i = 0; !good && key->kind->hashes[i]; i++)
        good = verifies_with(key, key->kind->hashes[i], data, signature);
    ERR_clear_error();
    return good;
}

gboolean gp_public_key_signs_digests(const GpPublicKey *key)
{
    return key->kind->hashes[0] != NULL;
}

gboolean gp_public_key_verifies_digest(const GpPublicKey *key, const GpDigest *digest, GBytes *signature)
{
    if (!gp_public_key_signs_digests(key) || digest->algorithm != GP_DIGEST_SHA256)
        return FALSE;
    g_autoptr(EVP_PKEY_CTX) ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
    gboolean good = ctx && EVP_PKEY_verify_init(ctx) == 1 &&
                    (!EVP_PKEY_is_a(key->pkey, "RSA") || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1) &&
                    EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
                    EVP_PKEY_verify(ctx, g_bytes_get_data(signature, NULL), g_bytes_get_size(signature), digest->bytes,
                        gp_digest_size(digest->algorithm)) == 1;
    ERR_clear_error();
    return good;
}

GpPublicKey *gp_public_key_of_certificate(X509 *certificate, const char *what, GError **error)
{
    unsigned char *spki = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &spki);
    g_autoptr(GBytes) der = g_bytes_new(spki, length > 0 ? (gsize) length : 0);
    OPENSSL_free(spki);
    return gp_public_key_from_der(der, FALSE, what, error);
}

GpPublicKey *gp_public_key_ref(GpPublicKey *key)
{
    g_atomic_int_inc(&key->references);
    return key;
}

GBytes *gp_public_key_der(const GpPublicKey *key)
{
    return key->der;
}

const char *gp_public_key_details(const GpPublicKey *key)
{
    int bits = EVP_PKEY_get_bits(key->pkey);
    if (!EVP_PKEY_is_a(key->pkey, "RSA") || bits == 2048)
        return key->kind->details;
    return bits == 3072 ? "PKIX_RSA_PKCS1V15_3072_SHA256" : bits == 4096 ? "PKIX_RSA_PKCS1V15_4096_SHA256" : "";
}

const char *gp_public_key_id(const GpPublicKey *key)
{
    return key->id;
}

void gp_public_key_free(GpPublicKey *key)
{
    if (!key || !g_atomic_int_dec_and_test(&key->references))
        return;
    EVP_PKEY_free(key->pkey);
    g_bytes_unref(key->der);
    g_free(key->id);
    g_free(key);
}
