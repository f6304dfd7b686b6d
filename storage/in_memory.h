/* Is something in memory alone? What must not reach the host's disk, encrypted or not: uppers, receipts, locks,
 * sockets, and what processes know. */
#pragma once

#include <glib.h>

/* TRUE if @directory lies on a tmpfs or ramfs. Errors: UNSUPPORTED naming @what and --allow-unencrypted-store,
 * INTERNAL.
 */
gboolean gp_in_memory_check(const char *directory, const char *what, GError **error);

/* TRUE if no swap space is in use that the host could read: none at all, dm-crypt, or zram without a disk behind it.
 * @swaps: "/proc/swaps"; absent means a kernel without swap. @sysfs: "/sys". Errors: UNSUPPORTED naming the space and
 * --allow-unencrypted-store, INVALID. */
gboolean gp_in_memory_check_swap(const char *swaps, const char *sysfs, GError **error);
