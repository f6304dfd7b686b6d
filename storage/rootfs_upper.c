#include "storage/rootfs_upper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/entry.h"
#include "storage/mount_api.h"

void gp_rootfs_upper_clear(GpRootfsUpper *upper)
{
    gp_close_fd(&upper->upper_fd);
    gp_close_fd(&upper->work_fd);
    gp_close_fd(&upper->lower_fd);
    gp_close_fd(&upper->mount_fd);
}

guint64 gp_rootfs_size(const GpRootfsLimits *limits)
{
    if (limits->rw_bytes > 0)
        return limits->rw_bytes;
    guint64 memory = (guint64) sysconf(_SC_PHYS_PAGES) * (guint64) sysconf(_SC_PAGESIZE);
    return memory / 100 * (limits->rw_percent > 0 ? limits->rw_percent : GP_DEFAULT_RW_PERCENT);
}

static int make_tmpfs(const GpRootfsLimits *limits, GError **error)
{
    GP_AUTOFD int context = gp_mount_open("tmpfs");
    if (context < 0) {
        gp_set_errno(error, errno, "tmpfs for the writable layer%s", errno == EPERM ? "\nmounting needs root" : "");
        return -1;
    }
    guint64 bytes = gp_rootfs_size(limits);
    guint64 inodes = limits->rw_inodes > 0 ? limits->rw_inodes : bytes / (4 * GP_KIB);
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, bytes);
    g_autofree char *nr_inodes = g_strdup_printf("%" G_GUINT64_FORMAT, inodes);

    /* The swap space of a guest may be the host's file: what a container writes stays in protected memory. Linux 6.4
     * has the option; before, no guest that swaps is a confidential one. */
    (void) gp_mount_set(context, "noswap", NULL);

    int fd = -1;
    if (gp_mount_set(context, "size", size) && gp_mount_set(context, "nr_inodes", nr_inodes) &&
        gp_mount_set(context, "mode", "0700"))
        fd = gp_mount_create(context);
    if (fd < 0) {
        g_autofree char *log = gp_mount_log(context);
        gp_set_errno(error, errno, "tmpfs of %s bytes and %s inodes for the writable layer (%s)", size, nr_inodes, log);
    }
    return fd;
}

static int make_directory(int parent, const char *name, mode_t mode, GError **error)
{
    int fd = -1;
    if (mkdirat(parent, name, mode) == 0)
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        gp_set_errno(error, errno, "writable layer: directory \"%s\"", name);
    return fd;
}

/* overlayfs's own attributes in an upper directory would redirect or hide what is below. */
static gboolean belongs_to_overlay(const char *name)
{
    return g_str_has_prefix(name, "trusted.overlay.");
}

static gboolean set_xattr(int fd, const char *path, const char *name, const void *value, gsize size, GError **error)
{
    if (fsetxattr(fd, name, value, size, 0) == 0)
        return TRUE;
    int err = errno;
    g_autofree char *shown_path = gp_escape(path, -1, 512);
    g_autofree char *shown = gp_escape(name, -1, GP_LIMIT_XATTR_NAME);
    if (err == EOPNOTSUPP)
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "extended attribute %s of directory \"/%s\": this kernel's tmpfs cannot hold it\nLinux 6.6 and newer can",
            shown, shown_path);
    else
        gp_set_errno(error, err, "extended attribute %s of directory \"/%s\"", shown, shown_path);
    return FALSE;
}

static gboolean set_owner_and_mode(int fd, const char *path, guint32 uid, guint32 gid, mode_t mode, GError **error)
{
    if (fchown(fd, uid, gid) == 0 && fchmod(fd, mode & 07777) == 0)
        return TRUE;
    int err = errno;
    g_autofree char *shown = gp_escape(path, -1, 512);
    gp_set_errno(error, err, "owner and mode of directory \"/%s\"", shown);
    return FALSE;
}

static gboolean set_mtime(int fd, const char *path, struct timespec mtime, GError **error)
{
    const struct timespec times[2] = {mtime, mtime};
    if (futimens(fd, times) == 0)
        return TRUE;
    int err = errno;
    g_autofree char *shown = gp_escape(path, -1, 512);
    gp_set_errno(error, err, "time of directory \"/%s\"", shown);
    return FALSE;
}

static gboolean copy_xattrs(int from, int to, GError **error)
{
    /* The layer's root is an O_PATH descriptor: only paths reach its attributes, and only for reading. */
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", from);
    g_autofree char *names = g_malloc(GP_LIMIT_XATTR_TOTAL);
    g_autofree guint8 *value = g_malloc(GP_LIMIT_XATTR_VALUE);
    ssize_t length = listxattr(path, names, GP_LIMIT_XATTR_TOTAL);
    if (length < 0 && errno != EOPNOTSUPP) {
        gp_set_errno(error, errno, "extended attributes of the topmost layer's root");
        return FALSE;
    }
    for (const char *name = names; name < names + MAX(length, 0); name += strlen(name) + 1) {
        if (belongs_to_overlay(name))
            continue;
        ssize_t size = getxattr(path, name, value, GP_LIMIT_XATTR_VALUE);
        if (size < 0) {
            gp_set_errno(error, errno, "extended attributes of the topmost layer's root");
            return FALSE;
        }
        if (!set_xattr(to, "", name, value, (gsize) size, error))
            return FALSE;
    }
    return TRUE;
}

