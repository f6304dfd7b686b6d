/* Configuration: every key, every form, origins, precedence, the kernel's command line. */
#include <glib/gstdio.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/config.h"
#include "puller/config_kernel.h"
#include "puller/config_setting.h"

#define VOLUME "[guest_pull.volume]\ndevice='/dev/vdb'\n"

#define PEM "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----"

typedef struct {
    char *directory, *file, *command_line;
} Place;

static void place_set_up(Place *place)
{
    place->directory = g_dir_make_tmp("gp-config-XXXXXX", NULL);
    place->file = g_build_filename(place->directory, "c.toml", NULL);
    place->command_line = g_build_filename(place->directory, "cmdline", NULL);
}

static void place_clear(Place *place)
{
    (void) gp_remove_tree(-1, place->directory, NULL);
    g_free(place->directory);
    g_free(place->file);
    g_free(place->command_line);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static void write_text(const char *path, const char *text)
{
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* Loads @text (NULL: no file) with @kernel on the command line (NULL: there is none). */
static GpConfig *load(const Place *place, const char *text, const char *kernel, GpPullOptions *options, GError **error)
{
    if (text)
        write_text(place->file, text);
    if (kernel)
        write_text(place->command_line, kernel);
    const char *const files[] = {"/nonexistent/c.toml", place->file, NULL};
    const GpConfigPlaces places = {files, place->command_line};
    return gp_config_load(NULL, &places, options, error);
}

/* "value origin" of setting @name, the file's path left out of the origin. */
static char *describe(const Place *place, const GpConfig *config, const GpPullOptions *options, const char *name)
{
    g_autoptr(json_t) all = gp_config_describe(config, options);
    json_t *settings = json_object_get(all, "settings"), *row;
    gsize i;
    json_array_foreach(settings, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) != 0)
            continue;
        g_autofree char *value = gp_json_to_text(json_object_get(row, "value"), FALSE);
        const char *origin = json_string_value(json_object_get(row, "origin"));
        if (g_str_has_prefix(origin, place->file))
            origin += strlen(place->file) + strlen(": ");
        return g_strdup_printf("%s %s", value, origin);
    }
    g_assert_not_reached();
}

