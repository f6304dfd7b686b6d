/* The writable layer: a tmpfs of limited size that is attached nowhere, with overlayfs's upper and work directories in
 * it. */
#pragma once

#include <glib.h>

#include "storage/rootfs.h"

typedef struct {
    int mount_fd; /* the tmpfs's root, mode 0700 */
    int upper_fd, work_fd;
    int lower_fd; /* an empty directory, the lowest layer of an image that has none */
} GpRootfsUpper;

/* Makes it. The upper directory, which decides how "/" looks, gets the attributes of the element "" of @directories, or
 * else of the directory @top_layer, or else (-1) 0755 root and mtime 0. All @directories are made in it. Errors as
 * gp_rootfs_mount(). */
gboolean gp_rootfs_upper_make(
    GpRootfsUpper *upper, const GpRootfsLimits *limits, int top_layer, const GPtrArray *directories, GError **error);

/* Closes all descriptors, and with that frees the tmpfs unless an overlay uses it. A zeroed structure is not a closed
 * one: start with GP_ROOTFS_UPPER_INIT. */
void gp_rootfs_upper_clear(GpRootfsUpper *upper);
#define GP_ROOTFS_UPPER_INIT                                                                                           \
    {                                                                                                                  \
        -1, -1, -1, -1                                                                                                 \
    }
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GpRootfsUpper, gp_rootfs_upper_clear)
