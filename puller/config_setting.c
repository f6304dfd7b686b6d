#include "puller/config_setting.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/ttrpc.h"
#include "puller/config_limits.h"
#include "puller/fetch_protocol.h"
#include "puller/resource.h"

#define MAX_TIMEOUT 86400
#define CERTIFICATE "-----BEGIN CERTIFICATE-----"

/* The field of GpPullOptions, or -1 where a setting is more than one field; the ceiling of counts. */
static const struct {
    const char *name;
    gssize offset;
    guint max;
} settings[GP_N_SETTINGS] = {
    [GP_SETTING_POLICY] = {"policy", G_STRUCT_OFFSET(GpPullOptions, policy)},
    [GP_SETTING_REGISTRIES_D] = {"registries_d", G_STRUCT_OFFSET(GpPullOptions, registries_d)},
    [GP_SETTING_SIGSTORE_CONFIG] = {"sigstore_config", G_STRUCT_OFFSET(GpPullOptions, sigstore_config)},
    [GP_SETTING_AUTHFILE] = {"authfile", G_STRUCT_OFFSET(GpPullOptions, authfile)},
    [GP_SETTING_REGISTRIES] = {"registries", G_STRUCT_OFFSET(GpPullOptions, registries)},
    [GP_SETTING_BLOB_DIRECTORIES] = {"blob_directories", G_STRUCT_OFFSET(GpPullOptions, blob_directories)},
    [GP_SETTING_STORE] = {"store", G_STRUCT_OFFSET(GpPullOptions, store)},
    [GP_SETTING_RUNTIME_DIR] = {"runtime_dir", G_STRUCT_OFFSET(GpPullOptions, runtime_dir)},
    [GP_SETTING_BUNDLE_ROOTS] = {"bundle_roots", G_STRUCT_OFFSET(GpPullOptions, bundle_roots)},
    [GP_SETTING_CERT_DIR] = {"cert_dir", G_STRUCT_OFFSET(GpPullOptions, cert_dir)},
    [GP_SETTING_EXTRA_ROOTS] = {"extra_root_certificates", G_STRUCT_OFFSET(GpPullOptions, extra_roots)},
    [GP_SETTING_PLAIN_HTTP] = {"plain_http", G_STRUCT_OFFSET(GpPullOptions, plain_http)},
    [GP_SETTING_HTTPS_PROXY] = {"https_proxy", G_STRUCT_OFFSET(GpPullOptions, https_proxy)},
    [GP_SETTING_HTTP_PROXY] = {"http_proxy", G_STRUCT_OFFSET(GpPullOptions, http_proxy)},
    [GP_SETTING_NO_PROXY] = {"no_proxy", G_STRUCT_OFFSET(GpPullOptions, no_proxy)},
    [GP_SETTING_MAX_PARALLEL] = {"max_parallel", G_STRUCT_OFFSET(GpPullOptions, max_parallel), GP_LIMIT_PARALLEL},
    [GP_SETTING_MAX_PULLS] = {"max_pulls", G_STRUCT_OFFSET(GpPullOptions, max_pulls), GP_LIMIT_PARALLEL},
    [GP_SETTING_TIMEOUT] = {"timeout", G_STRUCT_OFFSET(GpPullOptions, timeout), MAX_TIMEOUT},
    [GP_SETTING_RW_SIZE] = {"rw_size", -1},
    [GP_SETTING_RW_TOTAL] = {"rw_total", G_STRUCT_OFFSET(GpPullOptions, rw_total)},
    [GP_SETTING_LIMITS] = {"limits", -1},
    [GP_SETTING_LOW_WATER] = {"store_low_water", G_STRUCT_OFFSET(GpPullOptions, low_water)},
    [GP_SETTING_HIGH_WATER] = {"store_high_water", G_STRUCT_OFFSET(GpPullOptions, high_water)},
    [GP_SETTING_UNENCRYPTED] = {"allow_unencrypted_store", G_STRUCT_OFFSET(GpPullOptions, allow_unencrypted_store)},
    [GP_SETTING_FOREIGN] = {"allow_foreign_layers", G_STRUCT_OFFSET(GpPullOptions, allow_foreign_layers)},
    [GP_SETTING_MEASUREMENT] = {"measurement", -1},
    [GP_SETTING_CDH_SOCKET] = {"cdh_socket", G_STRUCT_OFFSET(GpPullOptions, cdh_socket)},
    [GP_SETTING_RESOURCE_ENDPOINT] = {"resource_endpoint", G_STRUCT_OFFSET(GpPullOptions, resource_endpoint)},
    [GP_SETTING_KEY_PROVIDER_CONFIG] = {"key_provider_config", G_STRUCT_OFFSET(GpPullOptions, key_provider_config)},
    [GP_SETTING_AGENT_SOCKET] = {"attestation_agent_socket", G_STRUCT_OFFSET(GpPullOptions, agent_socket)},
    [GP_SETTING_VOLUME_DEVICE] = {"volume.device", G_STRUCT_OFFSET(GpPullOptions, volume.device)},
    [GP_SETTING_VOLUME_SIZE] = {"volume.size", G_STRUCT_OFFSET(GpPullOptions, volume.size)},
    [GP_SETTING_VOLUME_MODE] = {"volume.mode", -1},
    [GP_SETTING_VOLUME_KEY] = {"volume.key", G_STRUCT_OFFSET(GpPullOptions, volume.key)},
    [GP_SETTING_VOLUME_INTEGRITY] = {"volume.integrity", -1},
    [GP_SETTING_VOLUME_FILESYSTEM] = {"volume.filesystem", -1},
    [GP_SETTING_VOLUME_EAGER] = {"volume.eager", G_STRUCT_OFFSET(GpPullOptions, volume.eager)},
};

