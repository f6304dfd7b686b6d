#include "storage/layer_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

#define ACL_PREFIX "system.posix_acl_"

/* The xattr calls have no *at() form (before Linux 6.13): the magic link of the directory gives them one. */
static char *proc_path(int directory_fd, const char *name)
{
    return g_strdup_printf("/proc/self/fd/%d/%s", directory_fd, name);
}

/* ext4 keeps all attributes of an inode in one block, and says ENOSPC when they do not fit, on an empty disk too. */
static gboolean has_room(const struct statfs *fs)
{
    return fs->f_bavail > 64 && fs->f_ffree > 0;
}

static gboolean attribute_error(int directory_fd, const char *name, const char *attribute, int err, GError **error)
{
    g_autofree char *shown = gp_escape(name, -1, 256);
    g_autofree char *shown_attribute = gp_escape(attribute, -1, 256);
    struct statfs fs = {0};
    (void) fstatfs(directory_fd, &fs);
    if (err == ENOSPC && has_room(&fs)) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "\"%s\": the store's filesystem (type 0x%lx) has no room in an inode for extended attribute %s\nMake the "
            "store's filesystem with mkfs.ext4 -O ea_inode.",
            shown, (unsigned long) fs.f_type, shown_attribute);
    } else if (err == EOPNOTSUPP) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "\"%s\": the store's filesystem (type 0x%lx) cannot hold extended attribute %s\nUse ext4 for the store.",
            shown, (unsigned long) fs.f_type, shown_attribute);
    } else if (err == EPERM || err == EINVAL || err == ERANGE || err == E2BIG) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "\"%s\": the kernel refuses extended attribute %s: %s", shown,
            shown_attribute, g_strerror(err));
    } else {
        gp_set_errno(error, err, "\"%s\": extended attribute %s", shown, shown_attribute);
    }
    return FALSE;
}

static gboolean set_xattr(
    int directory_fd, const char *name, const char *attribute, const void *value, gsize size, GError **error)
{
    g_autofree char *path = proc_path(directory_fd, name);
    if (lsetxattr(path, attribute, value, size, 0) == 0)
        return TRUE;
    return attribute_error(directory_fd, name, attribute, errno, error);
}

static gboolean is_acl(const GpXattr *xattr)
{
    return g_str_has_prefix(xattr->name, ACL_PREFIX);
}

gboolean gp_layer_has_acl(const GpInode *inode)
{
    for (guint i = 0; inode->xattrs && i < inode->xattrs->len; i++)
        if (is_acl(&g_array_index(inode->xattrs, GpXattr, i)))
            return TRUE;
    return FALSE;
}

