#include "service/bundle_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"

#define HALF_WRITTEN ".config.json." /* storage/bundle.c */
#define MAX_STACKED 16               /* mounts on one rootfs that undo takes away; a pull makes one */

struct _GpBundleDir {
    char *path;
    int fd;
    dev_t device;
    ino_t inode;
    gboolean had_config;
};

static int open_beneath(int dirfd, const char *path, guint64 resolve)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = resolve};
    return (int) syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

/* mountinfo's escapes and log lines need not be thought about when the path has none of the characters that need them.
 */
static gboolean check_form(const char *path, GError **error)
{
    const char *why = NULL;
    gsize length = strlen(path);
    if (path[0] != '/')
        why = "is not absolute";
    else if (length > GP_LIMIT_PATH)
        why = "is too long";
    else if (path[length - 1] == '/' || strstr(path, "//"))
        why = "has an empty component";
    for (const char *at = path; !why && *at; at++)
        if (!g_ascii_isgraph(*at) || *at == '\\')
            why = "has characters that no bundle path has";
    g_auto(GStrv) components = g_strsplit(path, "/", -1);
    for (char **component = components; !why && *component; component++)
        if (g_str_equal(*component, ".") || g_str_equal(*component, ".."))
            why = "has a \".\" or \"..\" component";
    if (!why)
        return TRUE;
    g_autofree char *shown = gp_escape(path, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "bundle path \"%s\" %s", shown, why);
    return FALSE;
}

/* What follows "@root/" in @path; NULL if it is not below. */
static const char *below(const char *path, const char *root)
{
    gsize length = strlen(root);
    if (!g_str_has_prefix(path, root) || path[length] != '/' || !path[length + 1])
        return NULL;
    return path + length + 1;
}

static void set_open_error(const char *path, int err, GError **error)
{
    switch (err) {
    case ENOENT:
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "bundle directory %s does not exist", path);
        break;
    case ELOOP:
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "bundle path %s goes through a symbolic link", path);
        break;
    case EXDEV:
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "bundle path %s goes through a foreign mount", path);
        break;
    case ENOTDIR:
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "bundle path %s is not a directory", path);
        break;
    default:
        gp_set_errno(error, err, "bundle directory %s", path);
        break;
    }
}

static int open_below_root(const char *path, const char *const *roots, GError **error)
{
    for (const char *const *root = roots; *root; root++) {
        const char *rest = below(path, *root);
        if (!rest)
            continue;
        GP_AUTOFD int root_fd = open_beneath(AT_FDCWD, *root, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
        int fd = root_fd < 0 ? -1
                             : open_beneath(root_fd, rest,
                                   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
        if (fd < 0)
            set_open_error(path, errno, error);
        return fd;
    }
    g_autofree char *allowed = g_strjoinv(", ", (char **) (gsize) roots);
    g_set_error(
        error, GP_ERROR, GP_ERROR_INVALID, "bundle path %s is not below an allowed directory (%s)", path, allowed);
    return -1;
}

static GpBundleDir *open_dir(const char *path, const char *const *roots, GError **error)
{
    if (!check_form(path, error))
        return NULL;
    GP_AUTOFD int fd = open_below_root(path, roots, error);
    struct stat st;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "%s", path);
        return NULL;
    }
    GpBundleDir *dir = g_new0(GpBundleDir, 1);
    dir->path = g_strdup(path);
    dir->device = st.st_dev;
    dir->inode = st.st_ino;
    dir->had_config = fstatat(fd, "config.json", &st, AT_SYMLINK_NOFOLLOW) == 0;
    dir->fd = gp_steal_fd(&fd);
    return dir;
}

