/* Is a directory on dm-crypt? Nothing of an image is written to a plain disk by accident. */
#pragma once

#include <glib.h>

/* TRUE if every block device below the filesystem of @path reaches its disk through dm-crypt; with @integrity that must
 * lie on dm-integrity. Errors: UNSUPPORTED, naming the device and --allow-unencrypted-store. */
gboolean gp_encrypted_check(const char *path, gboolean integrity, GError **error);

/* The same for device numbers, with another sysfs (tests). */
gboolean gp_encrypted_device(const char *sysfs, guint major, guint minor, gboolean integrity, GError **error);

/* Is the block device named @device ("dm-1") dm-crypt on dm-integrity? */
gboolean gp_encrypted_with_integrity(const char *sysfs, const char *device);