const char *gp_setting_name(GpSetting setting)
{
    return settings[setting].name;
}

GpSetting gp_setting_find(const char *name)
{
    GpSetting setting = 0;
    while (setting < GP_N_SETTINGS && strcmp(settings[setting].name, name) != 0)
        setting++;
    return setting;
}

static gpointer field(GpPullOptions *options, GpSetting setting)
{
    return G_STRUCT_MEMBER_P(options, settings[setting].offset);
}

static gboolean refuse(GError **error, const char *place, const char *wanted)
{
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: must be %s", place, wanted);
    return FALSE;
}

/* ---- forms of one string */

static gboolean is_plain(const char *text)
{
    for (const char *p = text; *p; p++)
        if (g_ascii_iscntrl(*p))
            return FALSE;
    return *text != '\0';
}

static gboolean is_location(const char *text)
{
    return is_plain(text) && (text[0] == '/' || g_str_has_prefix(text, "file:///") || gp_resource_is_remote(text));
}

static gboolean is_path(const char *text)
{
    return is_plain(text) && text[0] == '/';
}

static gboolean is_device(const char *text)
{
    return is_path(text) || (g_str_has_prefix(text, "PARTLABEL=") && is_plain(text + strlen("PARTLABEL=")));
}

/* Only addresses, no names: what "localhost" is, somebody else decides. */
static gboolean is_endpoint(const char *text)
{
    static const char *const hosts[] = {"http://127.0.0.1", "http://[::1]"};
    for (gsize i = 0; i < G_N_ELEMENTS(hosts); i++) {
        if (!g_str_has_prefix(text, hosts[i]))
            continue;
        const char *rest = text + strlen(hosts[i]);
        guint64 port = 0;
        char *end = NULL;
        if (*rest != ':' || !g_ascii_isdigit(rest[1]))
            return FALSE;
        port = g_ascii_strtoull(rest + 1, &end, 10);
        return port >= 1 && port <= 65535 && (g_str_equal(end, "") || g_str_equal(end, "/"));
    }
    return FALSE;
}

