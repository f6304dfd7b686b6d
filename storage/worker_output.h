/* The unpack worker's side of the frame stream: small frames are gathered, big payloads go out without a copy. */
#pragma once

#include <glib.h>

#include "storage/entry.h"

typedef struct _GpUnpackOutput GpUnpackOutput;

/* Writes to @fd, which stays the caller's. */
GpUnpackOutput *gp_unpack_output_new(int fd);
void gp_unpack_output_free(GpUnpackOutput *output);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpUnpackOutput, gp_unpack_output_free)

/* Big pieces of content stay in the memory @fd (GP_SHARED_SIZE and the count's page), which is the caller's; see
 * GP_UNPACK_SHARED. It is mapped as long as @output lives. Errors: INTERNAL. */
gboolean gp_unpack_output_share(GpUnpackOutput *output, int fd, GError **error);

/* Points *@slot at the next GP_SHARED_SLOT bytes of the shared memory, once the puller has taken all that was said to
 * be there; what was there is then gone. NULL if nothing is shared. Errors: INTERNAL. */
gboolean gp_unpack_output_slot(GpUnpackOutput *output, guint8 **slot, GError **error);

/* One frame. Errors: INTERNAL (the reader is gone). */
gboolean gp_unpack_output_frame(
    GpUnpackOutput *output, GpUnpackFrame type, const void *data, gsize length, GError **error);

/* Content of the last entry from byte @offset on, as DATA frames of at most GP_LIMIT_FRAME_DATA, or as a SHARED one if
 * it is big and lies in the last slot. Errors: INTERNAL. */
gboolean gp_unpack_output_data(
    GpUnpackOutput *output, guint64 offset, const guint8 *data, gsize length, GError **error);

/* Sends what was gathered. Errors: INTERNAL. */
gboolean gp_unpack_output_flush(GpUnpackOutput *output, GError **error);
