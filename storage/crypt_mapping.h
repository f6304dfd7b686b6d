/* The mapping itself, over libcryptsetup: dm-crypt on dm-integrity, its key in the kernel's keyring. */
#pragma once

#include <glib.h>

#include "storage/crypt_backing.h"
#include "storage/volume.h"

/* Makes the mapping GP_VOLUME_NAME with a key from getrandom() that exists nowhere else and a header that is never
 * written to the device; what the device holds is not looked at. Errors: UNSUPPORTED (kernel), INTERNAL. */
gboolean gp_crypt_map_ephemeral(const GpVolumeConfig *config, const GpCryptBacking *backing, GError **error);

/* The same for a persistent volume: with the header that @backing holds, checked and copied (storage/luks2_header.h),
 * and
 * @key, a passphrase or any bytes. If @backing is blank, or with @discard, a volume is made; then *@header is what
 * gp_crypt_write_header() is to write once there is a filesystem, else NULL. Errors: INVALID, LIMIT (header), KEY,
 * UNSUPPORTED, INTERNAL. */
gboolean gp_crypt_map_persistent(const GpVolumeConfig *config, const GpCryptBacking *backing, GBytes *key,
    gboolean discard, GBytes **header, GError **error);

/* Writes @header to the device, its first sector last: half a header is none. Errors: INTERNAL. */
gboolean gp_crypt_write_header(const GpCryptBacking *backing, GBytes *header, GError **error);

/* Removes the mapping; none is success. Errors: USAGE (in use), INTERNAL. */
gboolean gp_crypt_unmap(GError **error);