GpBundleDir *gp_bundle_dir_open(const char *path, const char *const *roots, GError **error)
{
    g_autoptr(GpBundleDir) dir = open_dir(path, roots, error);
    struct stat st;
    if (!dir)
        return NULL;
    if (fstatat(dir->fd, "rootfs", &st, AT_SYMLINK_NOFOLLOW) == 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s/rootfs is there already: the bundle is in use", path);
        return NULL;
    }
    if (errno != ENOENT) {
        gp_set_errno(error, errno, "%s/rootfs", path);
        return NULL;
    }
    return g_steal_pointer(&dir);
}

GpBundleDir *gp_bundle_dir_reopen(const char *path, const char *const *roots, gboolean had_config, GError **error)
{
    GpBundleDir *dir = open_dir(path, roots, error);
    if (dir)
        dir->had_config = had_config;
    return dir;
}

void gp_bundle_dir_free(GpBundleDir *dir)
{
    if (!dir)
        return;
    gp_close_fd(&dir->fd);
    g_free(dir->path);
    g_free(dir);
}

const char *gp_bundle_dir_path(const GpBundleDir *dir)
{
    return dir->path;
}

gboolean gp_bundle_dir_had_config(const GpBundleDir *dir)
{
    return dir->had_config;
}

gboolean gp_bundle_dir_same(const GpBundleDir *a, const GpBundleDir *b)
{
    return a->device == b->device && a->inode == b->inode;
}

/* The fifth field of a line of mountinfo (proc(5)); cuts @line. */
static const char *mount_point(char *line)
{
    char *rest = line;
    char *field = NULL;
    for (int i = 0; i < 5; i++)
        field = strsep(&rest, " ");
    return field ? field : "";
}

gboolean gp_bundle_dir_check_mounted(const GpBundleDir *dir, GError **error)
{
    g_autofree char *rootfs = g_strconcat(dir->path, "/rootfs", NULL);
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (!file) {
        gp_set_errno(error, errno, "/proc/self/mountinfo");
        return FALSE;
    }
    char *line = NULL;
    size_t size = 0;
    guint found = 0;
    while (getline(&line, &size, file) > 0)
        found += g_str_equal(mount_point(line), rootfs);
    free(line);
    (void) fclose(file);
    if (found == 1)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "%u mounts on %s where there must be exactly one", found, rootfs);
    return FALSE;
}

/* A puller that is killed while it writes config.json leaves it under the name that it had until then. */
static gboolean remove_half_written(const GpBundleDir *dir, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", dir->fd);
    DIR *entries = opendir(path);
    if (!entries) {
        gp_set_errno(error, errno, "%s", dir->path);
        return FALSE;
    }
    gboolean ok = TRUE;
    const struct dirent *entry;
    while (ok && (entry = readdir(entries)))
        ok = !g_str_has_prefix(entry->d_name, HALF_WRITTEN) || unlinkat(dir->fd, entry->d_name, 0) == 0;
    if (!ok)
        gp_set_errno(error, errno, "removing %s/%s", dir->path, entry->d_name);
    (void) closedir(entries);
    return ok;
}

gboolean gp_bundle_dir_undo(const GpBundleDir *dir, GError **error)
{
    g_autofree char *rootfs = g_strdup_printf("/proc/self/fd/%d/rootfs", dir->fd);
    int left = MAX_STACKED;
    while (left > 0 && umount2(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        left--;
    /* EINVAL: no mount point, which is how the loop ends; ENOENT: no rootfs. */
    if (left == 0 || (errno != EINVAL && errno != ENOENT)) {
        gp_set_errno(error, left == 0 ? EBUSY : errno, "unmounting %s/rootfs", dir->path);
        return FALSE;
    }
    if (!gp_remove_tree(dir->fd, "rootfs", error)) {
        g_prefix_error(error, "%s: ", dir->path);
        return FALSE;
    }
    if (!dir->had_config && unlinkat(dir->fd, "config.json", 0) < 0 && errno != ENOENT) {
        gp_set_errno(error, errno, "removing %s/config.json", dir->path);
        return FALSE;
    }
    return remove_half_written(dir, error);
}