static gboolean set_xattrs(int directory_fd, const char *name, const GpInode *inode, gboolean only_acls, GError **error)
{
    for (guint i = 0; inode->xattrs && i < inode->xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(inode->xattrs, GpXattr, i);
        if (only_acls && !is_acl(xattr))
            continue;
        if (!set_xattr(directory_fd, name, xattr->name, xattr->value, xattr->size, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean failed(const char *what, const char *name, GError **error)
{
    int err = errno;
    g_autofree char *shown = gp_escape(name, -1, 256);
    gp_set_errno(error, err, "layer directory: %s of \"%s\"", what, shown);
    return FALSE;
}

static gboolean set_owner_and_mode(
    const GpLayerDisk *disk, int directory_fd, const char *name, const GpInode *inode, GError **error)
{
    gboolean ours = disk->files_are_ours && inode->uid == 0 && inode->gid == 0;
    if (!ours && fchownat(directory_fd, name, inode->uid, inode->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return failed("owner", name, error);
    /* Behind the owner: chown(2) takes setuid and setgid away. The name is no link: we made it. */
    if (!S_ISLNK(inode->mode) && fchmodat(directory_fd, name, inode->mode & 07777, 0) < 0)
        return failed("mode", name, error);
    return TRUE;
}

/* What the kernel made of the ACL xattrs: an access ACL without named users is nothing but a mode, any other one
 * replaces the mode's group bits. */
static gboolean read_back_acls(int directory_fd, const char *name, GpInode *inode, GError **error)
{
    g_autofree char *path = proc_path(directory_fd, name);
    struct stat st;
    if (fstatat(directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return failed("attributes", name, error);
    inode->mode = st.st_mode;
    for (guint i = 0; i < inode->xattrs->len;) {
        GpXattr *xattr = &g_array_index(inode->xattrs, GpXattr, i);
        if (!is_acl(xattr)) {
            i++;
            continue;
        }
        g_autofree guint8 *value = g_malloc(xattr->size + 1);
        ssize_t size = lgetxattr(path, xattr->name, value, xattr->size);
        if (size < 0 && errno != ENODATA)
            return attribute_error(directory_fd, name, xattr->name, errno, error);
        if (size < 0) {
            g_array_remove_index(inode->xattrs, i);
            continue;
        }
        g_free(xattr->value);
        xattr->value = g_steal_pointer(&value);
        xattr->size = (gsize) size;
        i++;
    }
    return TRUE;
}

gboolean gp_layer_disk_settle(
    const GpLayerDisk *disk, int directory_fd, const char *name, GpInode *inode, GError **error)
{
    return set_owner_and_mode(disk, directory_fd, name, inode, error) &&
           set_xattrs(directory_fd, name, inode, TRUE, error) && read_back_acls(directory_fd, name, inode, error);
}

/* Of @name in @directory_fd, or of what is open as @open_fd, unless that is -1. Beyond what every filesystem can hold
 * (32 bits since 1970) the kernel clamps: then the disk says what time it is. */
static gboolean set_mtime(int directory_fd, const char *name, int open_fd, GpInode *inode, GError **error)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, inode->mtime};
    int status = open_fd >= 0 ? futimens(open_fd, times) : utimensat(directory_fd, name, times, AT_SYMLINK_NOFOLLOW);
    if (status < 0)
        return failed("time", name, error);
    if (inode->mtime.tv_sec >= 0 && inode->mtime.tv_sec <= G_MAXINT32)
        return TRUE;
    struct stat st;
    if (open_fd >= 0 ? fstat(open_fd, &st) < 0 : fstatat(directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return failed("attributes", name, error);
    inode->mtime = st.st_mtim;
    return TRUE;
}

gboolean gp_layer_disk_apply(
    const GpLayerDisk *disk, int directory_fd, const char *name, GpInode *inode, GError **error)
{
    if (!set_owner_and_mode(disk, directory_fd, name, inode, error) ||
        !set_xattrs(directory_fd, name, inode, FALSE, error))
        return FALSE;
    if (gp_layer_has_acl(inode) && !read_back_acls(directory_fd, name, inode, error))
        return FALSE;
    if (inode->opaque && !set_xattr(directory_fd, name, "trusted.overlay.opaque", "y", 1, error))
        return FALSE;
    return set_mtime(directory_fd, name, -1, inode, error);
}

gboolean gp_layer_disk_apply_open(const GpLayerDisk *disk, int fd, const char *name, GpInode *inode, GError **error)
{
    if (inode->xattrs)
        return gp_layer_disk_apply(disk, disk->directory_fd, name, inode, error);
    gboolean ours = disk->files_are_ours && inode->uid == 0 && inode->gid == 0;
    mode_t mode = inode->mode & 07777;
    if (!ours && fchown(fd, inode->uid, inode->gid) < 0)
        return failed("owner", name, error);
    /* Behind the owner: chown(2) takes setuid and setgid away. */
    if (gp_layer_disk_creation_mode(disk, inode) != mode && fchmod(fd, mode) < 0)
        return failed("mode", name, error);
    return set_mtime(-1, name, fd, inode, error);
}

mode_t gp_layer_disk_creation_mode(const GpLayerDisk *disk, const GpInode *inode)
{
    return inode->xattrs ? 0600 : inode->mode & 0777 & ~disk->umask;
}

/* The children of @node, which is open as @fd. Hard links are several nodes with one inode, which counts once. */
static gboolean finish_below(const GpLayerDisk *disk, const GpNode *node, int fd, GError **error)
{
    for (const GpNode *child = node->first; child; child = child->next) {
        gp_layer_tree_passed(disk->tree);
        if (!S_ISDIR(child->inode->mode)) {
            disk->tree->bytes += child->inode->counted ? 0 : child->inode->size;
            child->inode->counted = TRUE;
            continue;
        }
        if (child->first) {
            GP_AUTOFD int child_fd = openat(fd, child->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (child_fd < 0)
                return failed("opening", child->name, error);
            if (!finish_below(disk, child, child_fd, error))
                return FALSE;
        }
        if (!gp_layer_disk_apply(disk, fd, child->name, child->inode, error))
            return FALSE;
    }
    return TRUE;
}

gboolean gp_layer_disk_finish(GpLayerDisk *disk, GError **error)
{
    disk->tree->bytes = 0;
    gp_layer_tree_settle(disk->tree);
    return finish_below(disk, disk->tree->root, disk->root_fd, error) &&
           gp_layer_disk_apply(disk, disk->root_fd, ".", disk->tree->root->inode, error);
}
