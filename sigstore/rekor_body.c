#include "sigstore/rekor_body.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "sigstore/openssl.h"
#include "sigstore/refusal.h"

#define WORD "log-entry-not-bound"

static gboolean unbound(GError **error, const char *what)
{
    return gp_refuse(error, WORD, "%s", what);
}

/* The value at "a.b.0.c" of @document, NULL if it is not there. */
static json_t *at_path(json_t *document, const char *path)
{
    g_auto(GStrv) steps = g_strsplit(path, ".", -1);
    for (char **step = steps; document && *step; step++)
        document = json_is_array(document) ? json_array_get(document, (size_t) g_ascii_strtoull(*step, NULL, 10))
                                           : json_object_get(document, *step);
    return document;
}

static GBytes *bytes_at(json_t *document, const char *path)
{
    const char *text = json_string_value(at_path(document, path));
    return text ? gp_base64_decode(text, strlen(text)) : NULL;
}

static gboolean same(GBytes *bytes, GBytes *other)
{
    return bytes && other && g_bytes_equal(bytes, other);
}

/* ---- parts */

/* The one PEM block's DER, a certificate's or a public key's. */
static GBytes *pem_to_der(GBytes *pem, gboolean is_certificate)
{
    gsize size;
    const void *data = g_bytes_get_data(pem, &size);
    g_autoptr(BIO) bio = BIO_new_mem_buf(data, (int) size);
    unsigned char *der = NULL;
    int length = -1;
    if (is_certificate) {
        g_autoptr(X509) certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        length = certificate ? i2d_X509(certificate, &der) : -1;
    } else {
        g_autoptr(EVP_PKEY) key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        length = key ? i2d_PUBKEY(key, &der) : -1;
    }
    ERR_clear_error();
    GBytes *bytes = length > 0 ? g_bytes_new(der, (gsize) length) : NULL;
    OPENSSL_free(der);
    return bytes;
}

static gboolean is_verifier(GBytes *pem, const GpLogBinding *binding)
{
    g_autoptr(GBytes) der = pem ? pem_to_der(pem, binding->is_certificate) : NULL;
    return same(der, binding->verifier);
}

/* The digest of what was signed, by the algorithm "sha256", "sha384" or "sha512"; NULL if it cannot be had. */
static GBytes *digest_of_data(const GpLogBinding *binding, const char *algorithm)
{
    guint8 digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (strcmp(algorithm, "sha256") == 0)
        return g_bytes_new(binding->data_digest->bytes, gp_digest_size(GP_DIGEST_SHA256));
    const EVP_MD *md = strcmp(algorithm, "sha384") == 0   ? EVP_sha384()
                       : strcmp(algorithm, "sha512") == 0 ? EVP_sha512()
                                                          : NULL;
    if (!md || !binding->data ||
        EVP_Digest(g_bytes_get_data(binding->data, NULL), g_bytes_get_size(binding->data), digest, &size, md, NULL) !=
            1)
        return NULL;
    return g_bytes_new(digest, size);
}

static char *hex_of(GBytes *bytes)
{
    GString *text = g_string_new(NULL);
    const guint8 *data = g_bytes_get_data(bytes, NULL);
    for (gsize i = 0; i < g_bytes_get_size(bytes); i++)
        g_string_append_printf(text, "%02x", data[i]);
    return g_string_free(text, FALSE);
}

/* {"algorithm", "value": hex} of what was signed. */
static gboolean is_data_hash(json_t *hash, const GpLogBinding *binding)
{
    const char *algorithm = json_string_value(json_object_get(hash, "algorithm"));
    const char *value = json_string_value(json_object_get(hash, "value"));
    g_autoptr(GBytes) digest = algorithm && value ? digest_of_data(binding, algorithm) : NULL;
    g_autofree char *hex = digest ? hex_of(digest) : NULL;
    return hex && strcmp(hex, value) == 0;
}

static gboolean is_payload_hash(json_t *hash, GBytes *payload)
{
    const char *algorithm = json_string_value(json_object_get(hash, "algorithm"));
    const char *value = json_string_value(json_object_get(hash, "value"));
    GpDigest digest;
    if (!payload || g_strcmp0(algorithm, "sha256") != 0 || !value)
        return FALSE;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(payload, NULL), g_bytes_get_size(payload), &digest);
    g_autofree char *hex = gp_digest_to_hex(&digest);
    return strcmp(hex, value) == 0;
}

/* ---- kinds */

static gboolean check_hashedrekord(json_t *body, const GpLogBinding *binding, GBytes *raw, GError **error)
{
    g_autoptr(GBytes) signature = bytes_at(body, "spec.signature.content");
    g_autoptr(GBytes) pem = bytes_at(body, "spec.signature.publicKey.content");
    if (!same(signature, binding->signature))
        return unbound(error, "the log has another signature");
    if (!is_verifier(pem, binding))
        return unbound(error, "the log has another key or certificate");
    return is_data_hash(at_path(body, "spec.data.hash"), binding) || unbound(error, "the log has another hash");
}

