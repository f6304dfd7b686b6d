/* A blob of a directory that the host shares, read by guest-pull-blobs: the puller's end. Whatever the host does there,
 * the puller only ever reads pipes, and stops when it wants to. Nothing is checked but the size; the reader hashes. */
#pragma once

#include <glib.h>

#include "base/digest.h"

typedef struct _GpSharedBlob GpSharedBlob;

/* Starts a worker that opens the blob @digest of @directory, and waits until it has. The thread that calls this must
 * live until gp_shared_blob_free(): its death is the worker's. Errors: NOT_FOUND, INVALID (what is there is refused),
 * NETWORK (no answer within GP_LIMIT_SHARED_STALL seconds), SANDBOX, CANCELLED. */
GpSharedBlob *gp_shared_blob_open(const char *directory, const GpDigest *digest, guint64 size, GError **error);

int gp_shared_blob_fd(const GpSharedBlob *blob); /* pipe to read to its end; borrowed */

/* After the end of the pipe: TRUE if all of it came. Errors: INVALID, NETWORK (it came too slowly), SANDBOX,
 * CANCELLED. */
gboolean gp_shared_blob_finish(GpSharedBlob *blob, GError **error);

/* Ends the worker. One that hangs in a call that the host does not answer is left to the kernel, which lets go of it
 * when it can. */
void gp_shared_blob_free(GpSharedBlob *blob);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSharedBlob, gp_shared_blob_free)
