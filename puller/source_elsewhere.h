/* The places of a source's blobs, numbered: the directories, the source itself, the other locations, the URLs of a
 * foreign layer. Included by puller/source*.c only. */
#pragma once

#include "puller/shared_blob.h"
#include "puller/source.h"

/* The directory, the other location or the URL that @place is; NULL if it is none. */
const char *gp_source_place_directory(const GpSource *source, guint place);
const GpLocation *gp_source_place_location(const GpSource *source, guint place);
const char *gp_source_place_url(const GpSource *source, guint place, const GpDescriptor *blob);

/* Opens a blob of the directory that @place is. Errors: NOT_FOUND, also from one that stopped answering before;
 * otherwise as gp_shared_blob_open(). */
GpSharedBlob *gp_source_open_shared(
    GpSource *source, guint place, const GpDigest *digest, guint64 size, GError **error);
