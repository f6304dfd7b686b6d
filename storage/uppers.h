/* The writable layers of all containers together: what they take of the memory, and how much they may. */
#pragma once

#include <glib.h>

#include "storage/rootfs.h"

/* One writable layer, in bytes and inodes. */
typedef struct {
    guint64 limit, used, inodes, used_inodes;
} GpUpperUsage;

/* Asks the overlay on @bundle/rootfs; FALSE if this mount namespace sees none there. */
gboolean gp_upper_usage(const char *bundle, GpUpperUsage *usage);

/* To be called before a writable layer with @limits is made: if it and all that are mounted now could grow to more than
 * @total bytes, it is refused. 0: no such ceiling. Returns a lock (a descriptor, the caller's), to be held until the
 * new mount is recorded (gp_mounts_record()), so that of two pulls at once each counts the other; -1 on error. A mount
 * that only another mount namespace sees counts as one with @limits. Errors: SPACE, INTERNAL. */
int gp_uppers_reserve(const char *runtime_dir, const GpRootfsLimits *limits, guint64 total, GError **error);
