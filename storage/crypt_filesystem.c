#include "storage/crypt_filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"

#define EDGE ((gsize) GP_MIB) /* what probing programs look at, at both ends of a device */

/* Features are named one by one: what the guest's mke2fs.conf says does not count. No backup superblocks and no resize
 * inode, since mke2fs reads where it puts them; ea_inode for extended attributes of more than one block. */
#define EXT4_FEATURES                                                                                                  \
    "none,extent,64bit,flex_bg,sparse_super2,large_file,huge_file,dir_nlink,extra_isize,filetype,dir_index,"           \
    "ext_attr,ea_inode,metadata_csum"

/* Zeroes both ends of @device past the page cache, which would read around what is written. */
static gboolean write_edges(const char *device, GError **error)
{
    guint64 size = 0;
    GP_AUTOFD int fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);
    void *zeros = NULL;
    gboolean ok =
        fd >= 0 && ioctl(fd, BLKGETSIZE64, &size) == 0 && size >= 2 * EDGE && posix_memalign(&zeros, 4096, EDGE) == 0;
    if (ok) {
        memset(zeros, 0, EDGE);
        off_t last = (off_t) ((size - EDGE) & ~(guint64) 4095);
        ok = pwrite(fd, zeros, EDGE, 0) == (ssize_t) EDGE && pwrite(fd, zeros, EDGE, last) == (ssize_t) EDGE;
    }
    int err = errno;
    free(zeros);
    if (!ok)
        gp_set_errno(error, err, "volume: writing to %s", device);
    return ok;
}

static const char *find_program(const char *const *places)
{
    for (; *places; places++)
        if (access(*places, X_OK) == 0)
            return *places;
    return NULL;
}

static gboolean run(const char *const *places, const char **argv, const char *package, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *said = NULL;
    int status = 0;
    argv[0] = find_program(places);
    if (!argv[0]) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "volume: there is no %s\nThe guest needs the package %s.",
            places[0], package);
        return FALSE;
    }
    gboolean ran = g_spawn_sync(
        NULL, (char **) (guintptr) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &said, &status, &cause);
    if (ran && g_spawn_check_wait_status(status, &cause))
        return TRUE;
    /* The first line says it; what may follow is how to call mkfs. */
    g_autofree char *line = g_strndup(said ? said : "", said ? strcspn(said, "\n") : 0);
    g_autofree char *shown = gp_escape(line, -1, 300);
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "volume: %s: %s: %s", argv[0], cause->message, shown);
    return FALSE;
}

static gboolean make_ext4(const GpVolumeConfig *config, const char *device, GError **error)
{
    static const char *const places[] = {"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", NULL};
    /* Two threads that make inodes in one block of the inode table read that block, and recovery reads the journal, so
     * both are written in full. An ephemeral volume has nothing to recover. */
    gboolean journal = config->mode == GP_VOLUME_PERSISTENT;
    const char *argv[] = {"", "-q", "-F", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0", "-G", "16", "-L",
        GP_VOLUME_NAME, "-e", "continue", "-O", journal ? EXT4_FEATURES ",has_journal" : EXT4_FEATURES, "-E",
        "num_backup_sb=0,nodiscard,lazy_itable_init=0,lazy_journal_init=0", journal ? "-J" : device,
        journal ? "size=32" : NULL, device, NULL};
    return run(places, argv, "e2fsprogs", error);
}

static gboolean make_xfs(const char *device, GError **error)
{
    static const char *const places[] = {"/usr/sbin/mkfs.xfs", "/sbin/mkfs.xfs", NULL};
    const char *argv[] = {"", "-q", "-f", "-K", "-b", "size=4096", "-s", "size=4096", "-m", "crc=1,reflink=1", "-L",
        GP_VOLUME_NAME, device, NULL};
    return run(places, argv, "xfsprogs", error);
}

gboolean gp_crypt_make_filesystem(const GpVolumeConfig *config, const char *device, GError **error)
{
    if (!write_edges(device, error))
        return FALSE;
    return config->filesystem == GP_VOLUME_XFS ? make_xfs(device, error) : make_ext4(config, device, error);
}

/* errors=continue: a block that cannot be read shall cost one layer, not the store. */
static const char *mount_data(const GpVolumeConfig *config)
{
    if (config->filesystem == GP_VOLUME_XFS)
        return "inode64";
    return config->mode == GP_VOLUME_EPHEMERAL ? "errors=continue,nobarrier" : "errors=continue";
}

gboolean gp_crypt_mount(const GpVolumeConfig *config, const char *device, const char *mountpoint, GError **error)
{
    const char *type = gp_volume_filesystem_name(config->filesystem);
    /* What images hold takes effect through the overlay that is mounted from it, never here. */
    unsigned long flags = MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_NOATIME;
    if (!gp_mkdir_p(mountpoint, 0700, error))
        return FALSE;
    if (mount(device, mountpoint, type, flags, mount_data(config)) == 0)
        return TRUE;
    if (errno == ENODEV) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "volume: this kernel has no %s", type);
        return FALSE;
    }
    gp_set_errno(error, errno, "volume: mounting %s on %s", device, mountpoint);
    return FALSE;
}

gboolean gp_crypt_unmount(const char *device, const char *mountpoint, GError **error)
{
    struct stat mounted, mapping;
    while (stat(device, &mapping) == 0 && stat(mountpoint, &mounted) == 0 && mounted.st_dev == mapping.st_rdev) {
        if (umount2(mountpoint, UMOUNT_NOFOLLOW) == 0)
            continue;
        if (errno == EBUSY)
            g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
                "volume: %s is in use\nFirst: guest-pull umount DIR for every container.", mountpoint);
        else
            gp_set_errno(error, errno, "volume: unmounting %s", mountpoint);
        return FALSE;
    }
    return TRUE;
}
