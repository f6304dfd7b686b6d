#include "storage/crypt_backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"

#define LABEL_PREFIX "PARTLABEL="
#define BLOCK_SIZE_OF_LOOP 4096
#define LOOP_TRIES 16 /* somebody else may take the free device first */

void gp_crypt_backing_clear(GpCryptBacking *backing)
{
    g_free(backing->path);
    gp_close_fd(&backing->fd);
}

/* ---- by label, without udev: a guest may have none */

static char *line_of(char **lines, const char *key)
{
    for (; *lines; lines++)
        if (g_str_has_prefix(*lines, key))
            return *lines + strlen(key);
    return NULL;
}

/* "/dev/NAME" if the block device @name is the partition @label; NULL. */
static char *match(const char *directory, const char *name, const char *label)
{
    g_autofree char *path = g_build_filename(directory, name, "uevent", NULL);
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    g_auto(GStrv) lines = g_strsplit(text, "\n", 64);
    const char *found = line_of(lines, "PARTNAME="), *device = line_of(lines, "DEVNAME=");
    return g_strcmp0(found, label) == 0 && device && !strstr(device, "..") ? g_build_filename("/dev", device, NULL)
                                                                           : NULL;
}

char *gp_crypt_partition(const char *sysfs, const char *label, GError **error)
{
    g_autofree char *directory = g_build_filename(sysfs, "class", "block", NULL);
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    g_autofree char *found = NULL;
    const char *name;
    g_autofree char *shown = gp_escape(label, -1, 100);
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *device = match(directory, name, label);
        if (device && found) {
            g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
                "volume: both %s and %s are partitions labelled %s\nName the device itself.", found, device, shown);
            return NULL;
        }
        if (device)
            found = g_steal_pointer(&device);
    }
    if (!found)
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "volume: no partition is labelled %s", shown);
    return g_steal_pointer(&found);
}

/* ---- a file, for debugging */

static int open_file(const GpVolumeConfig *config, GError **error)
{
    GP_AUTOFD int fd = open(config->device, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "volume %s", config->device);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "volume %s: neither a block device nor a file", config->device);
        return -1;
    }
    if (st.st_size == 0 && ftruncate(fd, (off_t) (config->size & ~(guint64) (BLOCK_SIZE_OF_LOOP - 1))) < 0) {
        gp_set_errno(error, errno, "volume %s: making it %" G_GUINT64_FORMAT " bytes", config->device, config->size);
        return -1;
    }
    return gp_steal_fd(&fd);
}

/* The loop device's own descriptor, and its path; it goes away with its last user. */
static int attach_loop(int file, char **path, GError **error)
{
    GP_AUTOFD int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    for (int tries = 0; control >= 0 && tries < LOOP_TRIES; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        g_autofree char *device = g_strdup_printf("/dev/loop%d", number);
        GP_AUTOFD int fd = number < 0 ? -1 : open(device, O_RDWR | O_CLOEXEC);
        struct loop_config loop = {
            .fd = (guint32) file, .block_size = BLOCK_SIZE_OF_LOOP, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
        if (fd < 0)
            break;
        if (ioctl(fd, LOOP_CONFIGURE, &loop) == 0) {
            *path = g_steal_pointer(&device);
            return gp_steal_fd(&fd);
        }
        if (errno != EBUSY)
            break;
    }
    gp_set_errno(error, errno, "volume: a loop device (module loop)");
    return -1;
}

static gboolean make_loop(const GpVolumeConfig *config, GpCryptBacking *backing, GError **error)
{
    GP_AUTOFD int file = open_file(config, error);
    if (file < 0)
        return FALSE;
    backing->fd = attach_loop(file, &backing->path, error);
    return backing->fd >= 0;
}

/* ---- whatever it is */

/* O_EXCL on a block device: fails while it is mounted, mapped or part of another device. */
static gboolean examine(GpCryptBacking *backing, GError **error)
{
    GP_AUTOFD int fd = open(backing->path, O_RDWR | O_EXCL | O_CLOEXEC);
    if (fd < 0) {
        gboolean used = errno == EBUSY, read_only = errno == EROFS || errno == EACCES;
        if (used || read_only)
            g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "volume %s: %s", backing->path,
                used ? "in use: mounted, or part of another device" : "read-only");
        else
            gp_set_errno(error, errno, "volume %s", backing->path);
        return FALSE;
    }
    int read_only = 0;
    if (ioctl(fd, BLKGETSIZE64, &backing->bytes) < 0 || ioctl(fd, BLKROGET, &read_only) < 0) {
        gp_set_errno(error, errno, "volume %s: its size", backing->path);
        return FALSE;
    }
    if (read_only) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "volume %s: read-only", backing->path);
        return FALSE;
    }
    if (backing->bytes >= GP_LIMIT_VOLUME_MIN)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
        "volume %s: %" G_GUINT64_FORMAT " bytes, at least %" G_GUINT64_FORMAT " are needed", backing->path,
        backing->bytes, GP_LIMIT_VOLUME_MIN);
    return FALSE;
}

static gboolean find(const GpVolumeConfig *config, GpCryptBacking *backing, GError **error)
{
    struct stat st;
    if (g_str_has_prefix(config->device, LABEL_PREFIX)) {
        backing->path = gp_crypt_partition("/sys", config->device + strlen(LABEL_PREFIX), error);
        return backing->path != NULL;
    }
    gboolean exists = stat(config->device, &st) == 0;
    if (exists && S_ISBLK(st.st_mode)) {
        backing->path = g_strdup(config->device);
        return TRUE;
    }
    if (exists || config->size > 0)
        return make_loop(config, backing, error);
    g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND,
        "volume %s: no such device\nA file is made if the volume's size is set.", config->device);
    return FALSE;
}

gboolean gp_crypt_backing_find(const GpVolumeConfig *config, GpCryptBacking *backing, GError **error)
{
    return find(config, backing, error) && examine(backing, error);
}
