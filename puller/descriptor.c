#include "puller/descriptor.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

gboolean gp_json_refuse_case_variants(json_t *object, const char *path, const char *const *known, GError **error)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        for (const char *const *name = known; *name; name++) {
            if (g_ascii_strcasecmp(key, *name) != 0 || strcmp(key, *name) == 0)
                continue;
            g_autofree char *place = gp_json_path_key(path, key);
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
                "%s: differs from \"%s\" in letter case only, which other programs would read as the same", place,
                *name);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean gp_json_string_map(json_t *object, const char *path, GHashTable **map, GError **error)
{
    *map = NULL;
    if (!object)
        return TRUE;
    g_autoptr(GHashTable) table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value)) {
            g_autofree char *place = gp_json_path_key(path, key);
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must be a string", place);
            return FALSE;
        }
        g_hash_table_insert(table, g_strdup(key), g_strdup(json_string_value(value)));
    }
    *map = g_steal_pointer(&table);
    return TRUE;
}

static gboolean parse_platform(json_t *object, const char *path, GpDescriptor *descriptor, GError **error)
{
    static const char *const known[] = {"os", "architecture", "variant", NULL};
    json_t *os, *architecture, *variant;
    const GpJsonField fields[] = {
        {"os", GP_JSON_STRING, GP_JSON_MANDATORY, &os},
        {"architecture", GP_JSON_STRING, GP_JSON_MANDATORY, &architecture},
        {"variant", GP_JSON_STRING, GP_JSON_OPTIONAL, &variant},
        {NULL},
    };
    g_autofree char *place = gp_json_path_key(path, "platform");
    if (!gp_json_refuse_case_variants(object, place, known, error) ||
        !gp_json_fields(object, place, fields, FALSE, error))
        return FALSE;
    descriptor->os = g_strdup(json_string_value(os));
    descriptor->architecture = g_strdup(json_string_value(architecture));
    if (variant && json_string_length(variant) > 0)
        descriptor->variant = g_strdup(json_string_value(variant));
    return TRUE;
}

static gboolean check_size(json_int_t size, const char *path, GError **error)
{
    if (size < 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.size: must not be negative", path);
        return FALSE;
    }
    if ((guint64) size > GP_LIMIT_BLOB) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "%s.size: %" G_GUINT64_FORMAT " bytes, at most %" G_GUINT64_FORMAT " allowed", path, (guint64) size,
            GP_LIMIT_BLOB);
        return FALSE;
    }
    return TRUE;
}

gboolean gp_descriptor_is_foreign(const GpDescriptor *descriptor)
{
    static const char *const prefixes[] = {
        "application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign."};
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++)
        if (g_str_has_prefix(descriptor->media_type, prefixes[i]))
            return TRUE;
    return FALSE;
}

static gboolean is_url(const json_t *value)
{
    const char *text = json_string_value(value);
    gboolean good = text && json_string_length(value) <= GP_LIMIT_URL;
    for (const char *p = text; good && *p; p++)
        good = g_ascii_isgraph(*p);
    return good && *text;
}

/* Which schemes are asked, and how, is the fetch worker's to say. */
static gboolean parse_urls(json_t *urls, const char *path, GpDescriptor *descriptor, GError **error)
{
    gsize count = json_array_size(urls);
    if (!urls || json_is_null(urls))
        return TRUE;
    if (!json_is_array(urls) || count > GP_LIMIT_URLS) {
        g_set_error(error, GP_ERROR, json_is_array(urls) ? GP_ERROR_LIMIT : GP_ERROR_INVALID,
            "%s.urls: must be a list of at most %d", path, GP_LIMIT_URLS);
        return FALSE;
    }
    descriptor->urls = g_new0(char *, count + 1);
    for (gsize i = 0; i < count; i++) {
        const json_t *url = json_array_get(urls, i);
        if (!is_url(url)) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.urls[%" G_GSIZE_FORMAT "]: must be a URL", path, i);
            return FALSE;
        }
        descriptor->urls[i] = g_strdup(json_string_value(url));
    }
    return TRUE;
}

GpDescriptor *gp_descriptor_parse(json_t *object, const char *path, GError **error)
{
    static const char *const known[] = {
        "mediaType", "digest", "size", "platform", "artifactType", "annotations", "urls", NULL};
    json_t *media_type, *digest, *size, *platform, *artifact_type, *annotations;
    const GpJsonField fields[] = {
        {"mediaType", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &media_type},
        {"digest", GP_JSON_STRING, GP_JSON_MANDATORY, &digest},
        {"size", GP_JSON_INTEGER, GP_JSON_MANDATORY, &size},
        {"platform", GP_JSON_OBJECT, GP_JSON_NULLABLE, &platform},
        {"artifactType", GP_JSON_STRING, GP_JSON_OPTIONAL, &artifact_type},
        {"annotations", GP_JSON_OBJECT, GP_JSON_NULLABLE, &annotations},
        {NULL},
    };
    if (!gp_json_fields(object, path, fields, FALSE, error) ||
        !gp_json_refuse_case_variants(object, path, known, error) || !check_size(json_integer_value(size), path, error))
        return NULL;

    g_autoptr(GpDescriptor) descriptor = g_new0(GpDescriptor, 1);
    descriptor->media_type = g_strdup(json_string_value(media_type));
    descriptor->size = (guint64) json_integer_value(size);
    if (artifact_type && json_string_length(artifact_type) > 0)
        descriptor->artifact_type = g_strdup(json_string_value(artifact_type));
    if (!gp_digest_parse(json_string_value(digest), &descriptor->digest, error)) {
        g_prefix_error(error, "%s.digest: ", path);
        return NULL;
    }
    if (platform && !parse_platform(platform, path, descriptor, error))
        return NULL;
    g_autofree char *place = gp_json_path_key(path, "annotations");
    if (!gp_json_string_map(annotations, place, &descriptor->annotations, error) ||
        (gp_descriptor_is_foreign(descriptor) && !parse_urls(json_object_get(object, "urls"), path, descriptor, error)))
        return NULL;
    return g_steal_pointer(&descriptor);
}

void gp_descriptor_free(GpDescriptor *descriptor)
{
    if (!descriptor)
        return;
    g_free(descriptor->media_type);
    g_free(descriptor->os);
    g_free(descriptor->architecture);
    g_free(descriptor->variant);
    g_free(descriptor->artifact_type);
    g_clear_pointer(&descriptor->annotations, g_hash_table_unref);
    g_strfreev(descriptor->urls);
    g_free(descriptor);
}