static void test_values(void)
{
    static const struct {
        const char *text, *name, *expected;
    } rows[] = {
        {"", "policy", "null default"},
        {"", "store", "\"/var/lib/guest-pull\" default"},
        {"", "registries_d", "\"/etc/containers/registries.d\" default"},
        {"", "max_parallel", "4 default"},
        {"", "timeout", "1200 default"},
        {"", "rw_size", "\"50%\" default"},
        {"", "measurement", "\"auto\" default"},
        {"", "resource_endpoint", "\"http://127.0.0.1:8006\" default"},
        {"[image]\nwork_dir='/w'", "store", "\"/w\" [image] work_dir"},
        {"[image]\nwork_dir=''", "store", "\"/var/lib/guest-pull\" default"},
        {"[image]\nimage_security_policy_uri='kbs:///a/b/c'", "policy",
            "\"kbs:///a/b/c\" [image] image_security_policy_uri"},
        {"[image]\nimage_security_policy_uri='kbs://host/a/b/c'", "policy",
            "\"kbs://host/a/b/c\" [image] image_security_policy_uri"},
        {"[image]\nimage_security_policy_uri='file:///p'", "policy", "\"file:///p\" [image] image_security_policy_uri"},
        {"[image]\nimage_security_policy_uri='kbs:///a/b/c'\nimage_security_policy='{}'", "policy",
            "\"kbs:///a/b/c\" [image] image_security_policy_uri"},
        {"[image]\nimage_security_policy_uri=''\nimage_security_policy='{}'", "policy",
            "\"(inline, 2 bytes, sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a)\" "
            "[image] image_security_policy"},
        {"[guest_pull]\npolicy='/own'\n[image]\nimage_security_policy_uri='kbs:///a/b/c'", "policy",
            "\"/own\" [guest_pull] policy"},
        {"[guest_pull]\npolicy='/own'\n[image]\nimage_security_policy='{}'", "policy", "\"/own\" [guest_pull] policy"},
        {"[image]\nsigstore_config_uri='kbs:///a/b/c'\nsigstore_config='x: y'", "sigstore_config",
            "\"kbs:///a/b/c\" [image] sigstore_config_uri"},
        {"[image]\nsigstore_config_uri='kbs:///a/b/c'\n[guest_pull]\nregistries_d='/r'", "sigstore_config",
            "null default"},
        {"[image]\nauthenticated_registry_credentials_uri='file:///a'", "authfile",
            "\"file:///a\" [image] authenticated_registry_credentials_uri"},
        {"[image]\nmax_concurrent_layer_downloads_per_image=3", "max_parallel",
            "3 [image] max_concurrent_layer_downloads_per_image"},
        {"[image]\nmax_concurrent_layer_downloads_per_image=1000", "max_parallel",
            "32 [image] max_concurrent_layer_downloads_per_image"},
        {"[image]\nmax_concurrent_layer_downloads_per_image=3\n[guest_pull]\nmax_parallel=5", "max_parallel",
            "5 [guest_pull] max_parallel"},
        {"[image]\nextra_root_certificates=[\"" PEM "\", \"" PEM "\"]", "extra_root_certificates",
            "\"(2 certificates)\" [image] extra_root_certificates"},
        {"[image]\nextra_root_certificates=[]", "extra_root_certificates", "null default"},
        {"[guest_pull]\nbundle_roots=['/a','/b']", "bundle_roots", "[\"/a\",\"/b\"] [guest_pull] bundle_roots"},
        {"[guest_pull]\nmax_parallel=32", "max_parallel", "32 [guest_pull] max_parallel"},
        {"", "volume.device", "null default"},
        {"", "volume.mode", "\"ephemeral\" default"},
        {"", "volume.integrity", "\"aes-gcm\" default"},
        {VOLUME, "volume.device", "\"/dev/vdb\" [guest_pull.volume] device"},
        {"[guest_pull.volume]\ndevice='PARTLABEL=a b'", "volume.device",
            "\"PARTLABEL=a b\" [guest_pull.volume] device"},
        {VOLUME "size='4G'", "volume.size", "4294967296 [guest_pull.volume] size"},
        {VOLUME "integrity='xts-hmac-sha256'", "volume.integrity", "\"xts-hmac-sha256\" [guest_pull.volume] integrity"},
        {VOLUME "integrity='none'", "volume.integrity", "\"none\" [guest_pull.volume] integrity"},
        {VOLUME "filesystem='xfs'", "volume.filesystem", "\"xfs\" [guest_pull.volume] filesystem"},
        {VOLUME "eager=true", "volume.eager", "true [guest_pull.volume] eager"},
        {VOLUME "mode='persistent'\nkey='kbs:///a/b/c'", "volume.mode", "\"persistent\" [guest_pull.volume] mode"},
        {VOLUME "mode='persistent'\nkey='kbs:///a/b/c'", "volume.key", "\"kbs:///a/b/c\" [guest_pull.volume] key"},
        {"[guest_pull]\nmax_pulls=8", "max_pulls", "8 [guest_pull] max_pulls"},
        {"[guest_pull]\nrw_size='512M'", "rw_size", "\"536870912\" [guest_pull] rw_size"},
        {"[guest_pull]\nrw_size=1048576", "rw_size", "\"1048576\" [guest_pull] rw_size"},
        {"[guest_pull]\nrw_size='25%'", "rw_size", "\"25%\" [guest_pull] rw_size"},
        {"[guest_pull]\nallow_unencrypted_store=true", "allow_unencrypted_store",
            "true [guest_pull] allow_unencrypted_store"},
        {"[guest_pull]\ntimeout=86400", "timeout", "86400 [guest_pull] timeout"},
        {"[guest_pull]\nmeasurement='required'", "measurement", "\"required\" [guest_pull] measurement"},
        {"[guest_pull]\nmeasurement='best-effort'", "measurement", "\"best-effort\" [guest_pull] measurement"},
        {"[guest_pull]\nmeasurement='off'", "measurement", "\"off\" [guest_pull] measurement"},
        {"[guest_pull]\nmeasurement='auto'", "measurement", "\"auto\" [guest_pull] measurement"},
        {"[guest_pull]\ncdh_socket='unix:///run/x'", "cdh_socket", "\"/run/x\" [guest_pull] cdh_socket"},
        {"[guest_pull]\ncdh_socket='/run/x'", "cdh_socket", "\"/run/x\" [guest_pull] cdh_socket"},
        {"[guest_pull]\nattestation_agent_socket='/a'", "attestation_agent_socket",
            "\"/a\" [guest_pull] attestation_agent_socket"},
        {"[guest_pull]\nresource_endpoint='http://127.0.0.1:1/'", "resource_endpoint",
            "\"http://127.0.0.1:1/\" [guest_pull] resource_endpoint"},
        {"[guest_pull]\nresource_endpoint='http://[::1]:65535'", "resource_endpoint",
            "\"http://[::1]:65535\" [guest_pull] resource_endpoint"},
        {"[guest_pull]\nruntime_dir='/r'", "runtime_dir", "\"/r\" [guest_pull] runtime_dir"},
        {"[guest_pull]\nplain_http=['a.example:80', '[::1]:5000']", "plain_http",
            "[\"a.example:80\",\"[::1]:5000\"] [guest_pull] plain_http"},
        {"[guest_pull]\nregistries_d='/r'", "registries_d", "\"/r\" [guest_pull] registries_d"},
        {"[guest_pull]\ncert_dir='/c'", "cert_dir", "\"/c\" [guest_pull] cert_dir"},
        {"[guest_pull]\nauthfile='kbs:///a/b/c'", "authfile", "\"kbs:///a/b/c\" [guest_pull] authfile"},
        {"{\"guest_pull\": {\"timeout\": 7}}", "timeout", "7 [guest_pull] timeout"},
        {" \n{\"image\": {\"work_dir\": null}}", "store", "\"/var/lib/guest-pull\" default"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(Place) place = {0};
        place_set_up(&place);
        g_autoptr(GpPullOptions) options = gp_pull_options_new();
        g_autoptr(GError) error = NULL;
        g_autoptr(GpConfig) config = load(&place, rows[i].text, NULL, options, &error);
        if (error)
            g_error("%s: %s", rows[i].text, error->message);
        g_autofree char *found = describe(&place, config, options, rows[i].name);
        g_assert_cmpstr(found, ==, rows[i].expected);
    }
}

static void test_refusals(void)
{
    static const struct {
        const char *text;
        int code;
        const char *words;
    } rows[] = {
        {"x", GP_ERROR_USAGE, "c.toml: line 1"},
        {"image = 3", GP_ERROR_USAGE, "c.toml: image and guest_pull must be sections"},
        {"[[guest_pull]]\n", GP_ERROR_USAGE, "c.toml: image and guest_pull must be sections"},
        {"[guest_pull]\nmeasurment='off'", GP_ERROR_USAGE,
            "c.toml: guest_pull.measurment: unknown key (did you mean \"measurement\"?)"},
        {"[guest_pull]\nwork_dir='/x'", GP_ERROR_USAGE, "guest_pull.work_dir: unknown key"},
        {"[guest_pull]\nvolume='/dev/vdb'", GP_ERROR_USAGE, "guest_pull.volume: must be an object"},
        {VOLUME "modus=1", GP_ERROR_USAGE, "guest_pull.volume.modus: unknown key"},
        {"[guest_pull.volume]\nmode='ephemeral'", GP_ERROR_USAGE, "[guest_pull.volume]: no device is set"},
        {"[guest_pull.volume]\ndevice='vdb'", GP_ERROR_USAGE, "must be an absolute path, or PARTLABEL=NAME"},
        {"[guest_pull.volume]\ndevice='PARTLABEL='", GP_ERROR_USAGE, "must be an absolute path, or PARTLABEL=NAME"},
        {VOLUME "size='10%'", GP_ERROR_USAGE, "[guest_pull.volume] size: must be a size"},
        {VOLUME "mode='luks'", GP_ERROR_USAGE, "must be \"ephemeral\" or \"persistent\""},
        {VOLUME "integrity='off'", GP_ERROR_USAGE, "must be \"aes-gcm\", \"xts-hmac-sha256\" or \"none\""},
        {VOLUME "integrity=false", GP_ERROR_USAGE, "must be \"aes-gcm\", \"xts-hmac-sha256\" or \"none\""},
        {VOLUME "filesystem='btrfs'", GP_ERROR_USAGE, "must be \"auto\", \"ext4\" or \"xfs\""},
        {VOLUME "eager=1", GP_ERROR_USAGE, "[guest_pull.volume] eager: must be true or false"},
        {VOLUME "mode='persistent'", GP_ERROR_USAGE, "a persistent volume needs a key"},
        {VOLUME "key='/k'", GP_ERROR_USAGE, "an ephemeral volume makes its own key"},
        {VOLUME "mode='persistent'\nkey='/k'\nfilesystem='xfs'", GP_ERROR_USAGE, "a persistent volume must be ext4"},
        {"[guest_pull.sub]\nx=1", GP_ERROR_USAGE, "guest_pull.sub: unknown key"},
        {"[image]\nwork_dir=3", GP_ERROR_USAGE, "[image] work_dir: must be an absolute path"},
        {"[image]\nwork_dir='x/y'", GP_ERROR_USAGE, "[image] work_dir: must be an absolute path"},
        {"[image]\nimage_security_policy_uri='p.json'", GP_ERROR_USAGE,
            "[image] image_security_policy_uri: must be an absolute path, or a file:/// or kbs:// URI"},
        {"[image]\nimage_security_policy_uri='https://x/p'", GP_ERROR_USAGE, "must be an absolute path, or"},
        {"[image]\nimage_security_policy_uri='file://p'", GP_ERROR_USAGE, "must be an absolute path, or"},
        {"[image]\nimage_security_policy_uri=\"/p\\n\"", GP_ERROR_USAGE, "must be an absolute path, or"},
        {"[image]\nimage_security_policy={a=1}", GP_ERROR_USAGE, "[image] image_security_policy: must be a string"},
        {"[image]\nsigstore_config=1", GP_ERROR_USAGE, "[image] sigstore_config: must be a string"},
        {"[image]\nmax_concurrent_layer_downloads_per_image=0", GP_ERROR_USAGE, "must be a whole number from 1 to 32"},
        {"[image]\nextra_root_certificates='x'", GP_ERROR_USAGE, "must be a list of strings, each with a certificate"},
        {"[image]\nextra_root_certificates=['x']", GP_ERROR_USAGE,
            "must be a list of strings, each with a certificate"},
        {"[guest_pull]\nmax_parallel=33", GP_ERROR_USAGE,
            "[guest_pull] max_parallel: must be a whole number from 1 to 32"},
        {"[guest_pull]\nmax_parallel=-1", GP_ERROR_USAGE, "must be a whole number from 1 to 32"},
        {"[guest_pull]\nmax_parallel=2.0", GP_ERROR_USAGE, "must be a whole number from 1 to 32"},
        {"[guest_pull]\ntimeout=0", GP_ERROR_USAGE, "[guest_pull] timeout: must be a whole number from 1 to 86400"},
        {"[guest_pull]\ntimeout=86401", GP_ERROR_USAGE, "must be a whole number from 1 to 86400"},
        {"[guest_pull]\ntimeout=true", GP_ERROR_USAGE, "must be a whole number from 1 to 86400"},
        {"[guest_pull]\nrw_size='0%'", GP_ERROR_USAGE, "[guest_pull] rw_size: size \"0%\""},
        {"[guest_pull]\nrw_size=true", GP_ERROR_USAGE, "[guest_pull] rw_size: must be a size"},
        {"[guest_pull]\nrw_size=-1048576", GP_ERROR_USAGE, "[guest_pull] rw_size: size \"-1048576\""},
        {"[guest_pull]\nallow_unencrypted_store='true'", GP_ERROR_USAGE,
            "[guest_pull] allow_unencrypted_store: must be true or false"},
        {"[guest_pull]\nmeasurement='on'", GP_ERROR_USAGE,
            "[guest_pull] measurement: must be \"auto\", \"required\", \"best-effort\" or \"off\""},
        {"[guest_pull]\nmeasurement=false", GP_ERROR_USAGE, "[guest_pull] measurement: must be \"auto\""},
        {"[guest_pull]\ncdh_socket='run/x'", GP_ERROR_USAGE, "[guest_pull] cdh_socket: must be the absolute path"},
        {"[guest_pull]\ncdh_socket=''", GP_ERROR_USAGE, "[guest_pull] cdh_socket: must be the absolute path"},
        {"[guest_pull]\nresource_endpoint='http://localhost:8006'", GP_ERROR_USAGE,
            "[guest_pull] resource_endpoint: must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nresource_endpoint='https://127.0.0.1:8006'", GP_ERROR_USAGE, "must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nresource_endpoint='http://127.0.0.1'", GP_ERROR_USAGE, "must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nresource_endpoint='http://127.0.0.1:0'", GP_ERROR_USAGE, "must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nresource_endpoint='http://127.0.0.1:65536'", GP_ERROR_USAGE, "must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nresource_endpoint='http://127.0.0.1:80@evil.example'", GP_ERROR_USAGE,
            "must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nresource_endpoint='http://127.0.0.1:8006/x'", GP_ERROR_USAGE, "must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nresource_endpoint='http://127.0.0.1.evil.example:1'", GP_ERROR_USAGE,
            "must be http://127.0.0.1:PORT"},
        {"[guest_pull]\nplain_http='a'", GP_ERROR_USAGE, "[guest_pull] plain_http: must be a list of HOST"},
        {"[guest_pull]\nplain_http=['http://a']", GP_ERROR_USAGE, "[guest_pull] plain_http: must be a list of HOST"},
        {"[guest_pull]\nbundle_roots=['a']", GP_ERROR_USAGE, "[guest_pull] bundle_roots: must be a list of absolute"},
        {"[guest_pull]\npolicy=''", GP_ERROR_USAGE, "[guest_pull] policy: must be an absolute path, or"},
        {"{\"guest_pull\": null}", GP_ERROR_USAGE, "image and guest_pull must be sections"},
        {"{\"guest_pull\": {\"timeout\": null}}", GP_ERROR_USAGE, "timeout"},
        {"{\"image\": {}, \"image\": {}}", GP_ERROR_USAGE, "duplicate"},
        {"{} x", GP_ERROR_USAGE, "c.toml"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(Place) place = {0};
        place_set_up(&place);
        g_autoptr(GpPullOptions) options = gp_pull_options_new();
        g_autoptr(GError) error = NULL;
        g_autoptr(GpConfig) config = load(&place, rows[i].text, NULL, options, &error);
        if (!error)
            g_error("accepted: %s", rows[i].text);
        g_assert_null(config);
        if (error->code != rows[i].code || !strstr(error->message, rows[i].words) || !strstr(error->message, "c.toml"))
            g_error("%s: code %d: %s", rows[i].text, error->code, error->message);
    }
}

static void test_certificates_are_bounded(void)
{
    g_auto(Place) place = {0};
    place_set_up(&place);
    GString *text = g_string_new("[image]\nextra_root_certificates=[");
    for (int i = 0; i < 1000; i++)
        g_string_append(text, "\"" PEM "\",");
    g_string_append(text, "]\n");
    g_autofree char *owned = g_string_free(text, FALSE);
    g_autoptr(GpPullOptions) options = gp_pull_options_new();
    g_autoptr(GError) error = NULL;
    g_assert_null(load(&place, owned, NULL, options, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
    g_assert_nonnull(strstr(error->message, "extra_root_certificates: "));
}

static void test_ignored(void)
{
    g_auto(Place) place = {0};
    place_set_up(&place);
    g_autoptr(GpPullOptions) options = gp_pull_options_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(GpConfig) config = load(&place,
        "socket='unix:///x'\n[kbc]\nname='x'\n[image]\nregistry_config='x'\nfuture=1\n"
        "image_pull_proxy={https_proxy='', no_proxy='x'}\nregistry_configuration_uri=''\n",
        NULL, options, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(options->registries_text, ==, "x");
    g_assert_null(options->registries);
    g_assert_null(options->https_proxy);
    g_assert_cmpstr(options->no_proxy, ==, "x");
    g_autoptr(json_t) all = gp_config_describe(config, options);
    g_autofree char *ignored = gp_json_to_text(json_object_get(all, "ignored"), FALSE);
    g_assert_cmpstr(ignored, ==, "[\"[image] future\"]");
}

static void test_kernel(void)
{
    static const struct {
        const char *text, *kernel, *name, *expected;
    } rows[] = {
        {NULL, "quiet agent.image_registry_auth=kbs:///a/b/c\n", "authfile",
            "\"kbs:///a/b/c\" kernel command line: agent.image_registry_auth"},
        {"[kbc]\n", "agent.image_registry_auth=file:///x", "authfile",
            "\"file:///x\" kernel command line: agent.image_registry_auth"},
        {"[guest_pull]\n", "agent.image_registry_auth=file:///x", "authfile",
            "\"file:///x\" kernel command line: agent.image_registry_auth"},
        {"[guest_pull]\nauthfile='/own'", "agent.image_registry_auth=file:///x", "authfile",
            "\"/own\" [guest_pull] authfile"},
        {"[image]\n", "agent.image_registry_auth=kbs:///a/b/c", "authfile", "null default"},
        {"{\"image\": {}}", "agent.image_registry_auth=kbs:///a/b/c", "authfile", "null default"},
        {NULL, "agent.image_policy_file=kbs:///a/b/c agent.enable_signature_verification=true", "policy",
            "\"kbs:///a/b/c\" kernel command line: agent.image_policy_file"},
        {NULL, "agent.image_policy_file=kbs:///a/b/c", "policy", "null default"},
        {NULL, "agent.image_policy_file=kbs:///a/b/c agent.enable_signature_verification=false", "policy",
            "null default"},
        {NULL,
            "agent.image_policy_file=kbs:///a/b/c agent.enable_signature_verification=true "
            "agent.enable_signature_verification=false",
            "policy", "null default"},
        {NULL, "agent.image_registry_auth= x", "authfile", "null default"},
        {NULL, "", "authfile", "null default"},
        {NULL, NULL, "authfile", "null default"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(Place) place = {0};
        place_set_up(&place);
        g_autoptr(GpPullOptions) options = gp_pull_options_new();
        g_autoptr(GError) error = NULL;
        g_autoptr(GpConfig) config = load(&place, rows[i].text, rows[i].kernel, options, &error);
        g_assert_no_error(error);
        g_autofree char *found = describe(&place, config, options, rows[i].name);
        g_assert_cmpstr(found, ==, rows[i].expected);
    }
}

static void test_kernel_refusals(void)
{
    g_auto(Place) place = {0};
    place_set_up(&place);
    g_autoptr(GpPullOptions) options = gp_pull_options_new();
    g_autoptr(GError) error = NULL;
    g_assert_null(load(&place, NULL, "agent.image_registry_auth=http://x", options, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
    g_assert_nonnull(strstr(error->message, "kernel command line: agent.image_registry_auth: must be"));
    g_autoptr(GpPullOptions) other = gp_pull_options_new();
    g_autoptr(GpConfig) config = load(&place, NULL, "agent.https_proxy=http://p agent.no_proxy=", other, NULL);
    g_assert_nonnull(config);
    g_assert_cmpstr(other->https_proxy, ==, "http://p");
    g_assert_null(other->no_proxy);
}

static void test_parameter(void)
{
    static const struct {
        const char *text, *key, *value;
    } rows[] = {
        {"a=1 b=2", "a", "1"},
        {"a=1 b=2\n", "b", "2"},
        {"a=1 a=2", "a", "2"},
        {"a", "a", ""},
        {"a=", "a", ""},
        {"ab=1", "a", NULL},
        {"x.a=1", "a", NULL},
        {"a=\"1 2\" b=3", "a", "1 2"},
        {"\"a=1 2\" b=3", "a", "1 2"},
        {"a=\"1 b=3", "b", NULL},
        {"a=b=c", "a", "b=c"},
        {"", "a", NULL},
        {"  \t a=1", "a", "1"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *value = gp_kernel_parameter(rows[i].text, rows[i].key);
        g_assert_cmpstr(value, ==, rows[i].value);
    }
}

static void test_override(void)
{
    g_auto(Place) place = {0};
    place_set_up(&place);
    g_autoptr(GpPullOptions) options = gp_pull_options_new();
    g_autoptr(GpConfig) config =
        load(&place, "[image]\nimage_security_policy='{}'\nsigstore_config='x: y'\n", NULL, options, NULL);
    g_assert_nonnull(config);
    g_assert_nonnull(options->policy_text);
    options->policy = g_strdup("/given");
    gp_config_override(config, "policy", "--policy", options);
    gp_config_override(config, "registries_d", "--registries-d", options);
    g_assert_null(options->policy_text);
    g_assert_null(options->sigstore_config_text);
    g_assert_true(options->registries_d_given);
    g_autofree char *found = describe(&place, config, options, "policy");
    g_assert_cmpstr(found, ==, "\"/given\" command line: --policy");
}

static void test_places(void)
{
    g_auto(Place) place = {0};
    place_set_up(&place);
    g_autofree char *second = g_build_filename(place.directory, "second.toml", NULL);
    write_text(place.file, "[guest_pull]\ntimeout=1\n");
    write_text(second, "[guest_pull]\ntimeout=2\nmax_parallel=2\n");
    const char *const files[] = {place.file, second, NULL};
    const GpConfigPlaces places = {files, NULL};
    g_autoptr(GpPullOptions) options = gp_pull_options_new();
    g_autoptr(GpConfig) config = gp_config_load(NULL, &places, options, NULL);
    g_assert_cmpuint(options->timeout, ==, 1);
    g_assert_cmpuint(options->max_parallel, ==, GP_DEFAULT_PARALLEL); /* only one file counts */
    g_autoptr(GpPullOptions) named = gp_pull_options_new();
    g_autoptr(GpConfig) by_name = gp_config_load(second, &places, named, NULL);
    g_assert_nonnull(by_name);
    g_assert_cmpuint(named->timeout, ==, 2);
    const GpConfigPlaces nothing = {NULL, NULL};
    g_autoptr(GpPullOptions) defaults = gp_pull_options_new();
    g_autoptr(GpConfig) none = gp_config_load(NULL, &nothing, defaults, NULL);
    g_assert_nonnull(none);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_config_load("/nonexistent/c.toml", &places, defaults, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
}

/* A file that is there and cannot be read, or of which that cannot be told, is not passed over for the next one. */
static void test_places_out_of_reach(void)
{
    g_auto(Place) place = {0};
    place_set_up(&place);
    g_autofree char *second = g_build_filename(place.directory, "second.toml", NULL);
    g_autofree char *too_long = g_strnfill(300, 'x');
    g_autofree char *unknown = g_build_filename(place.directory, too_long, NULL);
    write_text(second, "[guest_pull]\ntimeout=2\n");
    g_assert_cmpint(symlink("/nonexistent/c.toml", place.file), ==, 0);
    const char *const firsts[] = {place.file, unknown};
    for (gsize i = 0; i < G_N_ELEMENTS(firsts); i++) {
        const char *const files[] = {firsts[i], second, NULL};
        const GpConfigPlaces places = {files, NULL};
        g_autoptr(GpPullOptions) options = gp_pull_options_new();
        g_autoptr(GError) error = NULL;
        g_assert_null(gp_config_load(NULL, &places, options, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
        g_assert_nonnull(strstr(error->message, "It exists, so it must be readable."));
        const GpConfigPlaces kernel = {NULL, firsts[i]};
        g_clear_error(&error);
        g_assert_null(gp_config_load(NULL, &kernel, options, &error));
        g_assert_nonnull(strstr(error->message, "kernel command line"));
    }
}

static void test_settings(void)
{
    for (GpSetting i = 0; i < GP_N_SETTINGS; i++)
        g_assert_cmpint(gp_setting_find(gp_setting_name(i)), ==, i);
    g_assert_cmpint(gp_setting_find("nothing"), ==, GP_N_SETTINGS);
}

int main(int argc, char **argv)
{
    g_unsetenv("GUEST_PULL_CDH_SOCKET");
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/puller/config/every-key-and-its-origin", test_values);
    g_test_add_func("/puller/config/refusals-name-file-and-key", test_refusals);
    g_test_add_func("/puller/config/certificates-are-bounded", test_certificates_are_bounded);
    g_test_add_func("/puller/config/ignored-keys-are-told", test_ignored);
    g_test_add_func("/puller/config/kernel-command-line-without-image-section", test_kernel);
    g_test_add_func("/puller/config/kernel-command-line-is-checked", test_kernel_refusals);
    g_test_add_func("/puller/config/kernel-parameters", test_parameter);
    g_test_add_func("/puller/config/options-win", test_override);
    g_test_add_func("/puller/config/first-file-counts", test_places);
    g_test_add_func("/puller/config/file-out-of-reach-is-not-passed-over", test_places_out_of_reach);
    g_test_add_func("/puller/config/settings-have-names", test_settings);
    return g_test_run();
}
