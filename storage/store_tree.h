/* A layer's files as trees of libostree: its "dirtree" and "dirmeta" objects, written by ourselves, since libostree's
 * own way costs several times the layer's content where directories are many. The format is libostree's
 * (OSTREE_TREE_GVARIANT_FORMAT, OSTREE_DIRMETA_GVARIANT_FORMAT); "ostree fsck" and "ostree ls" are the oracles in the
 * tests. */
#pragma once

#include <glib.h>

#include "storage/layer_tree.h"

/* What names a directory in libostree: two checksums in hexadecimal. */
typedef struct {
    char contents[65], metadata[65];
} GpTreeName;

/* Writes the tree of a layer's commit: "root" with the layer's regular files and links by UTF-8 names, whose objects
 * must be there; "objects" with those behind other names, by checksum; and the file @sidecar_name with the layer's
 * sidecar.
 * @objects_fd is the repository's "objects", @scratch_fd a directory of ours on the same filesystem, where objects are
 * made before they get their names. The caller keeps others from removing objects meanwhile. Nothing is synced. Errors:
 * SPACE, INTERNAL. */
gboolean gp_tree_write(
    int objects_fd, int scratch_fd, GpLayerTree *tree, const char *sidecar_name, GpTreeName *name, GError **error);
