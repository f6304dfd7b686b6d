/* What one unpacked layer holds: a tree of nodes with every attribute that the layer directory must show, kept while
 * the layer is written and then serialized as the commit's sidecar. Inodes are shared objects: hard links are several
 * nodes with one inode. All of it lies in the tree's arena, a million names of it in a file (storage/arena.h). */
#pragma once

#include <glib.h>
#include <sys/types.h>
#include <time.h>

#include "storage/arena.h"
#include "storage/entry.h"

/* What an inode has. */
typedef struct {
    guint references; /* nodes that name it */
    mode_t mode;
    guint32 uid, gid;
    struct timespec mtime;
    guint64 size;
    guint32 rdev_major, rdev_minor;
    guint8 object[32]; /* sha256 of the bare content object; regular files and symlinks. Directories: of their tree's,
                          while the commit is written, and */
    union {
        const char *symlink;    /* target; of the tree's arena */
        const guint8 *metadata; /* of their dirmeta object; of whoever writes the commit */
    };
    GArray *xattrs;              /* GpXattr, sorted, or NULL */
    const struct _GpNode *first; /* of several names, the one by which the sidecar describes it */
    /* A byte each: there are as many inodes as a layer has names, and has_object is set by another thread. */
    guint8 has_object;
    guint8 opaque;   /* directories: hides what is below in lower layers */
    guint8 whiteout; /* hides the name in lower layers (a 0:0 character device on disk) */
    guint8 implied;  /* directory that only an entry's path named; takes 0755 root and mtime 0 */
    guint8 counted;  /* in the tree's bytes */
} GpInode;

typedef struct _GpNode {
    struct _GpNode *parent;          /* NULL for the root */
    struct _GpNode *next, *previous; /* of its parent's children */
    struct _GpNode *first, *last;    /* its children, directories only; gp_layer_child() finds one */
    GpInode *inode;
    char name[]; /* "" for the root */
} GpNode;

typedef struct {
    GpNode *root;
    guint64 entries; /* nodes without the root */
    guint64 bytes;   /* content of regular files, hard links counted once */
    GpArena *arena;
    struct _GpNameIndex *names; /* NULL: gp_layer_tree_settle() was called */
    gboolean sorted;
} GpLayerTree;

/* @directory_fd: see gp_arena_new(). */
GpLayerTree *gp_layer_tree_new(int directory_fd);
void gp_layer_tree_free(GpLayerTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpLayerTree, gp_layer_tree_free)

/* The child of @parent named @name, or NULL. */
GpNode *gp_layer_child(const GpLayerTree *tree, const GpNode *parent, const char *name);
/* The node at @path ("" is the root), or NULL. */
GpNode *gp_layer_tree_find(const GpLayerTree *tree, const char *path);
/* Adds a node named @name below directory @parent with @inode (NULL: a fresh one). The name must be free. */
GpNode *gp_layer_tree_add(GpLayerTree *tree, GpNode *parent, const char *name, GpInode *inode);
/* Takes @node and all below it out. */
void gp_layer_tree_remove(GpLayerTree *tree, GpNode *node);
/* A copy of @text that lives as long as the tree. */
const char *gp_layer_tree_text(GpLayerTree *tree, const char *text);

/* Nothing will be added any more: gives back the memory by which names are found fast. */
void gp_layer_tree_settle(GpLayerTree *tree);
/* Puts the children of every directory in the order of their names' bytes. */
void gp_layer_tree_sort(GpLayerTree *tree);
/* To be called for each node by whoever walks through the whole tree: see gp_arena_passed(). From any thread. */
void gp_layer_tree_passed(GpLayerTree *tree);

/* Takes the next @length bytes of a text; FALSE with @error ends it. */
typedef gboolean (*GpTextSink)(gpointer data, const char *text, gsize length, GError **error);
/* The sidecar, piece by piece: one line an entry, depth first and in the order of the names' bytes, everything escaped.
 * Sorts the tree if it is not. Errors: @sink's. */
gboolean gp_layer_tree_serialize(GpLayerTree *tree, GpTextSink sink, gpointer data, GError **error);
/* And back. The text is hostile to nobody (we wrote it, the store vouches for it), but it is parsed strictly all the
 * same: only what gp_layer_tree_serialize() would write is accepted. Errors: INVALID naming the line. */
GpLayerTree *gp_layer_tree_parse(GBytes *text, GError **error);