static gboolean check_dsse(json_t *body, const GpLogBinding *binding, GBytes *raw, GError **error)
{
    g_autoptr(GBytes) signature = bytes_at(body, "spec.signatures.0.signature");
    g_autoptr(GBytes) pem = bytes_at(body, "spec.signatures.0.verifier");
    if (json_array_size(at_path(body, "spec.signatures")) != 1 || !same(signature, binding->signature))
        return unbound(error, "the log has another signature, or several");
    if (!is_verifier(pem, binding))
        return unbound(error, "the log has another key or certificate");
    return is_payload_hash(at_path(body, "spec.payloadHash"), binding->payload) ||
           unbound(error, "the log has another payload");
}

/* Its signature is encoded twice. */
static gboolean check_intoto(json_t *body, const GpLogBinding *binding, GBytes *raw, GError **error)
{
    g_autoptr(GBytes) once = bytes_at(body, "spec.content.envelope.signatures.0.sig");
    g_autoptr(GBytes) pem = bytes_at(body, "spec.content.envelope.signatures.0.publicKey");
    g_autoptr(GBytes) signature = once ? gp_base64_decode(g_bytes_get_data(once, NULL), g_bytes_get_size(once)) : NULL;
    if (json_array_size(at_path(body, "spec.content.envelope.signatures")) != 1 || !same(signature, binding->signature))
        return unbound(error, "the log has another signature, or several");
    if (!is_verifier(pem, binding))
        return unbound(error, "the log has another key or certificate");
    return is_payload_hash(at_path(body, "spec.content.payloadHash"), binding->payload) ||
           unbound(error, "the log has another payload");
}

static char *base64_of(GBytes *bytes)
{
    gsize size;
    const guchar *data = g_bytes_get_data(bytes, &size);
    return g_base64_encode(data, size);
}

/* Rekor v2 logs nothing but this, in this order, without a blank (RFC 8785): what is made of our own evidence must be
 * what the log has. */
static gboolean check_hashedrekord_2(json_t *body, const GpLogBinding *binding, GBytes *raw, GError **error)
{
    const char *named = json_string_value(at_path(body, "spec.hashedRekordV002.data.algorithm"));
    const char *algorithm = !named                           ? ""
                            : strcmp(named, "SHA2_256") == 0 ? "sha256"
                            : strcmp(named, "SHA2_384") == 0 ? "sha384"
                            : strcmp(named, "SHA2_512") == 0 ? "sha512"
                                                             : "";
    g_autoptr(GBytes) digest = digest_of_data(binding, algorithm);
    if (!digest)
        return unbound(error, "the log's hash is by an algorithm that is not known");
    g_autofree char *digest_text = base64_of(digest);
    g_autofree char *signature = base64_of(binding->signature);
    g_autofree char *verifier = base64_of(binding->verifier);
    g_autofree char *made = g_strdup_printf(
        "{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\",\"spec\":{\"hashedRekordV002\":{\"data\":{\"algorithm\":"
        "\"%s\",\"digest\":\"%s\"},\"signature\":{\"content\":\"%s\",\"verifier\":{\"keyDetails\":\"%s\",\"%s\":{"
        "\"rawBytes\":\"%s\"}}}}}}",
        named, digest_text, signature, binding->key_details, binding->is_certificate ? "x509Certificate" : "publicKey",
        verifier);
    g_autoptr(GBytes) expected = g_bytes_new(made, strlen(made));
    return same(expected, raw) || unbound(error, "the log's entry is about another signature, key or hash");
}

typedef gboolean (*CheckBody)(json_t *body, const GpLogBinding *binding, GBytes *raw, GError **error);

static const struct {
    const char *kind, *version;
    CheckBody check;
    gboolean v2;
} kinds[] = {
    {"hashedrekord", "0.0.1", check_hashedrekord},
    {"hashedrekord", "0.0.2", check_hashedrekord_2, TRUE},
    {"dsse", "0.0.1", check_dsse},
    {"intoto", "0.0.2", check_intoto},
};

gboolean gp_rekor_is_v2(const GpLogEntry *entry)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i].kind, entry->kind) == 0 && strcmp(kinds[i].version, entry->version) == 0)
            return kinds[i].v2;
    return FALSE;
}

gboolean gp_rekor_body_check(const GpLogEntry *entry, const GpLogBinding *binding, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(entry->body, &size);
    g_autoptr(json_t) body = gp_json_parse(data, size, GP_LIMIT_BUNDLE, "$", NULL);
    const char *kind = json_string_value(json_object_get(body, "kind"));
    const char *version = json_string_value(json_object_get(body, "apiVersion"));
    if (g_strcmp0(kind, entry->kind) != 0 || g_strcmp0(version, entry->version) != 0)
        return unbound(error, "the entry's body is not of the kind and version that the bundle says");
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i].kind, kind) == 0 && strcmp(kinds[i].version, version) == 0)
            return kinds[i].check(body, binding, entry->body, error);
    g_autofree char *shown = gp_escape(kind, -1, 40);
    return gp_refuse(error, WORD, "entries of kind \"%s\", or of this version, are not known", shown);
}
