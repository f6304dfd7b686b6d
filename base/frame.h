/* Frames: how a worker and the puller talk over a byte stream. A frame is u32 little-endian type, u32 little-endian
 * payload length, payload. The reader is the side that distrusts: it has a hard ceiling, and anything odd ends the
 * conversation. */
#pragma once

#include <glib.h>

typedef struct _GpFrameReader GpFrameReader;

/* Reads frames from @fd (borrowed, blocking) whose payloads are at most @max_payload bytes. */
GpFrameReader *gp_frame_reader_new(int fd, gsize max_payload);

/* The next frame. @payload points into the reader's buffer and is valid until the next call. A clean end between two
 * frames returns TRUE with *@type == 0 (no frame has that type). Errors: SANDBOX for an oversized, half or untyped
 * frame (the worker broke the protocol), INTERNAL for a failed read. */
gboolean gp_frame_reader_next(
    GpFrameReader *reader, guint32 *type, const guint8 **payload, gsize *length, GError **error);
void gp_frame_reader_free(GpFrameReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpFrameReader, gp_frame_reader_free)

/* Writes one frame completely. @length at most G_MAXUINT32, @type not 0. Errors: INTERNAL (EPIPE too: the reader is
 * gone). */
gboolean gp_frame_write(int fd, guint32 type, const void *payload, gsize length, GError **error);

/* The same of at most PIPE_BUF bytes, header included, into a non-blocking pipe: all of it at once, or FALSE and
 * nothing. */
gboolean gp_frame_write_whole(int fd, guint32 type, const void *payload, gsize length);
