#include "puller/image_config.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/descriptor.h"

static gboolean parse_strings(json_t *array, const char *path, char ***strings, GError **error)
{
    if (!array)
        return TRUE;
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    gsize i;
    json_t *value;
    json_array_foreach(array, i, value)
    {
        if (!json_is_string(value)) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s[%" G_GSIZE_FORMAT "]: must be a string", path, i);
            return FALSE;
        }
        g_ptr_array_add(list, g_strdup(json_string_value(value)));
    }
    g_ptr_array_add(list, NULL);
    *strings = (char **) g_ptr_array_free(g_steal_pointer(&list), FALSE);
    return TRUE;
}

static gboolean check_env(char *const *env, GError **error)
{
    for (guint i = 0; env && env[i]; i++) {
        const char *equals = strchr(env[i], '=');
        if (equals && equals != env[i])
            continue;
        g_autofree char *shown = gp_escape(env[i], -1, 100);
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "$.config.Env[%u]: not of the form NAME=VALUE: \"%s\"", i, shown);
        return FALSE;
    }
    return TRUE;
}

static char *copy_non_empty(const json_t *value)
{
    return value && json_string_length(value) > 0 ? g_strdup(json_string_value(value)) : NULL;
}

static gboolean parse_process(json_t *object, GpImageConfig *config, GError **error)
{
    static const char *const known[] = {"Env", "Entrypoint", "Cmd", "WorkingDir", "User", "StopSignal", "Labels", NULL};
    json_t *env, *entrypoint, *cmd, *working_dir, *user, *stop_signal, *labels;
    const GpJsonField fields[] = {
        {"Env", GP_JSON_ARRAY, GP_JSON_NULLABLE, &env},
        {"Entrypoint", GP_JSON_ARRAY, GP_JSON_NULLABLE, &entrypoint},
        {"Cmd", GP_JSON_ARRAY, GP_JSON_NULLABLE, &cmd},
        {"WorkingDir", GP_JSON_STRING, GP_JSON_NULLABLE, &working_dir},
        {"User", GP_JSON_STRING, GP_JSON_NULLABLE, &user},
        {"StopSignal", GP_JSON_STRING, GP_JSON_NULLABLE, &stop_signal},
        {"Labels", GP_JSON_OBJECT, GP_JSON_NULLABLE, &labels},
        {NULL},
    };
    if (!gp_json_fields(object, "$.config", fields, FALSE, error) ||
        !gp_json_refuse_case_variants(object, "$.config", known, error) ||
        !parse_strings(env, "$.config.Env", &config->env, error) || !check_env(config->env, error) ||
        !parse_strings(entrypoint, "$.config.Entrypoint", &config->entrypoint, error) ||
        !parse_strings(cmd, "$.config.Cmd", &config->cmd, error) ||
        !gp_json_string_map(labels, "$.config.Labels", &config->labels, error))
        return FALSE;
    config->working_dir = copy_non_empty(working_dir);
    config->user = copy_non_empty(user);
    config->stop_signal = copy_non_empty(stop_signal);
    if (config->working_dir && config->working_dir[0] != '/') {
        g_autofree char *shown = gp_escape(config->working_dir, -1, 100);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "$.config.WorkingDir: not an absolute path: \"%s\"", shown);
        return FALSE;
    }
    return TRUE;
}

static gboolean parse_diff_ids(json_t *array, guint layers, GArray *diff_ids, GError **error)
{
    if (json_array_size(array) != layers) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "$.rootfs.diff_ids: %" G_GSIZE_FORMAT " entries, but the manifest has %u layers", json_array_size(array),
            layers);
        return FALSE;
    }
    gsize i;
    json_t *value;
    json_array_foreach(array, i, value)
    {
        GpDigest digest;
        if (!json_is_string(value)) {
            g_set_error(
                error, GP_ERROR, GP_ERROR_INVALID, "$.rootfs.diff_ids[%" G_GSIZE_FORMAT "]: must be a string", i);
            return FALSE;
        }
        if (!gp_digest_parse(json_string_value(value), &digest, error)) {
            g_prefix_error(error, "$.rootfs.diff_ids[%" G_GSIZE_FORMAT "]: ", i);
            return FALSE;
        }
        /* The unpack worker hashes once, with what every builder uses. */
        if (digest.algorithm != GP_DIGEST_SHA256) {
            g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
                "$.rootfs.diff_ids[%" G_GSIZE_FORMAT "]: only sha256 is supported for unpacked layers", i);
            return FALSE;
        }
        g_array_append_val(diff_ids, digest);
    }
    return TRUE;
}

static gboolean parse_rootfs(json_t *object, guint layers, GpImageConfig *config, GError **error)
{
    static const char *const known[] = {"type", "diff_ids", NULL};
    json_t *type, *diff_ids;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"diff_ids", GP_JSON_ARRAY, layers ? GP_JSON_MANDATORY : GP_JSON_NULLABLE, &diff_ids},
        {NULL},
    };
    if (!gp_json_fields(object, "$.rootfs", fields, FALSE, error) ||
        !gp_json_refuse_case_variants(object, "$.rootfs", known, error))
        return FALSE;
    if (strcmp(json_string_value(type), "layers") != 0) {
        g_autofree char *shown = gp_escape(json_string_value(type), -1, 100);
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "$.rootfs.type: \"%s\" is not \"layers\"", shown);
        return FALSE;
    }
    return !diff_ids || parse_diff_ids(diff_ids, layers, config->diff_ids, error);
}

static GpImageConfig *parse(json_t *document, guint layers, GError **error)
{
    static const char *const known[] = {"os", "architecture", "rootfs", "config", NULL};
    json_t *os, *architecture, *rootfs, *process;
    const GpJsonField fields[] = {
        {"os", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &os},
        {"architecture", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &architecture},
        {"rootfs", GP_JSON_OBJECT, GP_JSON_MANDATORY, &rootfs},
        {"config", GP_JSON_OBJECT, GP_JSON_NULLABLE, &process},
        {NULL},
    };
    if (!gp_json_fields(document, "$", fields, FALSE, error) ||
        !gp_json_refuse_case_variants(document, "$", known, error))
        return NULL;
    g_autoptr(GpImageConfig) config = g_new0(GpImageConfig, 1);
    config->diff_ids = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    config->os = g_strdup(json_string_value(os));
    config->architecture = g_strdup(json_string_value(architecture));
    if (!parse_rootfs(rootfs, layers, config, error) || (process && !parse_process(process, config, error)))
        return NULL;
    return g_steal_pointer(&config);
}

GpImageConfig *gp_image_config_parse(GBytes *bytes, guint layers, GError **error)
{
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);
    g_autoptr(json_t) document = gp_json_parse(data, length, GP_LIMIT_CONFIG, "image configuration", error);
    if (!document)
        return NULL;
    GpImageConfig *config = parse(document, layers, error);
    if (!config)
        g_prefix_error(error, "image configuration: ");
    return config;
}

void gp_image_config_free(GpImageConfig *config)
{
    if (!config)
        return;
    g_free(config->os);
    g_free(config->architecture);
    g_clear_pointer(&config->diff_ids, g_array_unref);
    g_strfreev(config->env);
    g_strfreev(config->entrypoint);
    g_strfreev(config->cmd);
    g_free(config->working_dir);
    g_free(config->user);
    g_free(config->stop_signal);
    g_clear_pointer(&config->labels, g_hash_table_unref);
    g_free(config);
}
