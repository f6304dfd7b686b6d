/* The LUKS2 header of a persistent volume: it lies on the host's disk, so it is hostile. It is read once and checked
 * field by field against the one layout that guest-pull writes; what libcryptsetup gets to see is a header written
 * anew from the checked values, in memory, that the host cannot change any more.
 *
 * Format: "LUKS2 On-Disk Format Specification" 1.1. What is refused and why: docs/storage.md; CVE-2021-4122 is how a
 * header alone made a running cryptsetup decrypt a volume. */
#pragma once

#include <glib.h>

#include "base/limits.h"
#include "storage/volume.h"

/* The layout: two copies of 16 KiB, one keyslot's area, data from 1 MiB on. */
#define GP_LUKS2_METADATA_SIZE (16 * GP_KIB)
#define GP_LUKS2_DATA_OFFSET (1 * GP_MIB)
#define GP_LUKS2_KEYSLOTS_SIZE (GP_LUKS2_DATA_OFFSET - 2 * GP_LUKS2_METADATA_SIZE)
#define GP_LUKS2_SECTOR_SIZE 4096

/* How volumes are encrypted. */
typedef struct {
    const char *cipher, *mode; /* "aes", "gcm-random" */
    const char *integrity;     /* "aead", "hmac(sha256)"; NULL: none */
    gsize key_size;            /* bytes of the volume key, all parts */
} GpVolumeCipher;
const GpVolumeCipher *gp_volume_cipher(GpVolumeIntegrity integrity);

/* Is there no header? The first sector is all zeros: a fresh disk, or one whose making was interrupted. */
gboolean gp_luks2_is_blank(GBytes *area);

/* Checks @area, the first GP_LUKS2_DATA_OFFSET bytes of a device, as the header of a volume with @integrity, and
 * returns a new area of the same size with the header written anew and the keyslot's bytes copied; the caller's.
 * Errors: INVALID and LIMIT, naming the field. */
GBytes *gp_luks2_accept(GBytes *area, GpVolumeIntegrity integrity, GError **error);
