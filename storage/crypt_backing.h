/* What the encrypted volume lies on: a disk, a partition by its label, or a file on a loop device. */
#pragma once

#include <glib.h>

#include "storage/volume.h"

typedef struct {
    char *path; /* of the block device */
    guint64 bytes;
    int fd; /* holds a loop device until the mapping does; -1 */
} GpCryptBacking;

void gp_crypt_backing_clear(GpCryptBacking *backing);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GpCryptBacking, gp_crypt_backing_clear)

/* Finds config->device, and makes file and loop device if it is a file. It must be writable, used by nobody and at
 * least GP_LIMIT_VOLUME_MIN bytes. @backing is zeroed by the caller, its fd -1. Errors: NOT_FOUND, USAGE (in use,
 * read-only, ambiguous), LIMIT (too small), SPACE, INTERNAL. */
gboolean gp_crypt_backing_find(const GpVolumeConfig *config, GpCryptBacking *backing, GError **error);

/* The device "/dev/NAME" of the partition named @label below @sysfs. Errors: NOT_FOUND, USAGE (more than one: the host
 * adds disks as it likes). Caller's. */
char *gp_crypt_partition(const char *sysfs, const char *label, GError **error);
