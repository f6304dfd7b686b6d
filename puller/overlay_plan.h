/* Which directories the writable layer must restate so that the merged root filesystem shows the attributes that the
 * layers' tars say. */
#pragma once

#include <glib.h>

/* @layers: O_PATH descriptors of the layer roots, base first. @implied: for each layer the paths (char*) of directories
 * that only entries below them named (storage/layer_tree.h): overlayfs would show their made-up attributes instead of a
 * lower layer's true ones. Returns GpRootfsDirectory* (storage/rootfs_directory.h) with all their parents, parents
 * first; empty for ordinary images. Errors: INTERNAL. */
GPtrArray *gp_overlay_plan(const int *layers, gsize n_layers, GPtrArray *implied, GError **error);
