#include "puller/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/toml.h"
#include "puller/config_kernel.h"
#include "puller/config_setting.h"

struct _GpConfig {
    char *path; /* NULL: no file */
    char *origins[GP_N_SETTINGS];
    GPtrArray *ignored; /* keys of [image] that mean nothing to us */
};

static const char *const default_files[] = {
    "/run/confidential-containers/initdata/cdh.toml", "/etc/guest-pull/config.toml", NULL};

const GpConfigPlaces gp_config_places = {.files = default_files, .command_line = "/proc/cmdline"};

/* What guest owners write for the confidential-data-hub. Later rows win: a URI over an inline document, but for
 * registries. */
static const GpSettingKey image_keys[] = {
    {"work_dir", GP_SETTING_STORE, GP_FORM_PATH},
    {"image_security_policy", GP_SETTING_POLICY, GP_FORM_INLINE},
    {"image_security_policy_uri", GP_SETTING_POLICY, GP_FORM_LOCATION},
    {"sigstore_config", GP_SETTING_SIGSTORE_CONFIG, GP_FORM_INLINE},
    {"sigstore_config_uri", GP_SETTING_SIGSTORE_CONFIG, GP_FORM_LOCATION},
    {"authenticated_registry_credentials_uri", GP_SETTING_AUTHFILE, GP_FORM_LOCATION},
    {"max_concurrent_layer_downloads_per_image", GP_SETTING_MAX_PARALLEL, GP_FORM_COUNT_CAPPED},
    {"extra_root_certificates", GP_SETTING_EXTRA_ROOTS, GP_FORM_CERTIFICATES},
    /* Here, as in the confidential-data-hub, the inline document wins. */
    {"registry_configuration_uri", GP_SETTING_REGISTRIES, GP_FORM_LOCATION},
    {"registry_config", GP_SETTING_REGISTRIES, GP_FORM_INLINE},
    {"image_pull_proxy", GP_SETTING_HTTPS_PROXY, GP_FORM_TABLE},
    {NULL},
};

/* [image.image_pull_proxy] */
static const GpSettingKey proxy_keys[] = {
    {"https_proxy", GP_SETTING_HTTPS_PROXY, GP_FORM_PROXY},
    {"http_proxy", GP_SETTING_HTTP_PROXY, GP_FORM_PROXY},
    {"no_proxy", GP_SETTING_NO_PROXY, GP_FORM_NO_PROXY},
    {NULL},
};

static const GpSettingKey own_keys[] = {
    {"policy", GP_SETTING_POLICY, GP_FORM_LOCATION},
    {"registries_d", GP_SETTING_REGISTRIES_D, GP_FORM_PATH},
    {"authfile", GP_SETTING_AUTHFILE, GP_FORM_LOCATION},
    {"registries", GP_SETTING_REGISTRIES, GP_FORM_LOCATION},
    {"blob_directories", GP_SETTING_BLOB_DIRECTORIES, GP_FORM_PATHS},
    {"runtime_dir", GP_SETTING_RUNTIME_DIR, GP_FORM_PATH},
    {"bundle_roots", GP_SETTING_BUNDLE_ROOTS, GP_FORM_PATHS},
    {"cert_dir", GP_SETTING_CERT_DIR, GP_FORM_PATH},
    {"plain_http", GP_SETTING_PLAIN_HTTP, GP_FORM_HOSTS},
    {"https_proxy", GP_SETTING_HTTPS_PROXY, GP_FORM_PROXY},
    {"http_proxy", GP_SETTING_HTTP_PROXY, GP_FORM_PROXY},
    {"no_proxy", GP_SETTING_NO_PROXY, GP_FORM_NO_PROXY},
    {"max_parallel", GP_SETTING_MAX_PARALLEL, GP_FORM_COUNT},
    {"max_pulls", GP_SETTING_MAX_PULLS, GP_FORM_COUNT},
    {"timeout", GP_SETTING_TIMEOUT, GP_FORM_COUNT},
    {"rw_size", GP_SETTING_RW_SIZE, GP_FORM_SIZE},
    {"rw_total", GP_SETTING_RW_TOTAL, GP_FORM_BYTES},
    {"limits", GP_SETTING_LIMITS, GP_FORM_LIMITS},
    {"store_low_water", GP_SETTING_LOW_WATER, GP_FORM_SPACE},
    {"store_high_water", GP_SETTING_HIGH_WATER, GP_FORM_SPACE},
    {"allow_unencrypted_store", GP_SETTING_UNENCRYPTED, GP_FORM_BOOLEAN},
    {"allow_foreign_layers", GP_SETTING_FOREIGN, GP_FORM_BOOLEAN},
    {"measurement", GP_SETTING_MEASUREMENT, GP_FORM_MEASUREMENT},
    {"cdh_socket", GP_SETTING_CDH_SOCKET, GP_FORM_SOCKET},
    {"resource_endpoint", GP_SETTING_RESOURCE_ENDPOINT, GP_FORM_ENDPOINT},
    {"key_provider_config", GP_SETTING_KEY_PROVIDER_CONFIG, GP_FORM_PATH},
    {"attestation_agent_socket", GP_SETTING_AGENT_SOCKET, GP_FORM_SOCKET},
    {NULL},
};

