#include "storage/fsck_entry.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/digest.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/object.h"

#define OPAQUE "trusted.overlay.opaque"

/* "@what: " and errno, which names integrity where the disk is to blame. */
static char *describe_errno(const char *what)
{
    g_autofree char *text = gp_errno_text(errno);
    return g_strconcat(what, ": ", text, NULL);
}

static char *check_attributes(const struct stat *st, const GpInode *inode)
{
    if ((st->st_mode & S_IFMT) != (inode->mode & S_IFMT))
        return g_strdup_printf("is of type %o, should be %o", st->st_mode & S_IFMT, inode->mode & S_IFMT);
    if (inode->whiteout)
        return st->st_rdev == 0 ? NULL : g_strdup("is a device, should be a whiteout");
    if (!S_ISLNK(st->st_mode) && (st->st_mode & 07777) != (inode->mode & 07777))
        return g_strdup_printf("has mode %o, should be %o", st->st_mode & 07777, inode->mode & 07777);
    if (st->st_uid != inode->uid || st->st_gid != inode->gid)
        return g_strdup_printf("belongs to %u:%u, should to %u:%u", st->st_uid, st->st_gid, inode->uid, inode->gid);
    if (st->st_mtim.tv_sec != inode->mtime.tv_sec || st->st_mtim.tv_nsec != inode->mtime.tv_nsec)
        return g_strdup_printf("was modified at %" G_GINT64_FORMAT ".%09ld, should be %" G_GINT64_FORMAT ".%09ld",
            (gint64) st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (gint64) inode->mtime.tv_sec, inode->mtime.tv_nsec);
    if (S_ISREG(st->st_mode) && (guint64) st->st_size != inode->size)
        return g_strdup_printf(
            "has %" G_GINT64_FORMAT " bytes, should have %" G_GUINT64_FORMAT, (gint64) st->st_size, inode->size);
    if ((S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) &&
        (major(st->st_rdev) != inode->rdev_major || minor(st->st_rdev) != inode->rdev_minor))
        return g_strdup_printf("is device %u:%u, should be %u:%u", major(st->st_rdev), minor(st->st_rdev),
            inode->rdev_major, inode->rdev_minor);
    return NULL;
}

static const GpXattr *find_xattr(const GArray *xattrs, const char *name)
{
    for (guint i = 0; xattrs && i < xattrs->len; i++)
        if (g_str_equal(g_array_index(xattrs, GpXattr, i).name, name))
            return &g_array_index(xattrs, GpXattr, i);
    return NULL;
}

/* Attributes through /proc/self/fd: they cannot be asked of a link or a device by descriptor alone. */
static char *check_xattrs(const char *path, const GpInode *inode)
{
    g_autofree char *names = g_malloc(GP_LIMIT_XATTR_TOTAL);
    g_autofree char *value = g_malloc(GP_LIMIT_XATTR_VALUE);
    ssize_t size = llistxattr(path, names, GP_LIMIT_XATTR_TOTAL);
    guint found = 0;
    gboolean opaque = FALSE;
    if (size < 0)
        return describe_errno("its extended attributes cannot be listed");
    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        ssize_t length = lgetxattr(path, name, value, GP_LIMIT_XATTR_VALUE);
        if (g_str_equal(name, OPAQUE)) {
            opaque = length == 1 && value[0] == 'y';
            continue;
        }
        const GpXattr *expected = find_xattr(inode->xattrs, name);
        if (!expected)
            return g_strdup_printf("has extended attribute %s, should not", name);
        if (length < 0 || (gsize) length != expected->size ||
            (length > 0 && memcmp(value, expected->value, expected->size) != 0))
            return g_strdup_printf("its extended attribute %s differs", name);
        found++;
    }
    if (found != (inode->xattrs ? inode->xattrs->len : 0))
        return g_strdup("lacks an extended attribute");
    if (opaque != inode->opaque)
        return g_strdup(opaque ? "is opaque, should not be" : "should be opaque");
    return NULL;
}

static char *compare_object(GpHasher *hasher, const GpInode *inode)
{
    GpDigest digest;
    gp_hasher_finish(hasher, &digest);
    return memcmp(digest.bytes, inode->object, sizeof inode->object) == 0 ? NULL : g_strdup("its content differs");
}

static char *check_content(int dirfd, const char *name, const GpInode *inode)
{
    GP_AUTOFD int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return describe_errno("cannot be opened");
    g_autoptr(GpHasher) hasher = gp_object_hasher_new(inode->uid, inode->gid, inode->mode, "", inode->xattrs);
    g_autofree guint8 *buffer = g_malloc(GP_LIMIT_FRAME_DATA);
    for (;;) {
        g_autoptr(GError) error = NULL;
        gssize got = gp_read_full(fd, buffer, GP_LIMIT_FRAME_DATA, &error);
        if (got < 0)
            return g_strdup_printf("cannot be read: %s", error->message);
        gp_hasher_update(hasher, buffer, (gsize) got);
        if ((gsize) got < GP_LIMIT_FRAME_DATA)
            return compare_object(hasher, inode);
    }
}

static char *check_target(int dirfd, const char *name, const GpInode *inode)
{
    char target[GP_LIMIT_LINK_TARGET + 2];
    ssize_t length = readlinkat(dirfd, name, target, sizeof target - 1);
    if (length < 0)
        return describe_errno("cannot be read");
    target[length] = '\0';
    return g_strcmp0(target, inode->symlink) == 0 ? NULL : g_strdup("points elsewhere");
}

char *gp_fsck_entry(int dirfd, const char *name, const struct stat *st, const GpInode *inode)
{
    char *difference = check_attributes(st, inode);
    if (!difference && !inode->whiteout) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", dirfd, name);
        difference = check_xattrs(path, inode);
    }
    if (!difference && S_ISREG(st->st_mode))
        difference = check_content(dirfd, name, inode);
    if (!difference && S_ISLNK(st->st_mode))
        difference = check_target(dirfd, name, inode);
    return difference;
}
