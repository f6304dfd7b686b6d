#include "storage/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/mount_api.h"
#include "storage/overlay.h"
#include "storage/rootfs_upper.h"

#define LOCK_WAIT (5 * G_USEC_PER_SEC) /* mounting takes milliseconds */
#define LOCK_POLL 10000
#define MAX_MOUNTINFO (64 * GP_MIB)

gboolean gp_rootfs_parse_size(const char *text, GpRootfsLimits *limits, GError **error)
{
    static const char suffixes[] = "KMGT";
    char *end = NULL;
    guint64 value = g_ascii_strtoull(text, &end, 10);
    gboolean percent = strcmp(end, "%") == 0;
    guint64 unit = 1;
    const char *suffix = end[0] && !percent ? strchr(suffixes, g_ascii_toupper(end[0])) : NULL;
    if (suffix && end[1] == '\0')
        unit = GP_KIB << (10 * (suffix - suffixes));
    gboolean known = g_ascii_isdigit(text[0]) && (end[0] == '\0' || percent || (suffix && end[1] == '\0'));

    g_autofree char *shown = gp_escape(text, -1, 64);
    if (!known || value > G_MAXINT64 / unit) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "size \"%s\" of the writable layer\nwrite bytes, a number with K, M, G or T, or a percentage of the memory",
            shown);
        return FALSE;
    }
    /* tmpfs takes a size of 0 as "no limit": never let it through. */
    if (percent ? value < 1 || value > 100 : value * unit < GP_MIB) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "size \"%s\" of the writable layer is out of range\nat least 1M, or from 1%% to 100%%", shown);
        return FALSE;
    }
    limits->rw_bytes = percent ? 0 : value * unit;
    limits->rw_percent = percent ? (guint) value : 0;
    return TRUE;
}

/* Whoever can open the bundle can lock it and never let go: waiting has an end. */
static gboolean lock_bundle(int fd, const char *shown, GError **error)
{
    gint64 end = g_get_monotonic_time() + LOCK_WAIT;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK) {
            gp_set_errno(error, errno, "bundle %s: locking", shown);
            return FALSE;
        }
        if (g_get_monotonic_time() >= end) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
                "bundle %s: another process keeps it locked\nuse another bundle, or end what works in this one", shown);
            return FALSE;
        }
        g_usleep(LOCK_POLL);
    }
    return TRUE;
}

/* The bundle, locked against other callers of this file until the descriptor is closed. */
static int open_bundle(const char *bundle, GError **error)
{
    g_autofree char *shown = gp_escape(bundle, -1, 512);
    GP_AUTOFD int fd = openat(AT_FDCWD, bundle, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "bundle %s: not a directory (links are not followed)", shown);
        return -1;
    }
    if (fd < 0 && errno == ENOENT) {
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "bundle %s: no such directory", shown);
        return -1;
    }
    if (fd < 0) {
        gp_set_errno(error, errno, "bundle %s", shown);
        return -1;
    }
    return lock_bundle(fd, shown, error) ? gp_steal_fd(&fd) : -1;
}

