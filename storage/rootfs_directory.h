/* A directory whose attributes the mounted root filesystem must show although the topmost layer that holds it does not
 * have them.
 *
 * overlayfs shows a merged directory with the attributes of the topmost layer that has it. A layer that brings only
 * "a/b/c" has no attributes for "a" and "a/b"; tar says that the lower layer's stay. Such directories are made once
 * more in the writable layer, where they merge with all below and decide the attributes; no shared layer is touched. */
#pragma once

#include <glib.h>
#include <sys/types.h>
#include <time.h>

/* All borrowed by whoever gets it. */
typedef struct {
    const char *path; /* relative, "a/b"; "" is the root of the file system */
    guint32 uid, gid;
    mode_t mode; /* permission bits; a type, if given, is S_IFDIR */
    struct timespec mtime;
    const GArray *xattrs; /* GpXattr, or NULL */
} GpRootfsDirectory;
