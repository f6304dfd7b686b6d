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
    char *symlink;     /* target */
    GArray *xattrs;    /* GpXattr, sorted, or NULL */
    /* A byte each: there are as many inodes as a layer has names, and has_object is set by another thread. */
    guint8 has_object;
    guint8 opaque;   /* directories: hides what is below in lower layers */
    guint8 whiteout; /* hides the name in lower layers (a 0:0 character device on disk) */
    guint8 implied;  /* directory that only an entry's path named; takes 0755 root and mtime 0 */
} GpInode;

typedef struct _GpNode {
    const char *name;       /* "" for the root; lies behind the node */
    struct _GpNode *parent; /* NULL for the root */
    GpInode *inode;
    GHashTable *children; /* the set of GpNode*, directories only; NULL while empty; gp_layer_child() finds one */
} GpNode;

typedef struct {
    GpNode *root;
    guint64 entries; /* nodes without the root */
    guint64 bytes;   /* content of regular files, hard links counted once */
} GpLayerTree;

GpLayerTree *gp_layer_tree_new(void);
void gp_layer_tree_free(GpLayerTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpLayerTree, gp_layer_tree_free)

/* The child of @parent named @name, or NULL. */
GpNode *gp_layer_child(const GpNode *parent, const char *name);
/* The node at @path ("" is the root), or NULL. */
GpNode *gp_layer_tree_find(const GpLayerTree *tree, const char *path);
/* Adds a node named @name below directory @parent with @inode (NULL: a fresh one). The name must be free. */
GpNode *gp_layer_tree_add(GpLayerTree *tree, GpNode *parent, const char *name, GpInode *inode);
/* Takes @node and all below it out. */
void gp_layer_tree_remove(GpLayerTree *tree, GpNode *node);

/* Takes the next @length bytes of a text; FALSE with @error ends it. */
typedef gboolean (*GpTextSink)(gpointer data, const char *text, gsize length, GError **error);
/* The sidecar, piece by piece: one line an entry, depth first and in the order of the names' bytes, everything escaped.
 * Errors: @sink's. */
gboolean gp_layer_tree_serialize(const GpLayerTree *tree, GpTextSink sink, gpointer data, GError **error);
/* And back. The text is hostile to nobody (we wrote it, the store vouches for it), but it is parsed strictly all the
 * same: only what gp_layer_tree_serialize() would write is accepted. Errors: INVALID naming the line. */
GpLayerTree *gp_layer_tree_parse(GBytes *text, GError **error);
