#include "puller/blobs_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

static int find(int directory, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    return (int) syscall(SYS_openat2, directory, path, &how, sizeof how);
}

static gboolean check_file(int fd, guint64 size, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "stat");
        return FALSE;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "not a regular file");
        return FALSE;
    }
    if ((guint64) st.st_size == size)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "the file has %" G_GUINT64_FORMAT " bytes, its descriptor says %" G_GUINT64_FORMAT, (guint64) st.st_size, size);
    return FALSE;
}

/* What it is, is known before it is opened: opening a device can do things by itself. By its descriptor, not by its
 * name, so that nobody can put another file there meanwhile. */
static int open_blob(int directory, const char *path, guint64 size, GError **error)
{
    GP_AUTOFD int seen = find(directory, path);
    if (seen < 0 && errno == ENOENT)
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "no such blob");
    else if (seen < 0 && (errno == ELOOP || errno == EXDEV))
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "a link or a mount on the way, which is not followed");
    else if (seen < 0)
        gp_set_errno(error, errno, "opening the blob");
    if (seen < 0 || !check_file(seen, size, error))
        return -1;
    g_autofree char *itself = g_strdup_printf("/proc/self/fd/%d", seen);
    int fd = open(itself, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        gp_set_errno(error, errno, "opening the blob");
    return fd;
}

int gp_blobs_file_open(const char *directory, const GpDigest *digest, guint64 size, GError **error)
{
    GP_AUTOFD int root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (root < 0) {
        gp_set_errno(error, errno, "the directory");
        return -1;
    }
    g_autofree char *hex = gp_digest_to_hex(digest);
    g_autofree char *path = g_strdup_printf("blobs/%s/%s", gp_digest_algorithm_name(digest->algorithm), hex);
    return open_blob(root, path, size, error);
}
