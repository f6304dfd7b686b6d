/* The mounted root filesystem: read-only layers below, a detached tmpfs above, exactly one overlay mount. */
#pragma once

#include <glib.h>

#include "storage/rootfs_directory.h"

typedef struct {
    guint64 rw_bytes;  /* size of the tmpfs; 0: percent */
    guint rw_percent;  /* of physical memory; 0 with rw_bytes 0: GP_DEFAULT_RW_PERCENT */
    guint64 rw_inodes; /* 0: one for every 4 KiB of the size, as tmpfs itself does */
    guint methods;     /* GpOverlayMethod bits that may be tried; 0: all. Tests force the ways of old kernels. */
} GpRootfsLimits;

/* Parses --rw-size: "512M", "1073741824", "25%". Suffixes K, M, G, T are powers of 1024; at least 1 MiB, at most 100 %.
 * Sets rw_bytes and rw_percent and leaves the rest. Errors: USAGE. */
gboolean gp_rootfs_parse_size(const char *text, GpRootfsLimits *limits, GError **error);

/* The size in bytes that a writable layer of @limits may have. */
guint64 gp_rootfs_size(const GpRootfsLimits *limits);

/* Mounts @layers (O_PATH descriptors of layer roots, base first; repeats allowed) on @bundle/rootfs, creating the
 * directory with mode 0755; an empty one that is there already is taken. @bundle itself must exist and be no symbolic
 * link.
 *
 * @directories (GpRootfsDirectory*, or NULL): see storage/rootfs_directory.h; sorted so that a directory comes after
 * its parent, and complete: every parent is listed too (the root need not be). Without an element "" the root directory
 * shows the attributes of the topmost layer's root.
 *
 * No descriptor of the tmpfs is kept: whoever unmounts frees its memory, with a plain umount2(). The mount is private.
 * On failure nothing is left at @bundle/rootfs. Concurrent calls for one @bundle are serialized by a lock on it; the
 * second is refused. Errors: INVALID (something is mounted or lies there, @bundle is a link, @directories breaks the
 * rules), NOT_FOUND (no @bundle), LIMIT, UNSUPPORTED (a kernel without the feature), INTERNAL, SPACE. */
gboolean gp_rootfs_mount(const int *layers, gsize n_layers, const GPtrArray *directories, const char *bundle,
    const GpRootfsLimits *limits, GError **error);

/* Removes what a killed gp_rootfs_mount() or its caller may have left of ours at @bundle/rootfs: the overlay, or a
 * tmpfs on its way below one, and the directory. Nothing there, or something of others: success, and nothing is
 * touched. Errors: NOT_FOUND (no @bundle), INVALID, INTERNAL. */
gboolean gp_rootfs_clear(const char *bundle, GError **error);

/* Undoes it: unmounts the overlay on @bundle/rootfs and removes the directory. Errors: NOT_FOUND when no overlay is
 * mounted there; INTERNAL, also when something else still lies below. */
gboolean gp_rootfs_umount(const char *bundle, GError **error);
