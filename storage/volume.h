/* The encrypted volume that holds the store: opened by the helper program guest-pull-volume (storage/crypt_*.c), which
 * alone is linked with libcryptsetup; this side locks, asks, and proves by sysfs what has come of it. The recipe and
 * why it is as it is: docs/storage.md. */
#pragma once

#include <glib.h>
#include <jansson.h>

/* The one mapping of a guest: /dev/mapper/guest-pull. */
#define GP_VOLUME_NAME "guest-pull"

typedef enum {
    GP_VOLUME_EPHEMERAL = 0, /* a key of this boot alone; whatever the device holds is overwritten */
    GP_VOLUME_PERSISTENT,    /* LUKS2, opened with a key from outside; layers of an earlier boot are verified */
} GpVolumeMode;

typedef enum {
    GP_VOLUME_AES_GCM = 0,  /* one authenticated pass, random nonces */
    GP_VOLUME_XTS_HMAC,     /* AES-XTS and HMAC-SHA256 */
    GP_VOLUME_NO_INTEGRITY, /* AES-XTS alone: the host can change what is read */
} GpVolumeIntegrity;

typedef enum {
    GP_VOLUME_AUTO = 0, /* XFS for ephemeral volumes that are no dwarfs, else ext4: docs/storage.md says why */
    GP_VOLUME_EXT4,
    GP_VOLUME_XFS, /* ephemeral volumes only */
} GpVolumeFilesystem;

typedef struct {
    char *device; /* "/dev/…", "PARTLABEL=name", or a file's absolute path (debugging); NULL: there is no volume */
    guint64 size; /* of a file that is to be created */
    char *key;    /* location of a persistent volume's key; NULL */
    GpVolumeMode mode;
    GpVolumeIntegrity integrity;
    GpVolumeFilesystem filesystem;
    gboolean eager; /* guest-pulld opens it when it starts */
} GpVolumeConfig;

/* Names as in the configuration: "ephemeral", "aes-gcm", "ext4"; FALSE (and the value untouched) if there is none. */
const char *gp_volume_mode_name(GpVolumeMode mode);
const char *gp_volume_integrity_name(GpVolumeIntegrity integrity);
const char *gp_volume_filesystem_name(GpVolumeFilesystem filesystem);
gboolean gp_volume_mode_from_name(const char *name, GpVolumeMode *mode);
gboolean gp_volume_integrity_from_name(const char *name, GpVolumeIntegrity *integrity);
gboolean gp_volume_filesystem_from_name(const char *name, GpVolumeFilesystem *filesystem);

/* The one that @config means on a device of @bytes, never GP_VOLUME_AUTO. */
GpVolumeFilesystem gp_volume_filesystem(const GpVolumeConfig *config, guint64 bytes);

/* What must hold between the fields: a key for persistent volumes and for no others, XFS only ephemeral, and a device.
 * Errors: USAGE. */
gboolean gp_volume_config_check(const GpVolumeConfig *config, GError **error);

/* Opens the volume and mounts it on @store (created if missing), once: if it is open there already, nothing is done,
 * and of several processes the first one does it while the others wait. @key are the bytes that config->key names, NULL
 * for an ephemeral volume. @discard: a persistent device is made anew, whatever it holds. @runtime_dir (tmpfs) gets the
 * lock. *@report (may be NULL; new reference): gp_volume_status() and, if it was opened now, "timings" in seconds.
 * Afterwards the stack is as configured, by sysfs, or the volume is closed again. Errors: USAGE, NOT_FOUND (no such
 * device), INVALID (a header that is not as it must be), KEY (wrong key), UNSUPPORTED (kernel or programs lack
 * something), SPACE, INTERNAL. */
gboolean gp_volume_open(const GpVolumeConfig *config, const char *store, const char *runtime_dir, GBytes *key,
    gboolean discard, json_t **report, GError **error);

/* Unmounts @store and removes the mapping; an ephemeral volume's content is gone then. Nothing open is success. Errors:
 * USAGE (in use), INTERNAL. */
gboolean gp_volume_close(const char *store, const char *runtime_dir, GError **error);

/* {"open":false}, or {"open":true,"mapping","device","bytes","uuid","integrity":bool,"mountpoint":…|null}; from sysfs
 * and the mount table. New reference. */
json_t *gp_volume_status(const char *store);
