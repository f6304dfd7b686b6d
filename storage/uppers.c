#include "storage/uppers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/mounts.h"

gboolean gp_upper_usage(const char *bundle, GpUpperUsage *usage)
{
    struct statfs fs;
    g_autofree char *rootfs = g_build_filename(bundle, "rootfs", NULL);
    /* An overlay's statfs(2) is its upper's. The type says whether there is one: the directory below it would answer
     * for the bundle's filesystem. */
    if (statfs(rootfs, &fs) < 0 || fs.f_type != OVERLAYFS_SUPER_MAGIC)
        return FALSE;
    *usage = (GpUpperUsage){.limit = (guint64) fs.f_blocks * (guint64) fs.f_frsize,
        .used = (guint64) (fs.f_blocks - fs.f_bfree) * (guint64) fs.f_frsize,
        .inodes = fs.f_files,
        .used_inodes = fs.f_files - fs.f_ffree};
    return TRUE;
}

static gboolean check_sum(const char *runtime_dir, guint64 wanted, guint64 total, GError **error)
{
    g_autoptr(GPtrArray) bundles = gp_mounts_using(runtime_dir, GP_MOUNTS_ALL, error);
    if (!bundles)
        return FALSE;
    guint64 sum = 0;
    for (guint i = 0; i < bundles->len; i++) {
        GpUpperUsage usage;
        guint64 limit = gp_upper_usage(bundles->pdata[i], &usage) ? usage.limit : wanted;
        sum = limit > G_MAXUINT64 - sum ? G_MAXUINT64 : sum + limit;
    }
    if (sum <= total && wanted <= total - sum)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_SPACE,
        "writable layer of %" G_GUINT64_FORMAT " bytes: %u others may grow to %" G_GUINT64_FORMAT
        " bytes, and all together to %" G_GUINT64_FORMAT " (rw_total)\nSee: guest-pull df. A smaller rw_size, or end a "
        "container.",
        wanted, bundles->len, sum, total);
    return FALSE;
}

int gp_uppers_reserve(const char *runtime_dir, const GpRootfsLimits *limits, guint64 total, GError **error)
{
    g_autofree char *path = g_build_filename(runtime_dir, "uppers.lock", NULL);
    GP_AUTOFD int lock = -1;
    if (g_mkdir_with_parents(runtime_dir, 0700) == 0)
        lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0 || TEMP_FAILURE_RETRY(flock(lock, LOCK_EX)) < 0) {
        gp_set_errno(error, errno, "lock %s", path);
        return -1;
    }
    if (total > 0 && !check_sum(runtime_dir, gp_rootfs_size(limits), total, error))
        return -1;
    return gp_steal_fd(&lock);
}
