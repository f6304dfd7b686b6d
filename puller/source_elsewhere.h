/* The places of a source's blobs, numbered: the directories, the source itself, the other locations. Included by
 * puller/source*.c only. */
#pragma once

#include "puller/source.h"

/* The directory or the other location that @place is; NULL if it is none. */
const char *gp_source_place_directory(const GpSource *source, guint place);
const GpLocation *gp_source_place_location(const GpSource *source, guint place);

/* Opens blobs/<algorithm>/<hex> of a directory that the host shares: an OCI layout, or containerd's content store. No
 * symbolic link is followed, no mount below it is entered; what is no regular file of @size bytes is refused unread.
 * Errors: NOT_FOUND, INVALID, INTERNAL. */
int gp_blob_directory_open(const char *directory, const GpDigest *digest, guint64 size, GError **error);
