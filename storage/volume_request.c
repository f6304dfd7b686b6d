#include "storage/volume_request.h"

#include <malloc.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

static const char *const mode_names[] = {"ephemeral", "persistent", NULL};
static const char *const integrity_names[] = {"aes-gcm", "xts-hmac-sha256", "none", NULL};
static const char *const filesystem_names[] = {"auto", "ext4", "xfs", NULL};

static gboolean find(const char *const *names, const char *name, int *index)
{
    for (int i = 0; name && names[i]; i++)
        if (g_str_equal(names[i], name)) {
            *index = i;
            return TRUE;
        }
    return FALSE;
}

const char *gp_volume_mode_name(GpVolumeMode mode)
{
    return mode_names[mode];
}

const char *gp_volume_integrity_name(GpVolumeIntegrity integrity)
{
    return integrity_names[integrity];
}

const char *gp_volume_filesystem_name(GpVolumeFilesystem filesystem)
{
    return filesystem_names[filesystem];
}

gboolean gp_volume_mode_from_name(const char *name, GpVolumeMode *mode)
{
    int index;
    if (!find(mode_names, name, &index))
        return FALSE;
    *mode = (GpVolumeMode) index;
    return TRUE;
}

gboolean gp_volume_integrity_from_name(const char *name, GpVolumeIntegrity *integrity)
{
    int index;
    if (!find(integrity_names, name, &index))
        return FALSE;
    *integrity = (GpVolumeIntegrity) index;
    return TRUE;
}

gboolean gp_volume_filesystem_from_name(const char *name, GpVolumeFilesystem *filesystem)
{
    int index;
    if (!find(filesystem_names, name, &index))
        return FALSE;
    *filesystem = (GpVolumeFilesystem) index;
    return TRUE;
}

GpVolumeFilesystem gp_volume_filesystem(const GpVolumeConfig *config, guint64 bytes)
{
    if (config->filesystem != GP_VOLUME_AUTO)
        return config->filesystem;
    return config->mode == GP_VOLUME_EPHEMERAL && bytes >= GP_VOLUME_XFS_MIN ? GP_VOLUME_XFS : GP_VOLUME_EXT4;
}

static gboolean refuse(GError **error, const char *reason)
{
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "[guest_pull.volume]: %s", reason);
    return FALSE;
}

gboolean gp_volume_config_check(const GpVolumeConfig *config, GError **error)
{
    if (!config->device)
        return refuse(error, "no device is set, so there is no volume\nSet device in [guest_pull.volume].");
    if (config->mode == GP_VOLUME_PERSISTENT && !config->key)
        return refuse(error, "a persistent volume needs a key");
    if (config->mode == GP_VOLUME_EPHEMERAL && config->key)
        return refuse(
            error, "an ephemeral volume makes its own key: mode = \"persistent\" is missing, or key too much");
    if (config->mode == GP_VOLUME_PERSISTENT && config->filesystem == GP_VOLUME_XFS)
        return refuse(error, "a persistent volume must be ext4: XFS reads sectors that were never written to recover");
    return TRUE;
}

void gp_volume_request_clear(GpVolumeRequest *request)
{
    g_free(request->config.device);
    g_free(request->config.key);
    g_free(request->mountpoint);
    if (request->key)
        g_bytes_unref(request->key);
}

/* The key is in there. */
static void wipe_and_free(gpointer data)
{
    explicit_bzero(data, malloc_usable_size(data));
    g_free(data);
}

GBytes *gp_volume_request_write(const GpVolumeRequest *request)
{
    const GpVolumeConfig *config = &request->config;
    g_autoptr(json_t) json = json_pack("{s:b, s:s, s:I, s:s, s:s, s:s, s:b, s:s}", "close", request->close, "device",
        config->device ? config->device : "", "size", (json_int_t) config->size, "mode",
        gp_volume_mode_name(config->mode), "integrity", gp_volume_integrity_name(config->integrity), "filesystem",
        gp_volume_filesystem_name(config->filesystem), "discard", request->discard, "mountpoint", request->mountpoint);
    g_autofree char *line = gp_json_to_text(json, FALSE);
    gsize length = strlen(line), key_length = request->key ? g_bytes_get_size(request->key) : 0;
    guint8 *bytes = g_malloc(length + 1 + key_length);
    memcpy(bytes, line, length);
    bytes[length] = '\n';
    if (key_length > 0)
        memcpy(bytes + length + 1, g_bytes_get_data(request->key, NULL), key_length);
    return g_bytes_new_with_free_func(bytes, length + 1 + key_length, wipe_and_free, bytes);
}

static gboolean read_fields(json_t *json, GpVolumeRequest *request, GError **error)
{
    json_t *close, *device, *size, *mode, *integrity, *filesystem, *discard, *mountpoint;
    const GpJsonField fields[] = {
        {"close", GP_JSON_BOOLEAN, GP_JSON_MANDATORY, &close},
        {"device", GP_JSON_STRING, GP_JSON_MANDATORY, &device},
        {"size", GP_JSON_INTEGER, GP_JSON_MANDATORY, &size},
        {"mode", GP_JSON_STRING, GP_JSON_MANDATORY, &mode},
        {"integrity", GP_JSON_STRING, GP_JSON_MANDATORY, &integrity},
        {"filesystem", GP_JSON_STRING, GP_JSON_MANDATORY, &filesystem},
        {"discard", GP_JSON_BOOLEAN, GP_JSON_MANDATORY, &discard},
        {"mountpoint", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &mountpoint},
        {NULL},
    };
    GpVolumeConfig *config = &request->config;
    if (!gp_json_fields(json, "$", fields, TRUE, error))
        return FALSE;
    if (!gp_volume_mode_from_name(json_string_value(mode), &config->mode) ||
        !gp_volume_integrity_from_name(json_string_value(integrity), &config->integrity) ||
        !gp_volume_filesystem_from_name(json_string_value(filesystem), &config->filesystem) ||
        json_integer_value(size) < 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "volume request: a value that does not exist");
        return FALSE;
    }
    request->close = json_is_true(close);
    request->discard = json_is_true(discard);
    request->mountpoint = g_strdup(json_string_value(mountpoint));
    config->device = g_strdup(json_string_value(device));
    config->size = (guint64) json_integer_value(size);
    return TRUE;
}

gboolean gp_volume_request_read(GBytes *bytes, GpVolumeRequest *request, GError **error)
{
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);
    const char *end = length ? memchr(data, '\n', length) : NULL;
    if (!end) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "volume request: no line");
        return FALSE;
    }
    gsize line = (gsize) (end - data);
    g_autoptr(json_t) json = gp_json_parse(data, line, GP_LIMIT_FETCH_REQUEST, "volume request", error);
    if (!json || !read_fields(json, request, error))
        return FALSE;
    if (length > line + 1)
        request->key = g_bytes_new_from_bytes(bytes, line + 1, length - line - 1);
    return TRUE;
}
