/* Turns the unpack worker's frames into a layer: files written once, in the layer's directory and, hard-linked, as
 * libostree's bare content objects, with mtime, owner, mode, xattrs, hard links, devices and whiteouts exactly as the
 * tar says.
 *
 * Inodes: every entry, with the hard links that the tar makes of it, has one of its own. The first file of a content
 * shares its inode with the object store; later ones with the same content do not, because mtimes and groups of links
 * must be exactly the tar's, and an inode has only one mtime.
 *
 * Whiteouts (image-spec layer.md) hide names of lower layers only: ".wh.NAME" becomes a 0:0 character device unless
 * this layer has NAME itself, before or after; a directory NAME that has a whiteout, or that replaced a file of this
 * layer, becomes opaque. Names of AUFS (".wh..wh.*") are skipped.
 *
 * Directories that no entry describes are marked "implied" in the tree: overlayfs would show their attributes where the
 * lower layer's should show through. Whoever stacks layers must settle that, and an opaque root, which overlayfs
 * ignores. */
#pragma once

#include <glib.h>

#include "base/digest.h"
#include "storage/layer_limits.h"
#include "storage/layer_tree.h"
#include "storage/shared_memory.h"

typedef struct {
    int objects_fd;    /* the repository's "objects" directory */
    int root_fd;       /* an empty directory of ours: becomes the layer's root */
    guint64 max_bytes; /* of unpacked content; GP_LIMIT_LAYER_BYTES at most */
    guint64 max_entries;
    const GpLayerLimits *limits; /* of single entries, and metadata; NULL: those of base/limits.h alone */
    /* Asked now and then during long work without input (a hole); TRUE: give up. NULL: never. */
    gboolean (*stopped)(gpointer data);
    gpointer stopped_data;
    GpSharedMemory *shared; /* with the worker; NULL: all content comes in frames */
} GpLayerTarget;

/* Progress, updated while the writer runs; may be read from another thread (relaxed). */
typedef struct {
    guint64 entries;
    guint64 bytes;
} GpLayerProgress;

/* Reads frames from @frames_fd, READY first, to their end and writes the layer. Nothing is synced. *@diff_id is what
 * the *worker* says that the uncompressed stream hashes to: compare it with the config's, but never use it as a key. On
 * failure the caller removes the directory. Errors: INVALID (the archive), LIMIT, SPACE, UNSUPPORTED (a filesystem
 * without xattrs), SANDBOX (the worker), CANCELLED (@target->stopped), INTERNAL. */
GpLayerTree *gp_layer_write(
    int frames_fd, const GpLayerTarget *target, GpLayerProgress *progress, GpDigest *diff_id, GError **error);
