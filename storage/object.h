/* libostree's bare content objects, written by ourselves (its own writer hashes and links several times slower): the
 * name is the SHA-256 over a header with all metadata and the content; the file has that metadata. "ostree fsck" is the
 * oracle in the tests. */
#pragma once

#include <glib.h>

#include "base/digest.h"

#define GP_OBJECT_PATH_SIZE 71 /* "xx/", 62 hex digits, ".file", NUL */

/* A hasher that has seen the header of the object: owner, @mode with its type bits (a regular file, or a symbolic link
 * to @target), @xattrs (sorted GpXattr, or NULL). A regular file's content follows, holes as zeros; a link's object
 * ends here. Owned by the caller. */
GpHasher *gp_object_hasher_new(guint32 uid, guint32 gid, guint32 mode, const char *target, const GArray *xattrs);

/* The same with a SHA-256 hasher that has served before. */
void gp_object_hasher_start(
    GpHasher *hasher, guint32 uid, guint32 gid, guint32 mode, const char *target, const GArray *xattrs);

/* Where the object lies below the repository's objects directory. */
void gp_object_path(const guint8 object[32], char path[GP_OBJECT_PATH_SIZE]);

/* Hard-links @name in @directory_fd, complete with all its attributes, as the object, unless the repository has it
 * already: then both stay inodes of their own. Errors: SPACE, INTERNAL. */
gboolean gp_object_link(int objects_fd, const guint8 object[32], int directory_fd, const char *name, GError **error);
