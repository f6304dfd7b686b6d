#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "puller/source_kind.h"

int gp_source_open_below(int directory, const char *const *components, GError **error)
{
    GP_AUTOFD int at = fcntl(directory, F_DUPFD_CLOEXEC, 0);
    if (at < 0) {
        gp_set_errno(error, errno, "directory");
        return -1;
    }
    for (; components[1]; components++) {
        int next = openat(at, components[0], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0) {
            gboolean absent = errno == ENOENT;
            g_set_error(error, GP_ERROR, absent ? GP_ERROR_NOT_FOUND : GP_ERROR_INVALID, "%s: %s", components[0],
                absent ? "no such directory" : "not a directory (links are not followed)");
            return -1;
        }
        gp_close_fd(&at);
        at = next;
    }
    return gp_open_regular(at, components[0], error);
}

GBytes *gp_source_read_below(int directory, const char *const *components, gsize max, const char *what, GError **error)
{
    GP_AUTOFD int fd = gp_source_open_below(directory, components, error);
    return fd < 0 ? NULL : gp_read_all(fd, max, what, error);
}

int gp_source_open_sized(int directory, const char *const *components, guint64 size, GError **error)
{
    GP_AUTOFD int fd = gp_source_open_below(directory, components, error);
    struct stat st;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "stat");
        return -1;
    }
    if ((guint64) st.st_size != size) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "the file has %" G_GUINT64_FORMAT " bytes, its descriptor says %" G_GUINT64_FORMAT, (guint64) st.st_size,
            size);
        return -1;
    }
    return gp_steal_fd(&fd);
}
