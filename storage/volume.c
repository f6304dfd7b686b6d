#include "storage/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/worker.h"
#include "storage/encrypted.h"
#include "storage/mounts.h"
#include "storage/volume_request.h"

#define BLOCK_DEVICES "/sys/class/block"
#define MAPPING "/dev/mapper/" GP_VOLUME_NAME

/* ---- what there is, by sysfs */

/* The content of a small file of sysfs without its line end; NULL if there is none. Caller's. */
static char *read_attribute(const char *device, const char *name)
{
    g_autofree char *path = g_build_filename(BLOCK_DEVICES, device, name, NULL);
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text) : NULL;
}

/* "dm-0": the device of our mapping; NULL if there is none. Caller's. */
static char *find_mapping(void)
{
    g_autoptr(GDir) dir = g_dir_open(BLOCK_DEVICES, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *mapping = read_attribute(name, "dm/name");
        if (g_strcmp0(mapping, GP_VOLUME_NAME) == 0)
            return g_strdup(name);
    }
    return NULL;
}

/* The device at the bottom of @name's stack: "vdb". Caller's. */
static char *find_disk(const char *name)
{
    g_autofree char *at = g_strdup(name);
    for (int depth = 0; depth < 16; depth++) {
        g_autofree char *path = g_build_filename(BLOCK_DEVICES, at, "slaves", NULL);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *below = dir ? g_dir_read_name(dir) : NULL;
        if (!below)
            break;
        g_free(at);
        at = g_strdup(below);
    }
    return g_steal_pointer(&at);
}

static gboolean is_mounted(const char *device, const char *store)
{
    struct stat st;
    g_autofree char *numbers = read_attribute(device, "dev");
    if (!numbers || stat(store, &st) < 0)
        return FALSE;
    g_autofree char *mounted = g_strdup_printf("%u:%u", major(st.st_dev), minor(st.st_dev));
    return g_str_equal(mounted, numbers);
}

json_t *gp_volume_status(const char *store)
{
    g_autofree char *mapping = find_mapping();
    if (!mapping)
        return json_pack("{s:b}", "open", FALSE);
    g_autofree char *uuid = read_attribute(mapping, "dm/uuid");
    g_autofree char *sectors = read_attribute(mapping, "size");
    g_autofree char *disk = find_disk(mapping);
    g_autofree char *device = g_build_filename("/dev", disk, NULL);
    gboolean integrity = gp_encrypted_with_integrity("/sys", mapping);
    struct statfs fs = {0};
    gboolean mounted = is_mounted(mapping, store) && statfs(store, &fs) == 0;
    json_t *status = json_pack("{s:b, s:s, s:s, s:I, s:s, s:b, s:s?}", "open", TRUE, "mapping", MAPPING, "device",
        device, "bytes", (json_int_t) (sectors ? g_ascii_strtoull(sectors, NULL, 10) * 512 : 0), "uuid",
        uuid ? uuid : "", "integrity", integrity, "mountpoint", mounted ? store : NULL);
    if (mounted)
        json_object_set_new(status, "free", json_integer((json_int_t) fs.f_bavail * (json_int_t) fs.f_bsize));
    return status;
}

/* ---- one at a time */

/* The lock that whoever opens or closes holds; it ends with the descriptor. */
static int take_lock(const char *runtime_dir, GError **error)
{
    g_autofree char *path = g_build_filename(runtime_dir, "volume.lock", NULL);
    if (!gp_mkdir_p(runtime_dir, 0700, error))
        return -1;
    GP_AUTOFD int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            break;
    if (fd < 0)
        gp_set_errno(error, errno, "%s", path);
    return gp_steal_fd(&fd);
}

/* ---- the helper */

static gboolean send(int fd, const GpVolumeRequest *request, GError **error)
{
    g_autoptr(GBytes) bytes = gp_volume_request_write(request);
    return gp_write_all(fd, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), error);
}

/* The answer as JSON, or the error that it holds. */
static json_t *understand(GBytes *bytes, GError **error)
{
    g_autoptr(json_t) answer = gp_json_parse(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes),
        GP_LIMIT_FETCH_REPLY, GP_VOLUME_HELPER "'s answer", error);
    json_t *failure = json_object_get(answer, "error");
    if (!answer || !failure)
        return g_steal_pointer(&answer);
    GpErrorCode code = GP_ERROR_INTERNAL;
    const char *message = json_string_value(json_object_get(failure, "message"));
    (void) gp_error_code_from_name(json_string_value(json_object_get(failure, "code")), &code);
    g_set_error(error, GP_ERROR, code, "%s", message ? message : "volume: no reason was given");
    return NULL;
}