static gboolean is_certificate(const char *text)
{
    return strstr(text, CERTIFICATE) != NULL;
}

static void replace(char **target, const char *text)
{
    g_free(*target);
    *target = g_strdup(text);
}

static gboolean set_string(GpPullOptions *options, const GpSettingKey *key, const char *text,
    gboolean (*good)(const char *text), const char *wanted, const char *place, GError **error)
{
    if (!text || !good(text))
        return refuse(error, place, wanted);
    replace(field(options, key->setting), text);
    return TRUE;
}

static gboolean set_socket(
    GpPullOptions *options, const GpSettingKey *key, const char *text, const char *place, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *path = text ? gp_unix_path(text, &cause) : NULL;
    if (!path)
        return refuse(error, place, "the absolute path of a socket, or unix:///path");
    replace(field(options, key->setting), path);
    return TRUE;
}

static gboolean set_inline(
    GpPullOptions *options, const GpSettingKey *key, const char *text, const char *place, GError **error)
{
    if (!text)
        return refuse(error, place, "a string");
    char **target = key->setting == GP_SETTING_POLICY       ? &options->policy_text
                    : key->setting == GP_SETTING_REGISTRIES ? &options->registries_text
                                                            : &options->sigstore_config_text;
    replace(target, text);
    g_clear_pointer((char **) field(options, key->setting), g_free);
    return TRUE;
}

/* ---- lists */

/* The strings of @value, each of them @good; NULL-ended, caller's. */
static char **read_list(
    json_t *value, gboolean (*good)(const char *text), const char *wanted, const char *place, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    gboolean ok = json_is_array(value);
    for (gsize i = 0; ok && i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        ok = text && good(text);
        if (ok)
            g_ptr_array_add(list, g_strdup(text));
    }
    if (!ok) {
        (void) refuse(error, place, wanted);
        return NULL;
    }
    g_ptr_array_add(list, NULL);
    return (char **) g_ptr_array_free(g_steal_pointer(&list), FALSE);
}

static gboolean set_list(GpPullOptions *options, const GpSettingKey *key, json_t *value,
    gboolean (*good)(const char *text), const char *wanted, const char *place, GError **error)
{
    char **list = read_list(value, good, wanted, place, error);
    if (!list)
        return FALSE;
    char ***target = field(options, key->setting);
    g_strfreev(*target);
    *target = list;
    return TRUE;
}

static gboolean set_certificates(GpPullOptions *options, json_t *value, const char *place, GError **error)
{
    g_auto(GStrv) list =
        read_list(value, is_certificate, "a list of strings, each with a certificate in PEM form", place, error);
    if (!list)
        return FALSE;
    g_autofree char *all = g_strjoinv("\n", list);
    if (strlen(all) > GP_LIMIT_EXTRA_ROOTS) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "%s: %" G_GSIZE_FORMAT " bytes, at most %" G_GUINT64_FORMAT
            " are allowed\nPut the certificates into files: "
            "cert_dir.",
            place, strlen(all), GP_LIMIT_EXTRA_ROOTS);
        return FALSE;
    }
    g_free(options->extra_roots);
    options->extra_roots = *all ? g_steal_pointer(&all) : NULL;
    return TRUE;
}

/* ---- the rest */

static gboolean set_count(
    GpPullOptions *options, const GpSettingKey *key, json_t *value, const char *place, GError **error)
{
    guint max = settings[key->setting].max;
    json_int_t number = json_integer_value(value);
    if (number < 1 || (number > max && key->form == GP_FORM_COUNT)) {
        g_autofree char *wanted = g_strdup_printf("a whole number from 1 to %u", max);
        return refuse(error, place, wanted);
    }
    *(guint *) field(options, key->setting) = (guint) MIN(number, (json_int_t) max);
    return TRUE;
}

