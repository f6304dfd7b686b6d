#include "base/frame.h"

#include <errno.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

#define HEADER_SIZE 8

struct _GpFrameReader {
    int fd;
    gsize max_payload;
    guint8 *buffer;
    gsize capacity;
    gsize start; /* first unread byte */
    gsize end;   /* behind the last byte read */
};

GpFrameReader *gp_frame_reader_new(int fd, gsize max_payload)
{
    GpFrameReader *reader = g_new0(GpFrameReader, 1);
    reader->fd = fd;
    reader->max_payload = max_payload;
    /* Twice the largest frame: small frames are read many at a time, and moving the rest to the front stays rare. */
    reader->capacity = 2 * (max_payload + HEADER_SIZE);
    reader->buffer = g_malloc(reader->capacity);
    return reader;
}

void gp_frame_reader_free(GpFrameReader *reader)
{
    if (!reader)
        return;
    g_free(reader->buffer);
    g_free(reader);
}

/* Makes @need bytes available behind start; *@eof when the stream ended before. */
static gboolean fill(GpFrameReader *reader, gsize need, gboolean *eof, GError **error)
{
    *eof = FALSE;
    if (reader->end - reader->start >= need)
        return TRUE;
    if (reader->start + need > reader->capacity) {
        memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    while (reader->end - reader->start < need) {
        ssize_t got = read(reader->fd, reader->buffer + reader->end, reader->capacity - reader->end);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            gp_set_errno(error, errno, "reading from a worker");
            return FALSE;
        }
        if (got == 0) {
            *eof = TRUE;
            return TRUE;
        }
        reader->end += (gsize) got;
    }
    return TRUE;
}

static guint32 get_u32(const guint8 *p)
{
    return (guint32) p[0] | (guint32) p[1] << 8 | (guint32) p[2] << 16 | (guint32) p[3] << 24;
}

gboolean gp_frame_reader_next(
    GpFrameReader *reader, guint32 *type, const guint8 **payload, gsize *length, GError **error)
{
    gboolean eof;
    *type = 0;
    *payload = NULL;
    *length = 0;
    if (reader->start == reader->end)
        reader->start = reader->end = 0;
    if (!fill(reader, HEADER_SIZE, &eof, error))
        return FALSE;
    if (eof) {
        if (reader->start == reader->end)
            return TRUE;
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "a worker's answer ends inside a frame header");
        return FALSE;
    }
    guint32 frame_type = get_u32(reader->buffer + reader->start);
    guint32 size = get_u32(reader->buffer + reader->start + 4);
    if (frame_type == 0 || size > reader->max_payload) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_SANDBOX, "a worker sent a frame of type %u with %u bytes", frame_type, size);
        return FALSE;
    }
    if (!fill(reader, HEADER_SIZE + size, &eof, error))
        return FALSE;
    if (eof) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "a worker's answer ends inside a frame");
        return FALSE;
    }
    *type = frame_type;
    *payload = reader->buffer + reader->start + HEADER_SIZE;
    *length = size;
    reader->start += HEADER_SIZE + size;
    return TRUE;
}

static void put_u32(guint8 *p, guint32 value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (guint8) (value >> (8 * i));
}

gboolean gp_frame_write(int fd, guint32 type, const void *payload, gsize length, GError **error)
{
    g_return_val_if_fail(type != 0 && length <= G_MAXUINT32, FALSE);
    guint8 header[HEADER_SIZE];
    put_u32(header, type);
    put_u32(header + 4, (guint32) length);

    struct iovec parts[2] = {{header, HEADER_SIZE}, {(void *) (guintptr) payload, length}};
    gsize done = 0, total = HEADER_SIZE + length;
    ssize_t sent;
    do
        sent = writev(fd, parts, length ? 2 : 1);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN) {
        gp_set_errno(error, errno, "writing a frame");
        return FALSE;
    }
    done = sent > 0 ? (gsize) sent : 0;
    if (done == total)
        return TRUE;
    if (done < HEADER_SIZE) {
        if (!gp_write_all(fd, header + done, HEADER_SIZE - done, error))
            return FALSE;
        done = HEADER_SIZE;
    }
    return gp_write_all(fd, (const guint8 *) payload + (done - HEADER_SIZE), total - done, error);
}

gboolean gp_frame_write_whole(int fd, guint32 type, const void *payload, gsize length)
{
    g_return_val_if_fail(type != 0 && length <= PIPE_BUF - HEADER_SIZE, FALSE);
    guint8 frame[PIPE_BUF];
    put_u32(frame, type);
    put_u32(frame + 4, (guint32) length);
    memcpy(frame + HEADER_SIZE, payload, length);
    ssize_t sent;
    do
        sent = write(fd, frame, HEADER_SIZE + length);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t) (HEADER_SIZE + length);
}
