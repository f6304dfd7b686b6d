/* The puller's side of the memory that an unpack worker shares with it (GP_UNPACK_SHARED in storage/entry.h): content
 * need not go through a pipe. The worker may write there at any time, so every piece is copied, once, before anything
 * looks at it. The memory is sealed at its size, and of it the puller maps only the page with the count, which it
 * writes and never believes: nothing that the worker does to it can harm the reader. */
#pragma once

#include <glib.h>

typedef struct _GpSharedMemory GpSharedMemory;

/* Errors: INTERNAL, SPACE. */
GpSharedMemory *gp_shared_memory_new(GError **error);
void gp_shared_memory_free(GpSharedMemory *shared);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSharedMemory, gp_shared_memory_free)

/* What the worker needs a copy of; stays @shared's. */
int gp_shared_memory_fd(const GpSharedMemory *shared);

/* The @length bytes at @at as they are now; the worker, who is told, may fill that place again. Valid until the next
 * call. Errors: SANDBOX (not within the memory), INTERNAL. */
const guint8 *gp_shared_memory_take(GpSharedMemory *shared, guint64 at, guint64 length, GError **error);