static gboolean set_size(GpPullOptions *options, json_t *value, const char *place, GError **error)
{
    g_autofree char *text = json_is_integer(value) ? g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value))
                                                   : g_strdup(json_string_value(value));
    if (!text)
        return refuse(error, place, "a size (\"512M\") or a percentage of the memory (\"25%\")");
    if (gp_rootfs_parse_size(text, &options->rw, error))
        return TRUE;
    g_prefix_error(error, "%s: ", place);
    return FALSE;
}

static gboolean set_space(
    GpPullOptions *options, const GpSettingKey *key, json_t *value, const char *place, GError **error)
{
    g_autofree char *text = json_is_integer(value) ? g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value))
                                                   : g_strdup(json_string_value(value));
    return text ? gp_space_parse(text, place, field(options, key->setting), error)
                : refuse(error, place, "a size (\"2G\") or a percentage of the filesystem (\"10%\")");
}

static gboolean set_bytes(
    GpPullOptions *options, const GpSettingKey *key, json_t *value, const char *place, GError **error)
{
    GpRootfsLimits limits = {0};
    g_autofree char *text = json_is_integer(value) ? g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value))
                                                   : g_strdup(json_string_value(value));
    if (!text || !gp_rootfs_parse_size(text, &limits, NULL) || limits.rw_bytes == 0)
        return refuse(error, place, "a size (\"4G\")");
    *(guint64 *) field(options, key->setting) = limits.rw_bytes;
    return TRUE;
}

static gboolean set_choice(
    GpPullOptions *options, const GpSettingKey *key, const char *text, const char *place, GError **error)
{
    GpVolumeConfig *volume = &options->volume;
    if (key->setting == GP_SETTING_VOLUME_MODE)
        return gp_volume_mode_from_name(text, &volume->mode) || refuse(error, place, "\"ephemeral\" or \"persistent\"");
    if (key->setting == GP_SETTING_VOLUME_INTEGRITY)
        return gp_volume_integrity_from_name(text, &volume->integrity) ||
               refuse(error, place, "\"aes-gcm\", \"xts-hmac-sha256\" or \"none\"");
    return gp_volume_filesystem_from_name(text, &volume->filesystem) ||
           refuse(error, place, "\"auto\", \"ext4\" or \"xfs\"");
}

static gboolean is_host(const char *text)
{
    return gp_fetch_is_host(text);
}

static gboolean set_value(
    GpPullOptions *options, const GpSettingKey *key, json_t *value, const char *place, GError **error)
{
    const char *text = json_string_value(value);
    switch (key->form) {
    case GP_FORM_LOCATION:
        return set_string(
            options, key, text, is_location, "an absolute path, or a file:/// or kbs:// URI", place, error);
    case GP_FORM_INLINE:
        return set_inline(options, key, text, place, error);
    case GP_FORM_PATH:
        return set_string(options, key, text, is_path, "an absolute path", place, error);
    case GP_FORM_PATHS:
        return set_list(options, key, value, is_path, "a list of absolute paths", place, error);
    case GP_FORM_SOCKET:
        return set_socket(options, key, text, place, error);
    case GP_FORM_ENDPOINT:
        return set_string(options, key, text, is_endpoint,
            "http://127.0.0.1:PORT or http://[::1]:PORT: secrets come from there", place, error);
    case GP_FORM_HOSTS:
        return set_list(options, key, value, is_host, "a list of HOST or HOST:PORT", place, error);
    case GP_FORM_PROXY:
        return set_string(options, key, text, gp_fetch_is_proxy,
            "[http://|socks5://|socks5h://][USER:PASSWORD@]HOST[:PORT]: https proxies are not supported", place, error);
    case GP_FORM_NO_PROXY:
        return set_string(
            options, key, text, is_plain, "hosts, domains and networks with commas between", place, error);
    case GP_FORM_TABLE:
        return json_is_object(value) || refuse(error, place, "a table");
    case GP_FORM_CERTIFICATES:
        return set_certificates(options, value, place, error);
    case GP_FORM_COUNT:
    case GP_FORM_COUNT_CAPPED:
        return set_count(options, key, value, place, error);
    case GP_FORM_BOOLEAN:
        if (!json_is_boolean(value))
            return refuse(error, place, "true or false");
        *(gboolean *) field(options, key->setting) = json_is_true(value);
        return TRUE;
    case GP_FORM_SIZE:
        return set_size(options, value, place, error);
    case GP_FORM_LIMITS:
        return gp_limits_set(&options->limits, value, place, error);
    case GP_FORM_SPACE:
        return set_space(options, key, value, place, error);
    case GP_FORM_MEASUREMENT:
        return (text && gp_measure_mode_from_name(text, &options->measurement)) ||
               refuse(error, place, "\"auto\", \"required\", \"best-effort\" or \"off\"");
    case GP_FORM_DEVICE:
        return set_string(options, key, text, is_device, "an absolute path, or PARTLABEL=NAME", place, error);
    case GP_FORM_BYTES:
        return set_bytes(options, key, value, place, error);
    case GP_FORM_CHOICE:
        return set_choice(options, key, text, place, error);
    }
    g_return_val_if_reached(FALSE);
}

