#include "puller/signature_blob.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/descriptor.h"

static const char simple_prefix[] = "\0simple-signing\n";
static const char sigstore_prefix[] = "\0sigstore-json\n";

static gboolean has_prefix(const guint8 *data, gsize length, const char *prefix, gsize size)
{
    return length >= size && memcmp(data, prefix, size) == 0;
}

/* Standard base64 with padding, nothing else in between; GLib's decoder skips what it does not know. */
static GBytes *decode(const char *text)
{
    gsize length;
    g_autofree guchar *data = g_base64_decode(text, &length);
    g_autofree char *again = g_base64_encode(data, length);
    return strcmp(again, text) == 0 ? g_bytes_new_take(g_steal_pointer(&data), length) : NULL;
}

static gboolean parse_sigstore(GpFoundSignature *found, const guint8 *data, gsize length, GError **error)
{
    json_t *mime_type, *payload, *annotations;
    const GpJsonField fields[] = {
        {"mimeType", GP_JSON_STRING, GP_JSON_MANDATORY, &mime_type},
        {"payload", GP_JSON_STRING, GP_JSON_MANDATORY, &payload},
        {"annotations", GP_JSON_OBJECT, GP_JSON_MANDATORY, &annotations},
        {NULL},
    };
    g_autoptr(json_t) document = gp_json_parse(data, length, GP_LIMIT_SIGNATURE, "sigstore-json", error);
    g_autoptr(GHashTable) checked = NULL;
    if (!document || !gp_json_fields(document, "sigstore-json: $", fields, TRUE, error) ||
        !gp_json_string_map(annotations, "sigstore-json: $.annotations", &checked, error))
        return FALSE;
    found->blob = decode(json_string_value(payload));
    if (!found->blob) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "sigstore-json: $.payload: not base64");
        return FALSE;
    }
    found->type = GP_FOUND_COSIGN;
    found->media_type = g_strdup(json_string_value(mime_type));
    found->annotations = json_incref(annotations);
    return TRUE;
}

static gboolean parse(GpFoundSignature *found, GBytes *blob, GError **error)
{
    gsize length, prefix = 0;
    const guint8 *data = g_bytes_get_data(blob, &length);
    if (has_prefix(data, length, sigstore_prefix, sizeof sigstore_prefix - 1)) {
        prefix = sizeof sigstore_prefix - 1;
        return parse_sigstore(found, data + prefix, length - prefix, error);
    }
    if (has_prefix(data, length, simple_prefix, sizeof simple_prefix - 1))
        prefix = sizeof simple_prefix - 1;
    if (prefix == length || !(data[prefix] & 0x80)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "not a signature that this program knows: it begins neither as OpenPGP nor as a sigstore signature");
        return FALSE;
    }
    found->type = GP_FOUND_SIMPLE;
    found->blob = g_bytes_new_from_bytes(blob, prefix, length - prefix);
    return TRUE;
}

GpFoundSignature *gp_signature_blob_parse(GBytes *blob, const char *where, GError **error)
{
    GpFoundSignature *found = g_new0(GpFoundSignature, 1);
    found->source = g_strdup(where);
    if (parse(found, blob, error))
        return found;
    gp_found_signature_free(found);
    return NULL;
}