/* [guest_pull.volume] */
static const GpSettingKey volume_keys[] = {
    {"device", GP_SETTING_VOLUME_DEVICE, GP_FORM_DEVICE},
    {"size", GP_SETTING_VOLUME_SIZE, GP_FORM_BYTES},
    {"mode", GP_SETTING_VOLUME_MODE, GP_FORM_CHOICE},
    {"key", GP_SETTING_VOLUME_KEY, GP_FORM_LOCATION},
    {"integrity", GP_SETTING_VOLUME_INTEGRITY, GP_FORM_CHOICE},
    {"filesystem", GP_SETTING_VOLUME_FILESYSTEM, GP_FORM_CHOICE},
    {"eager", GP_SETTING_VOLUME_EAGER, GP_FORM_BOOLEAN},
    {NULL},
};

static const GpSettingKey kernel_keys[] = {
    {"agent.image_registry_auth", GP_SETTING_AUTHFILE, GP_FORM_LOCATION},
    {"agent.image_policy_file", GP_SETTING_POLICY, GP_FORM_LOCATION},
    {"agent.https_proxy", GP_SETTING_HTTPS_PROXY, GP_FORM_PROXY},
    {"agent.http_proxy", GP_SETTING_HTTP_PROXY, GP_FORM_PROXY},
    {"agent.no_proxy", GP_SETTING_NO_PROXY, GP_FORM_NO_PROXY},
    {NULL},
};

static void set_origin(GpConfig *config, GpSetting setting, const char *origin)
{
    g_free(config->origins[setting]);
    config->origins[setting] = g_strdup(origin);
}

/* ---- sections */

