/* Which directories the writable layer must restate so that the merged root filesystem shows the attributes that the
 * layers' tars say. */
#pragma once

#include <glib.h>

typedef struct {
    const int *layers; /* O_PATH descriptors of the layer roots, base first */
    gsize n_layers;
    const GPtrArray
        *implied; /* for each layer the paths (GPtrArray of char*) of directories that only entries below them
                     named: overlayfs would show their made-up attributes, not a lower layer's true ones */
    const GPtrArray
        *whiteouts; /* for each layer the paths of directories with whiteouts in them: where no other layer has
                       such a directory there is nothing to merge, and overlayfs lists the whiteouts by name */
} GpOverlayStack;

/* Returns GpRootfsDirectory* (storage/rootfs_directory.h) with all their parents, parents first; empty for ordinary
 * images. Errors: INTERNAL, CANCELLED. */
GPtrArray *gp_overlay_plan(const GpOverlayStack *given, GError **error);