/* The root directory looks as in the topmost layer. */
static gboolean copy_root(int upper, int layer, GError **error)
{
    struct stat st = {.st_mode = 0755};
    if (layer >= 0 && fstat(layer, &st) < 0) {
        gp_set_errno(error, errno, "topmost layer's root");
        return FALSE;
    }
    return set_owner_and_mode(upper, "", st.st_uid, st.st_gid, st.st_mode, error) &&
           (layer < 0 || copy_xattrs(layer, upper, error)) && set_mtime(upper, "", st.st_mtim, error);
}

static int open_below(int upper, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    return (int) syscall(SYS_openat2, upper, path[0] ? path : ".", &how, sizeof how);
}

static gboolean is_plain_path(const char *path)
{
    if (strlen(path) > GP_LIMIT_PATH)
        return FALSE;
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    for (gsize i = 0; parts[i]; i++)
        if (parts[i][0] == '\0' || strcmp(parts[i], ".") == 0 || strcmp(parts[i], "..") == 0)
            return FALSE;
    return TRUE;
}

/* The caller's list is made from layers' names: a wrong order or an odd path is refused here, not repaired. */
static gboolean check_directory(const GpRootfsDirectory *directory, GHashTable *seen, GError **error)
{
    const char *path = directory->path;
    g_autofree char *shown = gp_escape(path, -1, 512);
    const char *wrong = NULL;
    if (path[0] != '\0' && !is_plain_path(path))
        wrong = "is not a plain relative path";
    else if ((directory->mode & S_IFMT) != 0 && !S_ISDIR(directory->mode))
        wrong = "has the mode of something else";
    else if (!g_hash_table_add(seen, g_strdup(path)))
        wrong = "is listed twice";
    const char *slash = strrchr(path, '/');
    g_autofree char *parent = slash ? g_strndup(path, (gsize) (slash - path)) : NULL;
    if (!wrong && parent && !g_hash_table_contains(seen, parent))
        wrong = "comes before its parent directory";
    for (guint i = 0; !wrong && directory->xattrs && i < directory->xattrs->len; i++)
        if (belongs_to_overlay(g_array_index(directory->xattrs, GpXattr, i).name))
            wrong = "has an attribute that is overlayfs's own";
    if (wrong)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "directory \"/%s\" of the root filesystem %s", shown, wrong);
    return wrong == NULL;
}

static gboolean make_one(int upper, const GpRootfsDirectory *directory, GError **error)
{
    if (directory->path[0] && mkdirat(upper, directory->path, 0700) < 0) {
        int err = errno;
        g_autofree char *shown = gp_escape(directory->path, -1, 512);
        gp_set_errno(error, err, "directory \"/%s\" in the writable layer", shown);
        return FALSE;
    }
    GP_AUTOFD int fd = open_below(upper, directory->path);
    if (fd < 0) {
        gp_set_errno(error, errno, "a directory of the writable layer");
        return FALSE;
    }
    for (guint i = 0; directory->xattrs && i < directory->xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(directory->xattrs, GpXattr, i);
        if (!set_xattr(fd, directory->path, xattr->name, xattr->value, xattr->size, error))
            return FALSE;
    }
    return set_owner_and_mode(fd, directory->path, directory->uid, directory->gid, directory->mode, error);
}

static gboolean make_directories(int upper, const GPtrArray *directories, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < directories->len; i++) {
        const GpRootfsDirectory *directory = g_ptr_array_index(directories, i);
        if (!check_directory(directory, seen, error) || !make_one(upper, directory, error))
            return FALSE;
    }
    /* Times last and children first: making a child changes its parent's. */
    for (guint i = directories->len; i-- > 0;) {
        const GpRootfsDirectory *directory = g_ptr_array_index(directories, i);
        GP_AUTOFD int fd = open_below(upper, directory->path);
        if (fd < 0) {
            gp_set_errno(error, errno, "a directory of the writable layer");
            return FALSE;
        }
        if (!set_mtime(fd, directory->path, directory->mtime, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean names_root(const GPtrArray *directories)
{
    for (guint i = 0; i < directories->len; i++)
        if (((const GpRootfsDirectory *) g_ptr_array_index(directories, i))->path[0] == '\0')
            return TRUE;
    return FALSE;
}

gboolean gp_rootfs_upper_make(
    GpRootfsUpper *upper, const GpRootfsLimits *limits, int top_layer, const GPtrArray *directories, GError **error)
{
    g_auto(GpRootfsUpper) made = GP_ROOTFS_UPPER_INIT;
    made.mount_fd = make_tmpfs(limits, error);
    if (made.mount_fd < 0)
        return FALSE;
    made.upper_fd = make_directory(made.mount_fd, "upper", 0700, error);
    if (made.upper_fd < 0)
        return FALSE;
    made.work_fd = make_directory(made.mount_fd, "work", 0700, error);
    if (made.work_fd < 0)
        return FALSE;
    made.lower_fd = make_directory(made.mount_fd, "lower", 0700, error);
    if (made.lower_fd < 0)
        return FALSE;
    if (directories && !make_directories(made.upper_fd, directories, error))
        return FALSE;
    if ((!directories || !names_root(directories)) && !copy_root(made.upper_fd, top_layer, error))
        return FALSE;
    *upper = made;
    made = (GpRootfsUpper) GP_ROOTFS_UPPER_INIT; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return TRUE;
}
