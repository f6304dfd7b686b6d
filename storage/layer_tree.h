/* What one unpacked layer holds: a tree of nodes with every attribute that the layer directory must show, kept while
 * the layer is written and then serialized as the commit's sidecar. Inodes are shared objects: hard links are several
 * nodes with one inode. */
#pragma once

#include <glib.h>
#include <sys/types.h>
#include <time.h>

#include "storage/entry.h"

/* What an inode has; reference-counted by the nodes that name it. */
typedef struct {
    guint references;
    mode_t mode;
    guint32 uid, gid;
    struct timespec mtime;
    guint64 size;
    guint32 rdev_major, rdev_minor;
    guint8 object[32]; /* sha256 of the bare content object; regular files and symlinks */
    gboolean has_object;
    char *symlink;     /* target */
    GArray *xattrs;    /* GpXattr, sorted, or NULL */
    gboolean opaque;   /* directories: hides what is below in lower layers */
    gboolean whiteout; /* hides the name in lower layers (a 0:0 character device on disk) */
    gboolean implied;  /* directory that only an entry's path named; takes 0755 root and mtime 0 */
} GpInode;

typedef struct _GpNode {
    char *name;             /* "" for the root */
    struct _GpNode *parent; /* NULL for the root */
    GpInode *inode;
    GHashTable *children; /* name to GpNode*, directories only; NULL while empty */
} GpNode;

typedef struct {
    GpNode *root;
    guint64 entries; /* nodes without the root */
    guint64 bytes;   /* content of regular files, hard links counted once */
} GpLayerTree;

GpLayerTree *gp_layer_tree_new(void);
void gp_layer_tree_free(GpLayerTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpLayerTree, gp_layer_tree_free)

/* The node at @path ("" is the root), or NULL. */
GpNode *gp_layer_tree_find(const GpLayerTree *tree, const char *path);
/* Adds a node named @name below directory @parent with @inode (NULL: a fresh one). The name must be free. */
GpNode *gp_layer_tree_add(GpLayerTree *tree, GpNode *parent, const char *name, GpInode *inode);
/* Takes @node and all below it out. */
void gp_layer_tree_remove(GpLayerTree *tree, GpNode *node);

/* The sidecar: one line an entry, depth first and in the order of the names' bytes, everything escaped; and back. The
 * text is hostile to nobody (we wrote it, the store vouches for it), but it is parsed strictly all the same: only what
 * gp_layer_tree_serialize() would write is accepted. Errors: INVALID naming the line. */
GBytes *gp_layer_tree_serialize(const GpLayerTree *tree);
GpLayerTree *gp_layer_tree_parse(GBytes *text, GError **error);
