/* The layer directory while it is being written, in step with its tree: finding and making parents, replacing names,
 * applying attributes. Everything is reached from the layer's root with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
 * RESOLVE_NO_MAGICLINKS) and one path component. Used by the layer writer alone. */
#pragma once

#include <glib.h>

#include "storage/layer_tree.h"

typedef struct {
    int root_fd;
    GpLayerTree *tree;
    gboolean files_are_ours; /* new inodes belong to 0:0 by themselves: a chown(2) less for nearly every file, */
    mode_t umask;            /* and a chmod(2) less for modes that this leaves alone; 0777 if it is not known */
    /* The directory of the last entry: tars list a directory's members one after the other. */
    char *directory_path;
    GpNode *directory;
    int directory_fd;
    struct _GpFinisher *finisher; /* may still use directories that were left; NULL: nobody does */
} GpLayerDisk;

/* @root_fd stays the caller's, @tree must be empty and outlive @disk. Errors: INTERNAL. */
gboolean gp_layer_disk_init(GpLayerDisk *disk, int root_fd, GpLayerTree *tree, GError **error);
void gp_layer_disk_clear(GpLayerDisk *disk);

/* Makes the directory that holds @path the current one, creating what is missing as implied directories, and points
 * *@name at the last component. Errors: INVALID (a parent is a link, a file or a whiteout name), SPACE, INTERNAL. */
gboolean gp_layer_disk_enter(GpLayerDisk *disk, const char *path, const char **name, GError **error);

/* Takes @node, a child of the current directory, out of tree and directory with all below it. */
gboolean gp_layer_disk_remove(GpLayerDisk *disk, GpNode *node, GError **error);

/* Opens the directory @node O_PATH; the caller closes. Errors: INTERNAL. */
int gp_layer_disk_open(const GpLayerDisk *disk, const GpNode *node, GError **error);

/* A new directory @name in the current one, its attributes implied until gp_layer_fill(). */
GpNode *gp_layer_disk_make_directory(GpLayerDisk *disk, const char *name, GError **error);

/* Copies @entry's attributes into @inode of @tree (xattrs are moved). */
void gp_layer_fill(GpLayerTree *tree, GpInode *inode, GpEntry *entry);

/* Gives @name in @directory_fd all attributes of @inode but the content, in the order in which they survive each other:
 * owner, mode, xattrs, mtime. What the filesystem rounds (times beyond its range, ACLs that equal the mode) is read
 * back into
 * @inode. Errors: INVALID (an attribute that the kernel refuses), UNSUPPORTED (no such attributes here), SPACE,
 * INTERNAL. */
gboolean gp_layer_disk_apply(
    const GpLayerDisk *disk, int directory_fd, const char *name, GpInode *inode, GError **error);

/* The same for a regular file of the current directory that is open for writing as @fd and was created with
 * gp_layer_disk_creation_mode(). @name is its name. */
gboolean gp_layer_disk_apply_open(const GpLayerDisk *disk, int fd, const char *name, GpInode *inode, GError **error);
mode_t gp_layer_disk_creation_mode(const GpLayerDisk *disk, const GpInode *inode);

/* Does @inode have an ACL? Then the mode and the list may change when they meet: see gp_layer_disk_settle(). */
gboolean gp_layer_has_acl(const GpInode *inode);

/* Applies owner, mode and ACLs and reads back what they became. For a regular file before its object is named. */
gboolean gp_layer_disk_settle(
    const GpLayerDisk *disk, int directory_fd, const char *name, GpInode *inode, GError **error);

/* Gives all directories their attributes, deepest first, and sets tree->bytes. Nothing may be created afterwards. */
gboolean gp_layer_disk_finish(GpLayerDisk *disk, GError **error);
