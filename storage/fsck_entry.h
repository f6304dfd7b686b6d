/* One entry of a layer directory against its sidecar. */
#pragma once

#include <glib.h>
#include <sys/stat.h>

#include "storage/layer_tree.h"

/* What differs between @name in @dirfd, whose lstat() is @st, and @inode: type, mode, owner, time, size, device, link
 * target, extended attributes, content. In words and owned by the caller; NULL if nothing does. */
char *gp_fsck_entry(int dirfd, const char *name, const struct stat *st, const GpInode *inode);
