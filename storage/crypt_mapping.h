/* The mapping itself, over libcryptsetup: dm-crypt on dm-integrity, its key in the kernel's keyring. */
#pragma once

#include <glib.h>

#include "storage/crypt_backing.h"
#include "storage/volume.h"

/* Makes the mapping GP_VOLUME_NAME with a key from getrandom() that exists nowhere else and a header that is never
 * written to the device; what the device holds is not looked at. Errors: UNSUPPORTED (kernel), INTERNAL. */
gboolean gp_crypt_map_ephemeral(const GpVolumeConfig *config, const GpCryptBacking *backing, GError **error);

/* Removes the mapping; none is success. Errors: USAGE (in use), INTERNAL. */
gboolean gp_crypt_unmap(GError **error);
