#include "policy/key_source.h"

#include "base/error.h"
#include "base/json.h"
#include "base/base64.h"

void gp_key_source_free(GpKeySource *source)
{
    if (!source)
        return;
    g_free(source->location);
    g_clear_pointer(&source->data, g_bytes_unref);
    g_free(source);
}

static gboolean is_path(const char *path)
{
    gsize length = strlen(path);
    if (path[0] != '/' || path[length - 1] == '/')
        return FALSE;
    for (const char *p = path; *p; p++)
        if (g_ascii_iscntrl(*p))
            return FALSE;
    return TRUE;
}

/* "repository/type/tag" and plugin resources alike: components without blanks, none empty, none that climbs. */
static gboolean is_kbs_path(const char *path)
{
    for (const char *p = path; *p; p++)
        if (!g_ascii_isgraph(*p))
            return FALSE;
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    for (char **part = parts; *part; part++)
        if (!**part || !strcmp(*part, ".") || !strcmp(*part, ".."))
            return FALSE;
    return parts[0] != NULL;
}

static gboolean is_location(const char *text)
{
    if (g_str_has_prefix(text, "file://"))
        return is_path(text + strlen("file://"));
    if (g_str_has_prefix(text, "kbs:///"))
        return is_kbs_path(text + strlen("kbs:///"));
    return is_path(text);
}

static GpKeySource *read_location(const char *text, const char *place, GError **error)
{
    if (!is_location(text)) {
        g_autofree char *shown = gp_escape(text, -1, 200);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "%s: \"%s\" is neither an absolute path nor a file:/// or kbs:/// URI", place, shown);
        return NULL;
    }
    GpKeySource *source = g_new0(GpKeySource, 1);
    source->location = g_strdup(text);
    return source;
}

static GpKeySource *read_data(const char *text, const char *place, GError **error)
{
    gsize length = 0;
    guint8 *data = gp_base64_decode_exact(text, &length);
    if (!data) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "%s: not padded standard base64\nEncode the key file without line breaks: base64 -w0 FILE.", place);
        return NULL;
    }
    GpKeySource *source = g_new0(GpKeySource, 1);
    source->data = g_bytes_new_take(data, length);
    return source;
}

typedef GpKeySource *(*Reader)(const char *text, const char *place, GError **error);

static gboolean read_one(json_t *value, const char *place, Reader reader, GPtrArray *sources, GError **error)
{
    if (!json_is_string(value) || json_string_length(value) == 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must be a string that is not empty", place);
        return FALSE;
    }
    GpKeySource *source = reader(json_string_value(value), place, error);
    if (!source)
        return FALSE;
    g_ptr_array_add(sources, source);
    return TRUE;
}

/* A list must have elements: an empty one would be a requirement for nothing. */
static gboolean read_list(json_t *list, const char *place, Reader reader, GPtrArray *sources, GError **error)
{
    if (!json_is_array(list) || json_array_size(list) == 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must be a list that is not empty", place);
        return FALSE;
    }
    for (gsize i = 0; i < json_array_size(list); i++) {
        g_autofree char *element = gp_json_path_index(place, i);
        if (!read_one(json_array_get(list, i), element, reader, sources, error))
            return FALSE;
    }
    return TRUE;
}

gboolean gp_key_forms_read(const GpKeyForms *forms, const char *place, GPtrArray **sources, GError **error)
{
    const struct {
        const char *key;
        json_t *value;
        gboolean is_list;
        Reader reader;
    } rows[] = {
        {forms->path_key, forms->path, FALSE, read_location},
        {forms->paths_key, forms->paths, TRUE, read_location},
        {forms->data_key, forms->data, FALSE, read_data},
        {forms->datas_key, forms->datas, TRUE, read_data},
    };
    const char *seen = NULL;
    g_autoptr(GPtrArray) result = g_ptr_array_new_with_free_func((GDestroyNotify) gp_key_source_free);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (!rows[i].value)
            continue;
        if (seen) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: \"%s\" and \"%s\" exclude each other", place, seen,
                rows[i].key);
            return FALSE;
        }
        seen = rows[i].key;
        g_autofree char *value_place = gp_json_path_key(place, seen);
        if (!(rows[i].is_list ? read_list : read_one)(rows[i].value, value_place, rows[i].reader, result, error))
            return FALSE;
    }
    if (seen)
        *sources = g_steal_pointer(&result);
    return TRUE;
}

gboolean gp_key_forms_read_one(const GpKeyForms *forms, const char *place, GpKeySource **source, GError **error)
{
    g_autoptr(GPtrArray) sources = NULL;
    if (!gp_key_forms_read(forms, place, &sources, error))
        return FALSE;
    if (sources)
        *source = g_ptr_array_steal_index(sources, 0);
    return TRUE;
}
