#include "puller/jwe.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/ttrpc.h"

#define CONTENT_KEY_SIZE 32
#define IV_SIZE 12
#define TAG_SIZE 16

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

EVP_PKEY *gp_jwe_key_parse(GBytes *pem, const char *what, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(pem, &size);
    char none[] = ""; /* else OpenSSL would ask for a passphrase at the terminal */
    g_autoptr(BIO) bio = size > 0 ? BIO_new_mem_buf(data, (int) size) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, none) : NULL;
    ERR_clear_error();
    if (key && EVP_PKEY_is_a(key, "RSA"))
        return key;
    EVP_PKEY_free(key);
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: must be an RSA private key in PEM, without passphrase", what);
    return NULL;
}

static gboolean invalid(GError **error, const char *what)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "a wrapped key (JWE): %s", what);
    return FALSE;
}

/* base64url without padding (RFC 7515 §2); NULL for anything else. */
static GBytes *decode(const char *text)
{
    g_autoptr(GString) standard = g_string_new(NULL);
    for (const char *p = text; *p; p++) {
        if (strchr("+/=\r\n", *p))
            return NULL;
        g_string_append_c(standard, *p == '-' ? '+' : *p == '_' ? '/' : *p);
    }
    if (standard->len % 4)
        g_string_append(standard, standard->len % 4 == 2 ? "==" : "=");
    return gp_base64_decode(standard->str, standard->len);
}

static GBytes *member(json_t *document, const char *key)
{
    const char *text = json_string_value(json_object_get(document, key));
    return text ? decode(text) : NULL;
}

/* ---- the key of the content */

static gboolean unwrap_for(EVP_PKEY *key, json_t *encrypted, guint8 content_key[CONTENT_KEY_SIZE])
{
    const char *text = json_string_value(encrypted);
    g_autoptr(GBytes) wrapped = text ? decode(text) : NULL;
    g_autoptr(EVP_PKEY_CTX) ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    guint8 out[1024];
    size_t length = sizeof out;
    if (!wrapped || !ctx || EVP_PKEY_decrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 || EVP_PKEY_get_size(key) > (int) sizeof out)
        return FALSE;
    gboolean good =
        EVP_PKEY_decrypt(ctx, out, &length, g_bytes_get_data(wrapped, NULL), g_bytes_get_size(wrapped)) == 1 &&
        length == CONTENT_KEY_SIZE;
    if (good)
        memcpy(content_key, out, CONTENT_KEY_SIZE);
    explicit_bzero(out, sizeof out);
    ERR_clear_error();
    return good;
}

static gboolean is_rsa_oaep(json_t *header)
{
    return g_strcmp0(json_string_value(json_object_get(header, "alg")), "RSA-OAEP") == 0;
}

/* One recipient (flattened) or several (general): ours is the one whose key @key unwraps. */
static gboolean find_content_key(
    json_t *document, json_t *header, EVP_PKEY *key, guint8 content_key[CONTENT_KEY_SIZE], GError **error)
{
    json_t *recipients = json_object_get(document, "recipients"), *recipient;
    gboolean tried = FALSE;
    size_t i;
    if (!recipients && is_rsa_oaep(header)) {
        tried = TRUE;
        if (unwrap_for(key, json_object_get(document, "encrypted_key"), content_key))
            return TRUE;
    }
    json_array_foreach(recipients, i, recipient)
    {
        if (i >= GP_LIMIT_KEY_PACKETS || !is_rsa_oaep(json_object_get(recipient, "header")))
            continue;
        tried = TRUE;
        if (unwrap_for(key, json_object_get(recipient, "encrypted_key"), content_key))
            return TRUE;
    }
    if (tried)
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "a wrapped key (JWE): for somebody else's key");
    else
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "a wrapped key (JWE): only RSA-OAEP is known");
    return FALSE;
}

/* ---- the content */

static GBytes *open_content(json_t *document, const char *protected_text, const guint8 *content_key, GError **error)
{
    g_autoptr(GBytes) iv = member(document, "iv"), sealed = member(document, "ciphertext"),
                      tag = member(document, "tag");
    if (!iv || !sealed || !tag || g_bytes_get_size(iv) != IV_SIZE || g_bytes_get_size(tag) != TAG_SIZE) {
        (void) invalid(error, "iv, ciphertext or tag is none");
        return NULL;
    }
    gsize size;
    const guint8 *data = g_bytes_get_data(sealed, &size);
    guint8 tag_copy[TAG_SIZE], *plain;
    int length = 0, rest = 0;
    memcpy(tag_copy, g_bytes_get_data(tag, NULL), TAG_SIZE);
    g_autoptr(GBytes) bytes = gp_ttrpc_secret_bytes(size, &plain);
    g_autoptr(EVP_CIPHER_CTX) ctx = EVP_CIPHER_CTX_new();
    gboolean good =
        ctx && EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), content_key, g_bytes_get_data(iv, NULL), NULL) == 1 &&
        EVP_DecryptUpdate(ctx, NULL, &length, (const guint8 *) protected_text, (int) strlen(protected_text)) == 1 &&
        EVP_DecryptUpdate(ctx, plain, &length, data, (int) size) == 1 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag_copy) == 1 &&
        EVP_DecryptFinal_ex(ctx, plain + length, &rest) == 1;
    ERR_clear_error();
    if (good && (gsize) length + (gsize) rest == size)
        return g_steal_pointer(&bytes);
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "a wrapped key (JWE): it was changed");
    return NULL;
}

GBytes *gp_jwe_decrypt(GBytes *jwe, EVP_PKEY *key, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(jwe, &size);
    guint8 content_key[CONTENT_KEY_SIZE];
    g_autoptr(json_t) document = gp_json_parse(data, size, GP_LIMIT_KEY_PACKET, "a wrapped key (JWE)", error);
    if (!document)
        return NULL;
    const char *protected_text = json_string_value(json_object_get(document, "protected"));
    g_autoptr(GBytes) raw = protected_text ? decode(protected_text) : NULL;
    g_autoptr(json_t) header = raw ? gp_json_parse(g_bytes_get_data(raw, NULL), g_bytes_get_size(raw),
                                         GP_LIMIT_KEY_PACKET, "a wrapped key (JWE)", NULL)
                                   : NULL;
    if (!json_is_object(header)) {
        (void) invalid(error, "no protected header");
        return NULL;
    }
    if (g_strcmp0(json_string_value(json_object_get(header, "enc")), "A256GCM") != 0 ||
        json_object_get(header, "zip") || json_object_get(header, "crit") || json_object_get(document, "aad")) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_UNSUPPORTED, "a wrapped key (JWE): only A256GCM is known, and no extension");
        return NULL;
    }
    if (!find_content_key(document, header, key, content_key, error))
        return NULL;
    GBytes *plain = open_content(document, protected_text, content_key, error);
    explicit_bzero(content_key, sizeof content_key);
    return plain;
}
