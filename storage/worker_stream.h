/* A compressed layer as a stream of uncompressed bytes, hashed on the way (the diffID is the digest of all of them,
 * behind the tar's end too: image-spec config.md, "Layer DiffID") and held to the ceilings against decompression bombs.
 */
#pragma once

#include <glib.h>

#include "base/digest.h"
#include "storage/entry.h"

typedef struct _GpUnpackStream GpUnpackStream;

typedef enum {
    GP_COMPRESSION_NONE = 1,
    GP_COMPRESSION_GZIP, /* RFC 1952, any number of members, zero padding behind them */
    GP_COMPRESSION_ZSTD, /* RFC 8878, any number of frames, skippable ones too, window up to 2^27 */
} GpCompression;

/* "gzip", "zstd" or "none"; FALSE for anything else. */
gboolean gp_compression_from_name(const char *name, GpCompression *compression);

/* Reads from @fd, which stays the caller's. All memory is taken here, so that a sandbox can be entered behind it. */
GpUnpackStream *gp_unpack_stream_new(int fd, GpCompression compression);
void gp_unpack_stream_free(GpUnpackStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpUnpackStream, gp_unpack_stream_free)

/* The largest piece that gp_unpack_stream_next() gives out: what fits into a slot of the shared memory, and with its
 * offset into a DATA frame. */
#define GP_UNPACK_PIECE (GP_SHARED_SLOT - 8)

/* The next piece is written to @buffer, GP_UNPACK_PIECE bytes that stay the caller's, not to the stream's own. */
void gp_unpack_stream_into(GpUnpackStream *stream, guint8 *buffer);

/* Calls @waiting before more of the blob is read, which may take its time: others need not wait for what there is. */
void gp_unpack_stream_on_wait(
    GpUnpackStream *stream, gboolean (*waiting)(gpointer data, GError **error), gpointer data);

/* The next uncompressed bytes, valid until the next call; *@length 0 is the end. Errors: INVALID (malformed, truncated,
 * garbage behind the last member), LIMIT (GP_LIMIT_LAYER_RATIO, GP_LIMIT_LAYER_BYTES, zstd window), INTERNAL (reading).
 */
gboolean gp_unpack_stream_next(GpUnpackStream *stream, const guint8 **data, gsize *length, GError **error);

/* After the end, once: digest and count of the uncompressed bytes. */
void gp_unpack_stream_finish(GpUnpackStream *stream, GpDigest *diff_id, guint64 *bytes);
