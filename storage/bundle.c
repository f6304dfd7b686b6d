#include "storage/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "storage/user.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Everything that does not depend on the image. Capabilities, masked and read-only paths are Podman's defaults; seccomp
 * is left out, because a filter needs to know the runtime's libseccomp and the guest is the boundary here. Resource
 * limits are left to the runtime too: raising one needs a right that not every root has. */
static const char fixed[] =
    "{\"ociVersion\":\"1.0.2\",\"process\":{},\"root\":{\"path\":\"rootfs\",\"readonly\":false},\"hostname\":"
    "\"container\","
    "\"mounts\":["
    "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\",\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
    "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
    "\"options\":[\"nosuid\",\"noexec\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
    "\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
    "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/"
    "mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\",\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
    "{\"destination\":\"/"
    "sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
    "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}],"
    "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"mount\"},"
    "{\"type\":\"network\"},{\"type\":\"cgroup\"}],"
    "\"maskedPaths\":[\"/proc/acpi\",\"/proc/kcore\",\"/proc/keys\",\"/proc/latency_stats\",\"/proc/sched_debug\","
    "\"/proc/scsi\",\"/proc/timer_list\",\"/proc/timer_stats\",\"/sys/dev/block\",\"/sys/devices/virtual/powercap\","
    "\"/sys/firmware\",\"/sys/fs/selinux\"],"
    "\"readonlyPaths\":[\"/proc/asound\",\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\",\"/proc/"
    "sysrq-trigger\"]}}";

static const char *const capabilities[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
};

/* Text of the image as JSON, which is UTF-8: jansson refuses other bytes. */
static gboolean append_text(json_t *array, const char *what, const char *text, GError **error)
{
    if (json_array_append_new(array, json_string(text)) == 0)
        return TRUE;
    g_autofree char *shown = gp_escape(text, -1, 64);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s of the image's configuration is not UTF-8: \"%s\"", what, shown);
    return FALSE;
}

static gboolean set_text(json_t *object, const char *key, const char *what, const char *text, GError **error)
{
    if (json_object_set_new(object, key, json_string(text)) == 0)
        return TRUE;
    g_autofree char *shown = gp_escape(text, -1, 64);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s of the image's configuration is not UTF-8: \"%s\"", what, shown);
    return FALSE;
}

static gboolean append_all(json_t *array, const char *what, char **texts, GError **error)
{
    for (gsize i = 0; texts && texts[i]; i++)
        if (!append_text(array, what, texts[i], error))
            return FALSE;
    return TRUE;
}

static gboolean has_variable(char **env, const char *prefix)
{
    for (gsize i = 0; env && env[i]; i++)
        if (g_str_has_prefix(env[i], prefix))
            return TRUE;
    return FALSE;
}

static json_t *make_env(const GpBundleConfig *config, const GpUser *user, GError **error)
{
    g_autoptr(json_t) env = json_array();
    g_autofree char *home = g_strconcat("HOME=", user->home, NULL);
    if (!append_all(env, "Env", config->env, error))
        return NULL;
    if (!has_variable(config->env, "PATH=") && !append_text(env, "PATH", DEFAULT_PATH, error))
        return NULL;
    if (!has_variable(config->env, "HOME=") && !append_text(env, "the user's home", home, error))
        return NULL;
    return g_steal_pointer(&env);
}

static json_t *make_args(const GpBundleConfig *config, GError **error)
{
    g_autoptr(json_t) args = json_array();
    if (!append_all(args, "Entrypoint", config->entrypoint, error) || !append_all(args, "Cmd", config->cmd, error))
        return NULL;
    if (json_array_size(args) == 0 && !append_text(args, "Cmd", "sh", error))
        return NULL;
    return g_steal_pointer(&args);
}

static json_t *make_user(const GpUser *user)
{
    json_t *object = json_pack("{s:I,s:I}", "uid", (json_int_t) user->uid, "gid", (json_int_t) user->gid);
    if (user->additional_gids->len == 0)
        return object;
    json_t *gids = json_array();
    for (guint i = 0; i < user->additional_gids->len; i++)
        json_array_append_new(gids, json_integer(g_array_index(user->additional_gids, guint32, i)));
    json_object_set_new(object, "additionalGids", gids);
    return object;
}

/* A user that is not root may get these only by running a setuid program. Inheritable and ambient stay empty:
 * CVE-2022-24769. */
