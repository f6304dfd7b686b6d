#include "storage/worker_stream.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/error.h"
#include "base/limits.h"

/* One DATA frame's worth: stays in the second-level cache between decompression, hashing and the pipe. */
#define OUTPUT_SIZE GP_UNPACK_PIECE
#define INPUT_SIZE OUTPUT_SIZE
/* Every image tool's ceiling for --long is 27; the sandbox's memory is sized by it. */
#define ZSTD_WINDOW_LOG 27
/* Tiny blobs of mostly padding may compress well beyond any ratio that matters. */
#define RATIO_FREE_BYTES (64 * GP_MIB)

struct _GpUnpackStream {
    int fd;
    GpCompression compression;
    guint8 *input;
    gsize input_at, input_end;
    gboolean input_over;
    guint64 bytes_in, bytes_out;
    guint8 *output; /* where the next piece goes: */
    guint8 *own;    /* NULL once others are given */
    gboolean over;
    GpHasher *hasher;
    gboolean (*waiting)(gpointer data, GError **error); /* NULL: nobody wants to know */
    gpointer waiting_data;
    struct inflate_state *inflate;
    gboolean in_member; /* between a gzip member's first byte and its checksum, or inside a zstd frame */
    guint64 members;
    ZSTD_DCtx *zstd;
};

gboolean gp_compression_from_name(const char *name, GpCompression *compression)
{
    static const char *const names[] = {"none", "gzip", "zstd"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_strcmp0(name, names[i]) == 0) {
            *compression = (GpCompression) (GP_COMPRESSION_NONE + i);
            return TRUE;
        }
    return FALSE;
}

