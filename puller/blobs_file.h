/* One blob of a directory that the host shares: an OCI layout, or containerd's content store. */
#pragma once

#include <glib.h>

#include "base/digest.h"

/* Opens blobs/<algorithm>/<hex> below @directory for reading. No symbolic link is followed, no mount below it is
 * entered; what is no regular file of @size bytes is refused unread. Errors: NOT_FOUND, INVALID, INTERNAL. */
int gp_blobs_file_open(const char *directory, const GpDigest *digest, guint64 size, GError **error);
