#include "sigstore/public_key.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/base64.h"

#define PEM_BEGIN "-----BEGIN PUBLIC KEY-----"
#define PEM_END "-----END PUBLIC KEY-----"
#define KEY_HINT "\nGive one PEM \"PUBLIC KEY\" block (SubjectPublicKeyInfo), as cosign.pub has it."

G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_MD_CTX, EVP_MD_CTX_free)

/* What may sign, and the hashes that are tried in this order. */
typedef struct {
    const char *type;      /* OpenSSL's key type; "RSA" is not "RSA-PSS" */
    const char *group;     /* NULL: not an elliptic curve of X9.62 */
    gsize der_size;        /* of the only encoding accepted; 0: varies */
    const char *hashes[3]; /* NULL-ended; empty: the scheme brings its own */
} KeyKind;

static const KeyKind key_kinds[] = {
    {"EC", "prime256v1", 91, {"SHA256"}},
    {"EC", "secp384r1", 120, {"SHA384", "SHA256"}},
    {"EC", "secp521r1", 158, {"SHA512", "SHA256"}},
    {"RSA", NULL, 0, {"SHA256"}},
    {"ED25519", NULL, 44, {NULL}},
};

struct _GpPublicKey {
    EVP_PKEY *pkey;
    const KeyKind *kind;
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
    if (!der)
        return NULL;
    const KeyKind *kind = NULL;
    EVP_PKEY *pkey = decode(der, what, &kind, error);
    ERR_clear_error();
    if (!pkey)
        return NULL;
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(der, NULL), g_bytes_get_size(der), &digest);
    GpPublicKey *key = g_new0(GpPublicKey, 1);
    key->pkey = pkey;
    key->kind = kind;
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

const char *gp_public_key_id(const GpPublicKey *key)
{
    return key->id;
}

void gp_public_key_free(GpPublicKey *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    g_free(key->id);
    g_free(key);
}
