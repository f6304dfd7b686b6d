/* Making an overlay mount that is attached nowhere yet, by the newest way that the kernel has. */
#pragma once

#include <glib.h>

#include "storage/rootfs_upper.h"

/* The ways, best first. What one lacks on an older kernel:
 * DETACHED: overlayfs takes directories of a mount that is attached nowhere since Linux 6.15, layers one by one
 * since 6.8; ATTACHED: the tmpfs is attached at the place for the time of the call (6.8: Debian 13); ONE_PAGE: the
 * same, and all options in the one page of mount(2), which 500 layers fit in because a forked child stands in
 *   /proc/self/fd and names each layer by its descriptor's number (5.12: Debian 12). */
typedef enum {
    GP_OVERLAY_DETACHED = 1 << 0,
    GP_OVERLAY_ATTACHED = 1 << 1,
    GP_OVERLAY_ONE_PAGE = 1 << 2,
} GpOverlayMethod;

/* Returns the detached mount's descriptor, or -1. @lowers: descriptors of directories, topmost first, all different, at
 * least one. @place: an O_PATH descriptor of a directory with nothing mounted on it; ATTACHED and ONE_PAGE have the
 * tmpfs there for a moment.
 * @methods: bits to try, 0: all. Errors: UNSUPPORTED naming what each way said, LIMIT, SPACE, INTERNAL. */
int gp_overlay_make(
    const int *lowers, gsize n_lowers, const GpRootfsUpper *upper, int place, guint methods, GError **error);
