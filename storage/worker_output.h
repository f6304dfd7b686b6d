/* The unpack worker's side of the frame stream: small frames are gathered, big payloads go out without a copy. */
#pragma once

#include <glib.h>

#include "storage/entry.h"

typedef struct _GpUnpackOutput GpUnpackOutput;

/* Writes to @fd, which stays the caller's. */
GpUnpackOutput *gp_unpack_output_new(int fd);
void gp_unpack_output_free(GpUnpackOutput *output);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpUnpackOutput, gp_unpack_output_free)

/* One frame. Errors: INTERNAL (the reader is gone). */
gboolean gp_unpack_output_frame(
    GpUnpackOutput *output, GpUnpackFrame type, const void *data, gsize length, GError **error);

/* Content of the last entry from byte @offset on, as DATA frames of at most GP_LIMIT_FRAME_DATA. Errors: INTERNAL. */
gboolean gp_unpack_output_data(
    GpUnpackOutput *output, guint64 offset, const guint8 *data, gsize length, GError **error);

/* Sends what was gathered. Errors: INTERNAL. */
gboolean gp_unpack_output_flush(GpUnpackOutput *output, GError **error);
