/* POSIX ACLs that a tar carries as text (SCHILY.acl.access, SCHILY.acl.default), as the xattrs that the kernel has for
 * them. */
#pragma once

#include <archive_entry.h>

#include "storage/entry.h"

/* Appends system.posix_acl_access and system.posix_acl_default to @entry's xattrs (linux/posix_acl_xattr.h, version 2),
 * as far as
 * @header has them. Errors: UNSUPPORTED for a user or group that has only a name, or an ACL that is not POSIX.1e. */
gboolean gp_unpack_add_acls(struct archive_entry *header, GpEntry *entry, GError **error);