/* The confidential-data-hub takes "" as not set; so are a list, and a table of such. */
static gboolean is_empty(json_t *value)
{
    const char *key;
    json_t *member;
    if (json_is_string(value))
        return json_string_length(value) == 0;
    if (json_is_object(value)) {
        json_object_foreach(value, key, member)
        {
            if (!is_empty(member))
                return FALSE;
        }
        return TRUE;
    }
    return json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

static gboolean apply_keys(GpConfig *config, const char *section, json_t *object, const GpSettingKey *keys,
    gboolean skip_empty, GpPullOptions *options, GError **error)
{
    for (const GpSettingKey *key = keys; key->key; key++) {
        json_t *value = json_object_get(object, key->key);
        if (!value || (skip_empty && is_empty(value)))
            continue;
        g_autofree char *name = g_strdup_printf("[%s] %s", section, key->key);
        g_autofree char *place = g_strdup_printf("%s: %s", config->path, name);
        if (!gp_setting_set(options, key, value, place, error))
            return FALSE;
        set_origin(config, key->setting, place);
    }
    return TRUE;
}

static void note_ignored(GpConfig *config, json_t *image)
{
    const char *name;
    json_t *value;
    json_object_foreach(image, name, value)
    {
        const GpSettingKey *key = image_keys;
        while (key->key && strcmp(key->key, name) != 0)
            key++;
        if (!key->key)
            g_ptr_array_add(config->ignored, g_strdup_printf("[image] %s", name));
    }
}

/* An unknown key in our own section is an error: perhaps it was meant to forbid something. */
static gboolean check_known(
    const GpConfig *config, const char *section, json_t *object, const GpSettingKey *keys, GError **error)
{
    GpJsonField fields[MAX(G_N_ELEMENTS(own_keys), G_N_ELEMENTS(volume_keys)) + 1] = {{NULL}};
    json_t *unused;
    gsize count = 0;
    for (; keys[count].key; count++)
        fields[count] = (GpJsonField){keys[count].key, GP_JSON_ANY, GP_JSON_OPTIONAL, &unused};
    if (keys == own_keys)
        fields[count] = (GpJsonField){"volume", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &unused};
    g_autoptr(GError) cause = NULL;
    if (gp_json_fields(object, section, fields, TRUE, &cause))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: %s", config->path, cause->message);
    return FALSE;
}

static gboolean apply_own(GpConfig *config, json_t *own, GpPullOptions *options, GError **error)
{
    json_t *volume = json_object_get(own, "volume");
    if (!check_known(config, "guest_pull", own, own_keys, error) ||
        !apply_keys(config, "guest_pull", own, own_keys, FALSE, options, error))
        return FALSE;
    if (!volume)
        return TRUE;
    if (!check_known(config, "guest_pull.volume", volume, volume_keys, error) ||
        !apply_keys(config, "guest_pull.volume", volume, volume_keys, FALSE, options, error))
        return FALSE;
    if (gp_volume_config_check(&options->volume, error))
        return TRUE;
    g_prefix_error(error, "%s: ", config->path);
    return FALSE;
}

static gboolean apply_file(GpConfig *config, json_t *document, GpPullOptions *options, GError **error)
{
    json_t *image = json_object_get(document, "image"), *own = json_object_get(document, "guest_pull");
    if ((image && !json_is_object(image)) || (own && !json_is_object(own))) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: image and guest_pull must be sections", config->path);
        return FALSE;
    }
    note_ignored(config, image);
    json_t *proxies = json_object_get(image, "image_pull_proxy");
    return apply_keys(config, "image", image, image_keys, TRUE, options, error) &&
           (!json_is_object(proxies) ||
               (check_known(config, "image.image_pull_proxy", proxies, proxy_keys, error) &&
                   apply_keys(config, "image.image_pull_proxy", proxies, proxy_keys, TRUE, options, error))) &&
           (!own || apply_own(config, own, options, error));
}

/* ---- the kernel's command line */

static gboolean apply_kernel(GpConfig *config, const char *path, GpPullOptions *options, GError **error)
{
    g_autoptr(GBytes) bytes = gp_read_file(AT_FDCWD, path, GP_LIMIT_COMMAND_LINE, "kernel command line", error);
    if (!bytes)
        return FALSE;
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);
    g_autofree char *text = g_strndup(length ? data : "", length);
    g_autofree char *enabled = gp_kernel_parameter(text, "agent.enable_signature_verification");
    for (const GpSettingKey *key = kernel_keys; key->key; key++) {
        g_autofree char *value = gp_kernel_parameter(text, key->key);
        /* As in kata: a policy file alone does not count. Without it there is no policy, and nothing may run. */
        gboolean off = key->setting == GP_SETTING_POLICY && g_strcmp0(enabled, "true") != 0;
        if (!value || !*value || off)
            continue;
        g_autofree char *place = g_strdup_printf("kernel command line: %s", key->key);
        g_autoptr(json_t) json = json_string(value);
        if (!gp_setting_set(options, key, json, place, error))
            return FALSE;
        set_origin(config, key->setting, place);
    }
    return TRUE;
}

/* ---- the environment: what guest-pulld tells its pullers */

static gboolean apply_environment(GpConfig *config, GpPullOptions *options, GError **error)
{
    /* kata-agent sets the second for every guest: what the guest's owner wrote is the more special word. */
    static const GpSettingKey keys[] = {
        {"GUEST_PULL_CDH_SOCKET", GP_SETTING_CDH_SOCKET, GP_FORM_SOCKET},
        {"OCICRYPT_KEYPROVIDER_CONFIG", GP_SETTING_KEY_PROVIDER_CONFIG, GP_FORM_PATH},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *text = g_getenv(keys[i].key);
        gboolean taken = keys[i].setting == GP_SETTING_KEY_PROVIDER_CONFIG && options->key_provider_config;
        if (!text || !*text || taken)
            continue;
        g_autofree char *place = g_strconcat("environment: ", keys[i].key, NULL);
        g_autoptr(json_t) value = json_string(text);
        if (!gp_setting_set(options, &keys[i], value, place, error))
            return FALSE;
        set_origin(config, keys[i].setting, place);
    }
    return TRUE;
}