/* O_PATH of the bundle's rootfs: of what is mounted there, if something is. */
static int open_place(int bundle_fd)
{
    return openat(bundle_fd, "rootfs", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static gboolean is_mount_point(int fd)
{
    struct statx stx;
    return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stx) < 0 || (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

static gboolean is_empty(int directory)
{
    char path[32];
    g_snprintf(path, sizeof path, "/proc/self/fd/%d", directory);
    g_autoptr(GDir) stream = g_dir_open(path, 0, NULL);
    return stream && !g_dir_read_name(stream);
}

/* The directory to mount on. What is there already is never covered: the agent looks only whether "rootfs" exists. */
static int make_place(int bundle_fd, GError **error)
{
    if (mkdirat(bundle_fd, "rootfs", 0755) < 0 && errno != EEXIST) {
        gp_set_errno(error, errno, "directory for the root filesystem");
        return -1;
    }
    GP_AUTOFD int fd = open_place(bundle_fd);
    const char *wrong = NULL;
    if (fd < 0)
        wrong = "is not a directory";
    else if (is_mount_point(fd))
        wrong = "has something mounted on it";
    else if (!is_empty(fd))
        wrong = "is not empty";
    if (wrong) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "rootfs of the bundle %s\nundo an earlier pull with \"guest-pull umount\", or use another bundle", wrong);
        return -1;
    }
    return gp_steal_fd(&fd);
}

/* The layers topmost first, each once. A layer that occurs again further down adds nothing: its topmost copy hides
 * every name of it in all layers below, with the same content; and overlayfs refuses one directory twice. */
static GArray *unique_lowers(const int *layers, gsize n_layers, GError **error)
{
    g_autoptr(GArray) lowers = g_array_new(FALSE, FALSE, sizeof(int));
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (gsize i = n_layers; i-- > 0;) {
        struct stat st;
        if (fstat(layers[i], &st) < 0) {
            gp_set_errno(error, errno, "directory of layer %" G_GSIZE_FORMAT, i);
            return NULL;
        }
        if (g_hash_table_add(seen, g_strdup_printf("%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino)))
            g_array_append_val(lowers, layers[i]);
    }
    if (lowers->len > GP_LIMIT_LAYERS) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_LIMIT, "%u layers, more than the %d of an overlay", lowers->len, GP_LIMIT_LAYERS);
        return NULL;
    }
    return g_steal_pointer(&lowers);
}

static void unmount(int mount_fd)
{
    char path[32];
    g_snprintf(path, sizeof path, "/proc/self/fd/%d", mount_fd);
    (void) umount2(path, MNT_DETACH);
}

/* Attaches the finished overlay. Below a shared mount (systemd makes / one) it would become shared too, and what a
 * container mounts in its root would appear in other namespaces. */
static gboolean attach(int overlay, int place, GError **error)
{
    if (move_mount(overlay, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        gp_set_errno(error, errno, "mounting the root filesystem");
        return FALSE;
    }
    struct mount_attr private = {.propagation = MS_PRIVATE};
    if (mount_setattr(overlay, "", AT_EMPTY_PATH, &private, sizeof private) < 0) {
        gp_set_errno(error, errno, "making the mount of the root filesystem private");
        unmount(overlay);
        return FALSE;
    }
    return TRUE;
}

static gboolean mount_at(
    const GArray *lowers, const GPtrArray *directories, int place, const GpRootfsLimits *limits, GError **error)
{
    g_auto(GpRootfsUpper) upper = GP_ROOTFS_UPPER_INIT;
    int top = lowers->len > 0 ? g_array_index(lowers, int, 0) : -1;
    if (!gp_rootfs_upper_make(&upper, limits, top, directories, error))
        return FALSE;
    const int *fds = lowers->len > 0 ? (const int *) (const void *) lowers->data : &upper.lower_fd;
    GP_AUTOFD int overlay = gp_overlay_make(fds, MAX(lowers->len, 1), &upper, place, limits->methods, error);
    return overlay >= 0 && attach(overlay, place, error);
}

gboolean gp_rootfs_mount(const int *layers, gsize n_layers, const GPtrArray *directories, const char *bundle,
    const GpRootfsLimits *limits, GError **error)
{
    g_autoptr(GArray) lowers = unique_lowers(layers, n_layers, error);
    if (!lowers)
        return FALSE;
    GP_AUTOFD int bundle_fd = open_bundle(bundle, error);
    if (bundle_fd < 0)
        return FALSE;
    GP_AUTOFD int place = make_place(bundle_fd, error);
    if (place < 0) {
        g_autofree char *shown = gp_escape(bundle, -1, 512);
        g_prefix_error(error, "bundle %s: ", shown);
        return FALSE;
    }
    if (!mount_at(lowers, directories, place, limits, error)) {
        (void) unlinkat(bundle_fd, "rootfs", AT_REMOVEDIR);
        return FALSE;
    }
    return TRUE;
}

/* Is a line of mountinfo (proc(5)) about mount @id, and one of @type (NULL: of any) that this program made? Type and
 * source stand behind a lone "-" that follows a variable number of fields. */
static gboolean is_our_line(const char *line, const char *id, const char *type)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 0);
    guint n = g_strv_length(words), dash = 6;
    while (dash < n && !g_str_equal(words[dash], "-"))
        dash++;
    return dash + 2 < n && g_str_equal(words[0], id) && (!type || g_str_equal(words[dash + 1], type)) &&
           g_str_equal(words[dash + 2], GP_MOUNT_SOURCE);
}

/* Is what is mounted at @fd of this program and of @type, and not another one's that it must leave alone? */
static gboolean is_ours(int fd, const char *type)
{
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 || !(stx.stx_mask & STATX_MNT_ID) || !is_mount_point(fd))
        return FALSE;
    g_autofree char *id = g_strdup_printf("%" G_GUINT64_FORMAT, (guint64) stx.stx_mnt_id);
    GP_AUTOFD int file = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    g_autoptr(GBytes) bytes = file < 0 ? NULL : gp_read_all(file, MAX_MOUNTINFO, "mountinfo", NULL);
    if (!bytes)
        return FALSE;
    g_autofree char *text = g_strndup(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    char *rest = text;
    gboolean ours = FALSE;
    for (char *line; !ours && (line = strsep(&rest, "\n"));)
        ours = is_our_line(line, id, type);
    return ours;
}

gboolean gp_rootfs_clear(const char *bundle, GError **error)
{
    GP_AUTOFD int bundle_fd = open_bundle(bundle, error);
    if (bundle_fd < 0)
        return FALSE;
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/rootfs", bundle_fd);
    for (;;) {
        GP_AUTOFD int mounted = open_place(bundle_fd);
        if (mounted < 0 || !is_ours(mounted, NULL))
            break;
        gp_close_fd(&mounted);
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0) {
            gp_set_errno(error, errno, "bundle: removing the root filesystem of a pull that was killed");
            return FALSE;
        }
    }
    (void) unlinkat(bundle_fd, "rootfs", AT_REMOVEDIR);
    return TRUE;
}

gboolean gp_rootfs_umount(const char *bundle, GError **error)
{
    GP_AUTOFD int bundle_fd = open_bundle(bundle, error);
    if (bundle_fd < 0)
        return FALSE;
    g_autofree char *shown = gp_escape(bundle, -1, 512);
    GP_AUTOFD int mounted = open_place(bundle_fd);
    if (mounted < 0 || !is_ours(mounted, "overlay")) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_NOT_FOUND, "bundle %s: no root filesystem of ours is mounted there", shown);
        return FALSE;
    }
    gp_close_fd(&mounted);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/rootfs", bundle_fd);
    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 || unlinkat(bundle_fd, "rootfs", AT_REMOVEDIR) < 0) {
        gp_set_errno(error, errno, "bundle %s: removing the root filesystem", shown);
        return FALSE;
    }
    return TRUE;
}