static json_t *ask_helper(const GpVolumeRequest *request, GError **error)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return NULL;
    }
    GP_AUTOFD int in_read = in[0];
    GP_AUTOFD int in_write = in[1];
    if (pipe2(out, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return NULL;
    }
    GP_AUTOFD int out_read = out[0];
    GP_AUTOFD int out_write = out[1];
    const int fds[] = {in_read, out_write};
    g_autoptr(GpWorker) helper = gp_worker_spawn(GP_VOLUME_HELPER, NULL, fds, G_N_ELEMENTS(fds), error);
    gp_close_fd(&in_read);
    gp_close_fd(&out_write);
    if (!helper || !send(in_write, request, error))
        return NULL;
    gp_close_fd(&in_write);
    g_autoptr(GBytes) bytes = gp_read_all(out_read, GP_LIMIT_FETCH_REPLY, GP_VOLUME_HELPER "'s answer", error);
    if (!bytes || !gp_worker_wait(helper, error))
        return NULL;
    return understand(bytes, error);
}

/* ---- opening and closing */

/* The helper says that it worked; the kernel says what it made. */
static gboolean prove(const GpVolumeConfig *config, const char *store, GError **error)
{
    return gp_encrypted_check(store, config->integrity != GP_VOLUME_NO_INTEGRITY, error);
}

static gboolean is_open(const char *store)
{
    g_autofree char *mapping = find_mapping();
    return mapping && is_mounted(mapping, store);
}

/* While it was closed, the disk was the host's alone: gp_store_verify_layer()'s notes count no more. */
static void forget_verified(const char *runtime_dir)
{
    g_autofree char *verified = g_build_filename(runtime_dir, "verified", NULL);
    (void) gp_remove_tree(AT_FDCWD, verified, NULL);
}

/* Under the lock: *@timings is NULL if it was open before. */
static gboolean ensure_open(const GpVolumeRequest *request, const char *runtime_dir, json_t **timings, GError **error)
{
    if (is_open(request->mountpoint))
        return prove(&request->config, request->mountpoint, error);
    forget_verified(runtime_dir);
    g_autoptr(json_t) answer = ask_helper(request, error);
    if (!answer)
        return FALSE;
    if (prove(&request->config, request->mountpoint, error)) {
        *timings = json_incref(json_object_get(answer, "timings"));
        return TRUE;
    }
    GpVolumeRequest undo = {.close = TRUE, .mountpoint = request->mountpoint};
    g_autoptr(json_t) ignored = ask_helper(&undo, NULL);
    return FALSE;
}

gboolean gp_volume_open(const GpVolumeConfig *config, const char *store, const char *runtime_dir, GBytes *key,
    gboolean discard, json_t **report, GError **error)
{
    g_autoptr(json_t) timings = NULL;
    if (!gp_volume_config_check(config, error))
        return FALSE;
    GP_AUTOFD int lock = take_lock(runtime_dir, error);
    const GpVolumeRequest request = {
        .config = *config, .discard = discard, .mountpoint = (char *) (guintptr) store, .key = key};
    if (lock < 0 || !ensure_open(&request, runtime_dir, &timings, error))
        return FALSE;
    if (report) {
        *report = gp_volume_status(store);
        if (timings)
            json_object_set(*report, "timings", timings);
    }
    return TRUE;
}

/* An overlay keeps its lower directories' filesystem alive, but not its mount point: unmounting would work, unmapping
 * would not, and what is mapped but not mounted serves no pull. */
static gboolean refuse_used(const char *runtime_dir, GError **error)
{
    g_autoptr(GPtrArray) bundles = gp_mounts_using(runtime_dir, GP_MOUNTS_ALL, error);
    if (!bundles || bundles->len == 0)
        return bundles != NULL;
    g_autofree char *shown = gp_escape(bundles->pdata[0], -1, 300);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "volume: still in use: %u container%s\nFirst: guest-pull umount %s",
        bundles->len, bundles->len == 1 ? "" : "s", shown);
    return FALSE;
}

gboolean gp_volume_close(const char *store, const char *runtime_dir, GError **error)
{
    GP_AUTOFD int lock = take_lock(runtime_dir, error);
    g_autofree char *mapping = lock < 0 ? NULL : find_mapping();
    if (lock < 0 || !mapping)
        return lock >= 0;
    if (!refuse_used(runtime_dir, error))
        return FALSE;
    const GpVolumeRequest request = {.close = TRUE, .mountpoint = (char *) (guintptr) store};
    g_autoptr(json_t) answer = ask_helper(&request, error);
    return answer != NULL;
}
