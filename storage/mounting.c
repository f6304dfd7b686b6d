#include "storage/mounting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/io.h"
#include "storage/mounts.h"
#include "storage/rootfs.h"

#define HALF_WRITTEN ".config.json." /* storage/bundle.c */
#define BEGUN "guest-pull-mounting 1\n"

static char *file_of(const char *runtime_dir, const char *bundle)
{
    g_autofree char *path = g_canonicalize_filename(bundle, NULL);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, path, strlen(path), &digest);
    g_autofree char *hex = gp_digest_to_hex(&digest);
    return g_build_filename(runtime_dir, "mounting", hex, NULL);
}

/* A file that is locked only after it was made can be taken away in between: then another one is made. */
static int open_locked(const char *path, const char *bundle, GError **error)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        struct stat st;
        GP_AUTOFD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            break;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            g_autofree char *shown = gp_escape(bundle, -1, 512);
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
                "bundle %s: another pull is at work there\nWait for it, or use another bundle.", shown);
            return -1;
        }
        if (fstat(fd, &st) == 0 && st.st_nlink > 0)
            return gp_steal_fd(&fd);
    }
    gp_set_errno(error, errno, "%s", path);
    return -1;
}

static void remove_half_written(const char *bundle)
{
    DIR *dir = opendir(bundle);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (g_str_has_prefix(entry->d_name, HALF_WRITTEN))
            (void) unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

static gboolean clear_up(const char *runtime_dir, const char *bundle, GError **error)
{
    if (!gp_rootfs_clear(bundle, error) || !gp_mounts_forget(runtime_dir, bundle, error))
        return FALSE;
    remove_half_written(bundle);
    return TRUE;
}

int gp_mounting_begin(const char *runtime_dir, const char *bundle, GError **error)
{
    g_autofree char *path = file_of(runtime_dir, bundle);
    g_autofree char *folder = g_path_get_dirname(path);
    struct stat st;
    if (!gp_mkdir_p(folder, 0700, error))
        return -1;
    GP_AUTOFD int fd = open_locked(path, bundle, error);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "%s", path);
        return -1;
    }
    if (st.st_size > 0 && !clear_up(runtime_dir, bundle, error))
        return -1;
    if (st.st_size == 0 && !gp_write_all(fd, BEGUN, strlen(BEGUN), error))
        return -1;
    return gp_steal_fd(&fd);
}

void gp_mounting_end(const char *runtime_dir, const char *bundle, int *fd)
{
    g_autofree char *path = file_of(runtime_dir, bundle);
    if (*fd >= 0)
        (void) unlink(path);
    gp_close_fd(fd);
}
