#include "sigstore/protojson.h"

#include "base/base64.h"
#include "base/error.h"

gboolean gp_proto_fields(json_t *object, const char *place, const GpProtoField *fields, GError **error)
{
    GpJsonField rows[16] = {0};
    json_t *integers[16] = {0};
    gsize n = 0;
    for (; fields[n].key; n++) {
        g_assert(n + 1 < G_N_ELEMENTS(rows));
        gboolean integer = fields[n].type == GP_JSON_INTEGER;
        rows[n] = (GpJsonField){fields[n].key, integer ? GP_JSON_ANY : fields[n].type, GP_JSON_NULLABLE,
            integer ? &integers[n] : fields[n].value};
    }
    if (!gp_json_fields(object, place, rows, TRUE, error))
        return FALSE;
    for (gsize i = 0; i < n; i++) {
        if (fields[i].type == GP_JSON_INTEGER)
            *fields[i].value = json_is_null(integers[i]) ? NULL : integers[i];
        if (fields[i].mandatory && !*fields[i].value) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: \"%s\" is missing", place, fields[i].key);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean invalid(GError **error, const char *place, const char *key, const char *what)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.%s: %s", place, key, what);
    return FALSE;
}

gboolean gp_proto_integer(json_t *value, const char *place, const char *key, guint64 *number, GError **error)
{
    *number = 0;
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *number = (guint64) json_integer_value(value);
        return TRUE;
    }
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        gboolean plain = g_ascii_isdigit(*text) && (*text != '0' || !text[1]);
        if (plain && g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, number, NULL))
            return TRUE;
    }
    return !value || invalid(error, place, key, "must be a 64-bit integer that is not negative");
}

GBytes *gp_proto_bytes(json_t *value, const char *place, const char *key, gsize size, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (const char *p = json_string_value(value); *p; p++)
        if (*p != '\n' && *p != '\r')
            g_string_append_c(text, *p == '-' ? '+' : *p == '_' ? '/' : *p);
    while (text->len % 4 && text->len % 4 != 1 && !strchr(text->str, '='))
        g_string_append(text, text->len % 4 == 2 ? "==" : "=");
    GBytes *bytes = gp_base64_decode(text->str, text->len);
    if (bytes && (!size || g_bytes_get_size(bytes) == size))
        return bytes;
    if (bytes)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.%s: %" G_GSIZE_FORMAT " bytes, must be %" G_GSIZE_FORMAT,
            place, key, g_bytes_get_size(bytes), size);
    else
        (void) invalid(error, place, key, "must be base64, and not empty");
    g_clear_pointer(&bytes, g_bytes_unref);
    return NULL;
}