static json_t *make_capabilities(const GpUser *user)
{
    json_t *all = json_array();
    for (gsize i = 0; i < G_N_ELEMENTS(capabilities); i++)
        json_array_append_new(all, json_string(capabilities[i]));
    json_t *own = user->uid == 0 ? json_copy(all) : json_array();
    return json_pack("{s:o,s:O,s:o}", "bounding", all, "effective", own, "permitted", own);
}

static gboolean fill_process(json_t *process, const GpBundleConfig *config, const GpUser *user, GError **error)
{
    json_t *args = make_args(config, error);
    if (!args)
        return FALSE;
    json_object_set_new(process, "args", args);
    json_t *env = make_env(config, user, error);
    if (!env)
        return FALSE;
    json_object_set_new(process, "env", env);

    const char *directory = config->working_dir && config->working_dir[0] ? config->working_dir : "/";
    g_autofree char *absolute = g_strconcat(directory[0] == '/' ? "" : "/", directory, NULL);
    json_object_set_new(process, "terminal", json_false());
    json_object_set_new(process, "user", make_user(user));
    json_object_set_new(process, "capabilities", make_capabilities(user));
    json_object_set_new(process, "noNewPrivileges", json_false());
    return set_text(process, "cwd", "WorkingDir", absolute, error);
}

/* image-spec conversion.md, "Annotation Fields": a label of the image wins over what is derived. */
static json_t *make_annotations(const GpBundleConfig *config, GError **error)
{
    const struct {
        const char *key, *value;
    } derived[] = {
        {"org.opencontainers.image.os", config->os},
        {"org.opencontainers.image.architecture", config->architecture},
        {"org.opencontainers.image.stopSignal", config->stop_signal},
    };
    g_autoptr(json_t) annotations = json_object();
    for (gsize i = 0; i < G_N_ELEMENTS(derived); i++)
        if (derived[i].value && derived[i].value[0] &&
            !set_text(annotations, derived[i].key, derived[i].key, derived[i].value, error))
            return NULL;
    if (!config->labels)
        return g_steal_pointer(&annotations);
    g_autoptr(GList) keys = g_list_sort(g_hash_table_get_keys(config->labels), (GCompareFunc) strcmp);
    for (GList *key = keys; key; key = key->next)
        /* The runtime-spec forbids an empty name. */
        if (((const char *) key->data)[0] &&
            !set_text(annotations, key->data, "a label", g_hash_table_lookup(config->labels, key->data), error))
            return NULL;
    return g_steal_pointer(&annotations);
}

static char *make_config(const GpBundleConfig *config, const GpUser *user, GError **error)
{
    g_autoptr(json_t) document = gp_json_parse(fixed, strlen(fixed), sizeof fixed, "bundle template", error);
    if (!document || !fill_process(json_object_get(document, "process"), config, user, error))
        return NULL;
    json_t *annotations = make_annotations(config, error);
    if (!annotations)
        return NULL;
    json_object_set_new(document, "annotations", annotations);
    return gp_json_to_text(document, TRUE);
}

/* A reader sees the old file or the whole new one; a leftover of a killed process does not stand in the way. */
static gboolean replace_file(int bundle_fd, const char *text, GError **error)
{
    g_autofree char *temporary = g_strdup_printf(".config.json.%08x", g_random_int());
    GP_AUTOFD int fd = openat(bundle_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        gp_set_errno(error, errno, "config.json");
        return FALSE;
    }
    gboolean ok = gp_write_all(fd, text, strlen(text), error);
    if (ok && renameat(bundle_fd, temporary, bundle_fd, "config.json") < 0) {
        gp_set_errno(error, errno, "config.json");
        ok = FALSE;
    }
    if (!ok)
        (void) unlinkat(bundle_fd, temporary, 0);
    return ok;
}

gboolean gp_bundle_write_config(const char *bundle, int rootfs_fd, const GpBundleConfig *config, GError **error)
{
    g_auto(GpUser) user = {0};
    if (!gp_user_resolve(rootfs_fd, config->user, &user, error))
        return FALSE;
    g_autofree char *text = make_config(config, &user, error);
    if (!text)
        return FALSE;
    GP_AUTOFD int bundle_fd = open(bundle, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (bundle_fd < 0) {
        int err = errno;
        g_autofree char *shown = gp_escape(bundle, -1, 512);
        gp_set_errno(error, err, "bundle %s", shown);
        return FALSE;
    }
    return replace_file(bundle_fd, text, error);
}
