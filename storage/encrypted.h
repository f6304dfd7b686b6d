/* Is a directory on dm-crypt? Nothing of an image is written to a plain disk by accident. */
#pragma once

#include <glib.h>

/* TRUE if every block device below the filesystem of @path reaches its disk through dm-crypt. Errors: UNSUPPORTED,
 * naming the device and --allow-unencrypted-store. */
gboolean gp_encrypted_check(const char *path, GError **error);

/* The same for device numbers, with another sysfs (tests). */
gboolean gp_encrypted_device(const char *sysfs, guint major, guint minor, GError **error);
