#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

void gp_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int gp_steal_fd(int *fd)
{
    int value = *fd;
    *fd = -1;
    return value;
}

gboolean gp_write_all(int fd, const void *data, gsize length, GError **error)
{
    const guint8 *bytes = data;
    while (length > 0) {
        ssize_t sent = write(fd, bytes, length);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            (void) poll(&wait, 1, -1);
            continue;
        }
        if (sent < 0) {
            gp_set_errno(error, errno, "write");
            return FALSE;
        }
        bytes += sent;
        length -= (gsize) sent;
    }
    return TRUE;
}

gssize gp_read_full(int fd, void *data, gsize length, GError **error)
{
    guint8 *bytes = data;
    gsize done = 0;
    while (done < length) {
        ssize_t got = read(fd, bytes + done, length - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            gp_set_errno(error, errno, "read");
            return -1;
        }
        if (got == 0)
            break;
        done += (gsize) got;
    }
    return (gssize) done;
}

GBytes *gp_read_all(int fd, gsize max, const char *what, GError **error)
{
    g_autoptr(GByteArray) all = g_byte_array_new();
    guint8 chunk[16384];
    for (;;) {
        gssize got = gp_read_full(fd, chunk, sizeof chunk, error);
        if (got < 0) {
            g_prefix_error(error, "%s: ", what);
            return NULL;
        }
        if (all->len + (gsize) got > max) {
            g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%s: more than %" G_GSIZE_FORMAT " bytes", what, max);
            return NULL;
        }
        g_byte_array_append(all, chunk, (guint) got);
        if ((gsize) got < sizeof chunk)
            return g_byte_array_free_to_bytes(g_steal_pointer(&all));
    }
}

int gp_open_regular(int dirfd, const char *path, GError **error)
{
    GP_AUTOFD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    g_autofree char *shown = gp_escape(path, -1, 512);
    struct stat st;
    if (fd < 0) {
        int err = errno;
        if (err == ENOENT || err == ENOTDIR)
            g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "%s: no such file", shown);
        else if (err == ELOOP)
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: is a symbolic link, which is not followed here", shown);
        else
            gp_set_errno(error, err, "%s", shown);
        return -1;
    }
    if (fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "%s", shown);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: not a regular file", shown);
        return -1;
    }
    return gp_steal_fd(&fd);
}

GBytes *gp_read_file(int dirfd, const char *path, gsize max, const char *what, GError **error)
{
    GP_AUTOFD int fd = gp_open_regular(dirfd, path, error);
    if (fd < 0) {
        g_prefix_error(error, "%s: ", what);
        return NULL;
    }
    return gp_read_all(fd, max, what, error);
}

gboolean gp_mkdir_p(const char *path, mode_t mode, GError **error)
{
    if (g_mkdir_with_parents(path, (int) mode) == 0)
        return TRUE;
    gp_set_errno(error, errno, "creating %s", path);
    return FALSE;
}

static gboolean empty_directory(int fd, dev_t device, GError **error);

/* Removes one entry of @dirfd; @device is the filesystem that must not be left. */
static gboolean remove_entry(int dirfd, const char *name, dev_t device, GError **error)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return TRUE;
    if (errno != EISDIR && errno != EPERM) {
        gp_set_errno(error, errno, "removing %s", name);
        return FALSE;
    }
    GP_AUTOFD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, 0) == 0)
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        gp_set_errno(error, errno, "removing %s", name);
        return FALSE;
    }
    if (!empty_directory(fd, device, error))
        return FALSE;
    if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
        gp_set_errno(error, errno, "removing %s", name);
        return FALSE;
    }
    return TRUE;
}

/* Depth is bounded by GP_LIMIT_PATH_DEPTH of whatever made the tree, so recursion is too. */
static gboolean empty_directory(int fd, dev_t device, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_dev != device) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "refusing to remove across a mount point");
        return FALSE;
    }
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        gp_set_errno(error, errno, "reading a directory");
        gp_close_fd(&copy);
        return FALSE;
    }
    gboolean ok = TRUE;
    const struct dirent *entry;
    while (ok && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            ok = remove_entry(fd, entry->d_name, device, error);
    closedir(dir);
    return ok;
}

gboolean gp_remove_tree(int dirfd, const char *name, GError **error)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT)
            return TRUE;
        gp_set_errno(error, errno, "removing %s", name);
        return FALSE;
    }
    return remove_entry(dirfd, name, st.st_dev, error);
}
