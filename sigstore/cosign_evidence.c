#include "sigstore/cosign_evidence.h"

#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/limits.h"
#include "sigstore/refusal.h"
#include "sigstore/trusted_root.h"

#define SIGNATURE "dev.cosignproject.cosign/signature"
#define CERTIFICATE "dev.sigstore.cosign/certificate"
#define CHAIN "dev.sigstore.cosign/chain"
#define PROMISE "dev.sigstore.cosign/bundle"
#define TIMESTAMP "dev.sigstore.cosign/rfc3161timestamp"

/* The text of annotation @name; NULL when it is absent or blank. */
static const char *text_of(const json_t *annotations, const char *name)
{
    const char *text = json_string_value(json_object_get(annotations, name));
    return text && text[strspn(text, " \t\r\n")] != '\0' ? text : NULL;
}

static gboolean malformed(GError **error, const char *name, const GError *cause)
{
    return gp_refuse(error, "signature-format", "annotation %s%s%s", name, cause ? ": " : " is malformed",
        cause ? cause->message : "");
}

static GBytes *encode(X509 *certificate)
{
    unsigned char *bytes = NULL;
    int size = i2d_X509(certificate, &bytes);
    GBytes *der = g_bytes_new(bytes, size > 0 ? (gsize) size : 0);
    OPENSSL_free(bytes);
    return der;
}

static GPtrArray *read_pem(const json_t *annotations, const char *name, GError **error)
{
    const char *text = text_of(annotations, name);
    if (!text)
        return g_ptr_array_new();
    g_autoptr(GBytes) pem = g_bytes_new_static(text, strlen(text));
    g_autoptr(GError) cause = NULL;
    GPtrArray *list = gp_certificates_from_pem(pem, "PEM", &cause);
    if (!list)
        malformed(error, name, cause);
    return list;
}

static gboolean read_certificates(GpBundle *bundle, const json_t *annotations, GError **error)
{
    g_autoptr(GPtrArray) own = read_pem(annotations, CERTIFICATE, error);
    g_autoptr(GPtrArray) chain = own ? read_pem(annotations, CHAIN, error) : NULL;
    if (!chain)
        return FALSE;
    if (own->len > 1)
        return malformed(error, CERTIFICATE, NULL);
    if (own->len == 1)
        bundle->certificate = encode(own->pdata[0]);
    for (guint i = 0; i < chain->len; i++)
        g_ptr_array_add(bundle->untrusted, encode(chain->pdata[i]));
    return TRUE;
}

/* "kind" and "apiVersion" as the body states them: what they must be is for those to say who compare the rest. */
static void name_kind(GpLogEntry *entry)
{
    gsize size;
    const char *data = g_bytes_get_data(entry->body, &size);
    g_autoptr(json_t) body = gp_json_parse(data, size, GP_LIMIT_BUNDLE, "body", NULL);
    const char *kind = json_string_value(json_object_get(body, "kind"));
    const char *version = json_string_value(json_object_get(body, "apiVersion"));
    entry->kind = g_strdup(kind ? kind : "");
    entry->version = g_strdup(version ? version : "");
}

static GBytes *decode_hex(const char *text)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    for (; g_ascii_isxdigit(text[0]) && g_ascii_isxdigit(text[1]); text += 2) {
        guint8 byte = (guint8) (g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
        g_byte_array_append(out, &byte, 1);
    }
    return text[0] == '\0' && out->len == 32 ? g_byte_array_free_to_bytes(g_steal_pointer(&out)) : NULL;
}

static GBytes *decode(const json_t *value)
{
    return gp_base64_decode(json_string_value(value), json_string_length(value));
}

static GpLogEntry *parse_promise(json_t *document, GError **error)
{
    json_t *promise, *payload, *body, *time, *index, *id;
    const GpJsonField fields[] = {{"SignedEntryTimestamp", GP_JSON_STRING, GP_JSON_MANDATORY, &promise},
        {"Payload", GP_JSON_OBJECT, GP_JSON_MANDATORY, &payload}, {NULL}};
    const GpJsonField inner[] = {{"body", GP_JSON_STRING, GP_JSON_MANDATORY, &body},
        {"integratedTime", GP_JSON_INTEGER, GP_JSON_MANDATORY, &time},
        {"logIndex", GP_JSON_INTEGER, GP_JSON_MANDATORY, &index}, {"logID", GP_JSON_STRING, GP_JSON_MANDATORY, &id},
        {NULL}};
    if (!gp_json_fields(document, "$", fields, TRUE, error) ||
        !gp_json_fields(payload, "$.Payload", inner, TRUE, error))
        return NULL;
    g_autoptr(GpLogEntry) entry = g_new0(GpLogEntry, 1);
    entry->promise = decode(promise);
    entry->body = decode(body);
    entry->log_id = decode_hex(json_string_value(id));
    if (!entry->promise || !entry->body || !entry->log_id || json_integer_value(index) < 0 ||
        json_integer_value(time) <= 0) {
        gp_refuse(error, "value", "out of range, or not encoded as it should be");
        return NULL;
    }
    entry->log_index = (guint64) json_integer_value(index);
    entry->integrated_time = json_integer_value(time);
    name_kind(entry);
    return g_steal_pointer(&entry);
}

static json_t *read_json(const char *text, const char *name, GError **error)
{
    return gp_json_parse(text, strlen(text), GP_LIMIT_BUNDLE, name, error);
}

static gboolean read_promise(GpBundle *bundle, const json_t *annotations, GError **error)
{
    const char *text = text_of(annotations, PROMISE);
    if (!text)
        return TRUE;
    g_autoptr(GError) cause = NULL;
    g_autoptr(json_t) document = read_json(text, "JSON", &cause);
    GpLogEntry *entry = document ? parse_promise(document, &cause) : NULL;
    if (!entry)
        return malformed(error, PROMISE, cause);
    g_ptr_array_add(bundle->entries, entry);
    return TRUE;
}

static gboolean read_timestamp(GpBundle *bundle, const json_t *annotations, GError **error)
{
    const char *text = text_of(annotations, TIMESTAMP);
    if (!text)
        return TRUE;
    json_t *response;
    const GpJsonField fields[] = {{"SignedRFC3161Timestamp", GP_JSON_STRING, GP_JSON_MANDATORY, &response}, {NULL}};
    g_autoptr(GError) cause = NULL;
    g_autoptr(json_t) document = read_json(text, "JSON", &cause);
    gboolean good = document && gp_json_fields(document, "$", fields, TRUE, &cause);
    GBytes *der = good ? decode(response) : NULL;
    if (!der)
        return malformed(error, TIMESTAMP, cause);
    g_ptr_array_add(bundle->timestamps, der);
    return TRUE;
}

GpBundle *gp_cosign_evidence_read(const json_t *annotations, GError **error)
{
    g_autoptr(GpBundle) bundle = gp_bundle_new();
    const char *signature = text_of(annotations, SIGNATURE);
    bundle->signature = signature ? gp_base64_decode(signature, strlen(signature)) : NULL;
    if (!bundle->signature) {
        malformed(error, SIGNATURE, NULL);
        return NULL;
    }
    if (!read_certificates(bundle, annotations, error) || !read_promise(bundle, annotations, error) ||
        !read_timestamp(bundle, annotations, error))
        return NULL;
    return g_steal_pointer(&bundle);
}
