/* The filesystem on the mapping. It must never read a sector that was not written: such a sector has no valid tag, and
 * reading it is an error, as reading a forged one is (docs/storage.md). */
#pragma once

#include <glib.h>

#include "storage/volume.h"

/* Here config->filesystem is a filesystem, not GP_VOLUME_AUTO. */

/* Makes config's filesystem on @device (a fresh mapping). Errors: UNSUPPORTED (no mkfs program), INTERNAL. */
gboolean gp_crypt_make_filesystem(const GpVolumeConfig *config, const char *device, GError **error);

/* Mounts it on @mountpoint, which is made (0700) if missing. Errors: UNSUPPORTED (kernel), INTERNAL. */
gboolean gp_crypt_mount(const GpVolumeConfig *config, const char *device, const char *mountpoint, GError **error);

/* Unmounts all that is mounted on @mountpoint from @device; nothing is success. Errors: USAGE (in use), INTERNAL. */
gboolean gp_crypt_unmount(const char *device, const char *mountpoint, GError **error);