GpUnpackStream *gp_unpack_stream_new(int fd, GpCompression compression)
{
    GpUnpackStream *stream = g_new0(GpUnpackStream, 1);
    stream->fd = fd;
    stream->compression = compression;
    stream->input = g_malloc(INPUT_SIZE);
    stream->output = stream->own = g_malloc(OUTPUT_SIZE);
    stream->hasher = gp_hasher_new(GP_DIGEST_SHA256);
    if (compression == GP_COMPRESSION_GZIP)
        stream->inflate = g_new0(struct inflate_state, 1);
    if (compression == GP_COMPRESSION_ZSTD) {
        stream->zstd = ZSTD_createDCtx();
        if (!stream->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(stream->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
            g_error("zstd: no decompression context");
    }
    return stream;
}

void gp_unpack_stream_free(GpUnpackStream *stream)
{
    if (!stream)
        return;
    g_free(stream->input);
    g_free(stream->own);
    g_free(stream->inflate);
    ZSTD_freeDCtx(stream->zstd);
    gp_hasher_free(stream->hasher);
    g_free(stream);
}

void gp_unpack_stream_on_wait(GpUnpackStream *stream, gboolean (*waiting)(gpointer data, GError **error), gpointer data)
{
    stream->waiting = waiting;
    stream->waiting_data = data;
}

/* Reads on when all input is used up; sets input_over at the end of the blob. */
static gboolean more_input(GpUnpackStream *stream, GError **error)
{
    if (stream->input_at < stream->input_end || stream->input_over)
        return TRUE;
    if (stream->waiting && !stream->waiting(stream->waiting_data, error))
        return FALSE;
    ssize_t got;
    do
        got = read(stream->fd, stream->input, INPUT_SIZE);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        gp_set_errno(error, errno, "reading the layer");
        return FALSE;
    }
    stream->input_at = 0;
    stream->input_end = (gsize) got;
    stream->bytes_in += (guint64) got;
    stream->input_over = got == 0;
    return TRUE;
}

static gboolean invalid(const char *text, GError **error)
{
    g_set_error_literal(error, GP_ERROR, GP_ERROR_INVALID, text);
    return FALSE;
}

/* Between members: what follows is another member, zero padding up to the end (as gzip(1) allows), or the end. */
static gboolean start_member(GpUnpackStream *stream, GError **error)
{
    gboolean padding = FALSE;
    for (;;) {
        if (!more_input(stream, error))
            return FALSE;
        if (stream->input_over) {
            stream->over = TRUE;
            return stream->members > 0 ? TRUE : invalid("layer: not gzip: it is empty", error);
        }
        if (stream->members == 0 || stream->input[stream->input_at] != 0)
            break;
        padding = TRUE;
        stream->input_at++;
    }
    if (padding || stream->input[stream->input_at] != 0x1f)
        return invalid(stream->members ? "layer: garbage behind the last gzip member" : "layer: not gzip", error);
    isal_inflate_init(stream->inflate);
    stream->inflate->crc_flag = ISAL_GZIP;
    stream->in_member = TRUE;
    stream->members++;
    return TRUE;
}

static const char *inflate_problem(int status)
{
    switch (status) {
    case ISAL_INCORRECT_CHECKSUM:
        return "layer: gzip: wrong checksum or length";
    case ISAL_INVALID_WRAPPER:
    case ISAL_UNSUPPORTED_METHOD:
        return "layer: gzip: malformed member header";
    default:
        return "layer: gzip: malformed deflate data";
    }
}

static gboolean produce_gzip(GpUnpackStream *stream, gsize *produced, GError **error)
{
    struct inflate_state *state = stream->inflate;
    *produced = 0;
    while (*produced < OUTPUT_SIZE) {
        if (!stream->in_member && !start_member(stream, error))
            return FALSE;
        if (stream->over)
            return TRUE;
        if (!more_input(stream, error))
            return FALSE;
        state->next_in = stream->input + stream->input_at;
        state->avail_in = (uint32_t) (stream->input_end - stream->input_at);
        state->next_out = stream->output + *produced;
        state->avail_out = (uint32_t) (OUTPUT_SIZE - *produced);
        int status = isal_inflate(state);
        if (status < 0 || status == ISAL_NEED_DICT)
            return invalid(inflate_problem(status), error);
        gsize got = OUTPUT_SIZE - *produced - state->avail_out;
        *produced += got;
        stream->input_at = stream->input_end - state->avail_in;
        if (state->block_state == ISAL_BLOCK_FINISH)
            stream->in_member = FALSE;
        else if (stream->input_over && got == 0)
            return invalid("layer: gzip: the stream is truncated", error);
    }
    return TRUE;
}

static gboolean zstd_problem(size_t status, GError **error)
{
    gboolean window = ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge;
    g_set_error(
        error, GP_ERROR, window ? GP_ERROR_LIMIT : GP_ERROR_INVALID, "layer: zstd: %s", ZSTD_getErrorName(status));
    return FALSE;
}

static gboolean produce_zstd(GpUnpackStream *stream, gsize *produced, GError **error)
{
    ZSTD_outBuffer out = {stream->output, OUTPUT_SIZE, 0};
    while (out.pos < OUTPUT_SIZE) {
        if (!more_input(stream, error))
            return FALSE;
        if (stream->input_over && !stream->in_member) {
            stream->over = TRUE;
            if (stream->members == 0)
                return invalid("layer: not zstd: it is empty", error);
            break;
        }
        ZSTD_inBuffer in = {stream->input, stream->input_end, stream->input_at};
        gsize before = out.pos;
        size_t status = ZSTD_decompressStream(stream->zstd, &out, &in);
        if (ZSTD_isError(status))
            return zstd_problem(status, error);
        stream->members = 1;
        stream->in_member = status != 0;
        stream->input_at = in.pos;
        if (stream->input_over && stream->in_member && out.pos == before)
            return invalid("layer: zstd: the stream is truncated", error);
    }
    *produced = out.pos;
    return TRUE;
}

static gboolean produce_plain(GpUnpackStream *stream, gsize *produced, GError **error)
{
    if (!more_input(stream, error))
        return FALSE;
    stream->over = stream->input_over;
    *produced = stream->input_end; /* one buffer in is one buffer out */
    memcpy(stream->output, stream->input, *produced);
    stream->input_at = stream->input_end;
    return TRUE;
}

static gboolean check_ceilings(const GpUnpackStream *stream, GError **error)
{
    if (stream->bytes_out > GP_LIMIT_LAYER_BYTES) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "layer: more than %" G_GUINT64_FORMAT " bytes uncompressed",
            (guint64) GP_LIMIT_LAYER_BYTES);
        return FALSE;
    }
    if (stream->bytes_out > RATIO_FREE_BYTES && stream->bytes_out / GP_LIMIT_LAYER_RATIO > stream->bytes_in) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "layer: a decompression bomb: more than %d bytes out of each byte of the blob", GP_LIMIT_LAYER_RATIO);
        return FALSE;
    }
    return TRUE;
}

void gp_unpack_stream_into(GpUnpackStream *stream, guint8 *buffer)
{
    g_clear_pointer(&stream->own, g_free);
    stream->output = buffer;
}

gboolean gp_unpack_stream_next(GpUnpackStream *stream, const guint8 **data, gsize *length, GError **error)
{
    gsize produced = 0;
    gboolean ok = TRUE;
    *length = 0;
    if (stream->over)
        return TRUE;
    switch (stream->compression) {
    case GP_COMPRESSION_NONE:
        ok = produce_plain(stream, &produced, error);
        break;
    case GP_COMPRESSION_GZIP:
        ok = produce_gzip(stream, &produced, error);
        break;
    case GP_COMPRESSION_ZSTD:
        ok = produce_zstd(stream, &produced, error);
        break;
    }
    stream->bytes_out += produced;
    if (!ok || !check_ceilings(stream, error))
        return FALSE;
    gp_hasher_update(stream->hasher, stream->output, produced);
    *data = stream->output;
    *length = produced;
    return TRUE;
}

void gp_unpack_stream_finish(GpUnpackStream *stream, GpDigest *diff_id, guint64 *bytes)
{
    gp_hasher_finish(stream->hasher, diff_id);
    *bytes = stream->bytes_out;
}