void gp_setting_replaces(GpPullOptions *options, GpSetting setting)
{
    if (setting == GP_SETTING_POLICY && options->policy)
        g_clear_pointer(&options->policy_text, g_free);
    if (setting == GP_SETTING_REGISTRIES && options->registries)
        g_clear_pointer(&options->registries_text, g_free);
    if (setting == GP_SETTING_SIGSTORE_CONFIG && options->sigstore_config)
        g_clear_pointer(&options->sigstore_config_text, g_free);
    if (setting != GP_SETTING_REGISTRIES_D)
        return;
    options->registries_d_given = TRUE;
    g_clear_pointer(&options->sigstore_config, g_free);
    g_clear_pointer(&options->sigstore_config_text, g_free);
}

gboolean gp_setting_set(
    GpPullOptions *options, const GpSettingKey *key, json_t *value, const char *place, GError **error)
{
    if (!set_value(options, key, value, place, error))
        return FALSE;
    gp_setting_replaces(options, key->setting);
    return TRUE;
}

/* ---- what there is */

static json_t *describe_text(const char *text)
{
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, text, strlen(text), &digest);
    g_autofree char *name = gp_digest_to_string(&digest);
    g_autofree char *shown = g_strdup_printf("(inline, %" G_GSIZE_FORMAT " bytes, %s)", strlen(text), name);
    return json_string(shown);
}

static json_t *describe_string(const char *text)
{
    g_autofree char *shown = text ? gp_escape(text, -1, GP_LIMIT_REFERENCE) : NULL;
    return shown ? json_string(shown) : json_null();
}

static json_t *describe_list(char *const *list)
{
    if (!list)
        return json_null();
    json_t *all = json_array();
    for (; *list; list++)
        json_array_append_new(all, describe_string(*list));
    return all;
}

/* Without user and password. */
static json_t *describe_proxy(const char *url)
{
    const char *at = url ? strrchr(url, '@') : NULL;
    const char *scheme = url ? strstr(url, "://") : NULL;
    g_autofree char *shown =
        at ? g_strdup_printf("%.*s***%s", scheme ? (int) (scheme + 3 - url) : 0, url, at) : g_strdup(url);
    return describe_string(shown);
}

static json_t *describe_certificates(const char *pem)
{
    guint count = 0;
    for (const char *at = pem; at && (at = strstr(at, CERTIFICATE)); at += strlen(CERTIFICATE))
        count++;
    g_autofree char *text = g_strdup_printf("(%u certificate%s)", count, count == 1 ? "" : "s");
    return count ? json_string(text) : json_null();
}

static json_t *describe_size(const GpRootfsLimits *rw)
{
    g_autofree char *text =
        rw->rw_bytes ? g_strdup_printf("%" G_GUINT64_FORMAT, rw->rw_bytes) : g_strdup_printf("%u%%", rw->rw_percent);
    return json_string(text);
}