/* ---- the file */

static json_t *parse(const char *path, GBytes *bytes, GError **error)
{
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);
    gsize blank = 0;
    while (blank < length && g_ascii_isspace(data[blank]))
        blank++;
    gboolean json = g_str_has_suffix(path, ".json") || (blank < length && data[blank] == '{');
    g_autoptr(GError) cause = NULL;
    json_t *document = json ? gp_json_parse(data, length, GP_LIMIT_CONFIGURATION, path, &cause)
                            : gp_toml_parse(data, length, GP_LIMIT_CONFIGURATION, path, &cause);
    if (json_is_object(document))
        return document;
    json_decref(document);
    if (cause)
        g_set_error(
            error, GP_ERROR, cause->code == GP_ERROR_INVALID ? GP_ERROR_USAGE : cause->code, "%s", cause->message);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: must be a JSON object", path);
    return NULL;
}

/* @required: it was named by a person, so its absence is a mistake. */
static json_t *read_document(const char *path, gboolean required, GError **error)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    char *real = realpath(absolute, NULL);
    g_autofree char *target = g_strdup(real ? real : absolute);
    free(real);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) bytes = gp_read_file(AT_FDCWD, target, GP_LIMIT_CONFIGURATION, "configuration", &cause);
    if (bytes)
        return parse(path, bytes, error);
    g_set_error(error, GP_ERROR, cause->code == GP_ERROR_LIMIT ? GP_ERROR_LIMIT : GP_ERROR_USAGE, "configuration: %s%s",
        cause->message, required ? "" : "\nIt exists, so it must be readable.");
    return NULL;
}

/* What cannot be told counts as there: reading it then fails, where the next place would say less. */
static gboolean is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static const char *choose(const char *file, const GpConfigPlaces *places)
{
    if (file)
        return file;
    for (const char *const *place = places->files; place && *place; place++)
        if (is_there(*place))
            return *place;
    return NULL;
}

GpConfig *gp_config_load(const char *file, const GpConfigPlaces *places, GpPullOptions *options, GError **error)
{
    g_autoptr(GpConfig) config = g_new0(GpConfig, 1);
    config->ignored = g_ptr_array_new_with_free_func(g_free);
    config->path = g_strdup(choose(file, places));
    g_autoptr(json_t) document = config->path ? read_document(config->path, file != NULL, error) : NULL;
    if (config->path && !document)
        return NULL;
    if (!json_object_get(document, "image") && places->command_line && is_there(places->command_line) &&
        !apply_kernel(config, places->command_line, options, error))
        return NULL;
    if ((document && !apply_file(config, document, options, error)) || !apply_environment(config, options, error))
        return NULL;
    return g_steal_pointer(&config);
}

void gp_config_free(GpConfig *config)
{
    if (!config)
        return;
    for (int i = 0; i < GP_N_SETTINGS; i++)
        g_free(config->origins[i]);
    g_ptr_array_unref(config->ignored);
    g_free(config->path);
    g_free(config);
}

void gp_config_override(GpConfig *config, const char *name, const char *option, GpPullOptions *options)
{
    GpSetting setting = gp_setting_find(name);
    g_return_if_fail(setting < GP_N_SETTINGS);
    g_autofree char *origin = g_strdup_printf("command line: %s", option);
    set_origin(config, setting, origin);
    gp_setting_replaces(options, setting);
}

json_t *gp_config_describe(const GpConfig *config, const GpPullOptions *options)
{
    json_t *list = json_array(), *ignored = json_array();
    for (GpSetting i = 0; i < GP_N_SETTINGS; i++) {
        json_t *value = gp_setting_describe(options, i);
        /* What another setting has taken the place of is not set any more. */
        const char *origin = config->origins[i] && !json_is_null(value) ? config->origins[i] : "default";
        json_array_append_new(
            list, json_pack("{s:s, s:o, s:s}", "name", gp_setting_name(i), "value", value, "origin", origin));
    }
    for (guint i = 0; i < config->ignored->len; i++) {
        g_autofree char *shown = gp_escape(config->ignored->pdata[i], -1, 200);
        json_array_append_new(ignored, json_string(shown));
    }
    return json_pack("{s:s?, s:o, s:o}", "file", config->path, "settings", list, "ignored", ignored);
}