static json_t *describe_space(const GpSpace *space)
{
    g_autofree char *text = gp_space_format(space);
    return json_string(text);
}

json_t *gp_setting_describe(const GpPullOptions *options, GpSetting setting)
{
    const char *const *string =
        settings[setting].offset < 0 ? NULL : G_STRUCT_MEMBER_P(options, settings[setting].offset);
    switch (setting) {
    case GP_SETTING_POLICY:
        return options->policy_text ? describe_text(options->policy_text) : describe_string(options->policy);
    case GP_SETTING_SIGSTORE_CONFIG:
        return options->sigstore_config_text ? describe_text(options->sigstore_config_text)
                                             : describe_string(options->sigstore_config);
    case GP_SETTING_REGISTRIES:
        return options->registries_text ? describe_text(options->registries_text)
                                        : describe_string(options->registries);
    case GP_SETTING_BLOB_DIRECTORIES:
        return describe_list(options->blob_directories);
    case GP_SETTING_EXTRA_ROOTS:
        return describe_certificates(options->extra_roots);
    case GP_SETTING_BUNDLE_ROOTS:
        return describe_list(options->bundle_roots);
    case GP_SETTING_PLAIN_HTTP:
        return describe_list(options->plain_http);
    case GP_SETTING_HTTPS_PROXY:
    case GP_SETTING_HTTP_PROXY:
        return describe_proxy(*string);
    case GP_SETTING_MAX_PARALLEL:
        return json_integer(options->max_parallel);
    case GP_SETTING_MAX_PULLS:
        return json_integer(options->max_pulls);
    case GP_SETTING_TIMEOUT:
        return json_integer(options->timeout);
    case GP_SETTING_RW_SIZE:
        return describe_size(&options->rw);
    case GP_SETTING_RW_TOTAL:
        return options->rw_total ? json_integer((json_int_t) options->rw_total) : json_null();
    case GP_SETTING_LIMITS:
        return gp_limits_describe(&options->limits);
    case GP_SETTING_LOW_WATER:
        return describe_space(&options->low_water);
    case GP_SETTING_HIGH_WATER:
        return describe_space(&options->high_water);
    case GP_SETTING_UNENCRYPTED:
        return json_boolean(options->allow_unencrypted_store);
    case GP_SETTING_FOREIGN:
        return json_boolean(options->allow_foreign_layers);
    case GP_SETTING_MEASUREMENT:
        return json_string(gp_measure_mode_name(options->measurement));
    case GP_SETTING_VOLUME_SIZE:
        return options->volume.size ? json_integer((json_int_t) options->volume.size) : json_null();
    case GP_SETTING_VOLUME_MODE:
        return json_string(gp_volume_mode_name(options->volume.mode));
    case GP_SETTING_VOLUME_INTEGRITY:
        return json_string(gp_volume_integrity_name(options->volume.integrity));
    case GP_SETTING_VOLUME_FILESYSTEM:
        return json_string(gp_volume_filesystem_name(options->volume.filesystem));
    case GP_SETTING_VOLUME_EAGER:
        return json_boolean(options->volume.eager);
    case GP_SETTING_VOLUME_DEVICE:
    case GP_SETTING_VOLUME_KEY:
    case GP_SETTING_NO_PROXY:
    case GP_SETTING_REGISTRIES_D:
    case GP_SETTING_AUTHFILE:
    case GP_SETTING_STORE:
    case GP_SETTING_RUNTIME_DIR:
    case GP_SETTING_CERT_DIR:
    case GP_SETTING_CDH_SOCKET:
    case GP_SETTING_RESOURCE_ENDPOINT:
    case GP_SETTING_KEY_PROVIDER_CONFIG:
    case GP_SETTING_AGENT_SOCKET:
        return describe_string(*string);
    case GP_N_SETTINGS:
        break;
    }
    g_return_val_if_reached(json_null());
}
