#include "storage/worker_output.h"

#include <errno.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"

#define FRAME_HEADER 8
#define OFFSET_SIZE 8
/* Small files reach the puller many in one write; from DIRECT bytes on copying costs more than a system call. */
#define GATHERED (64 * 1024)
#define DIRECT (16 * 1024)

struct _GpUnpackOutput {
    int fd;
    gsize used;
    guint8 gathered[GATHERED];
};

GpUnpackOutput *gp_unpack_output_new(int fd)
{
    GpUnpackOutput *output = g_new0(GpUnpackOutput, 1);
    output->fd = fd;
    return output;
}

void gp_unpack_output_free(GpUnpackOutput *output)
{
    g_free(output);
}

gboolean gp_unpack_output_flush(GpUnpackOutput *output, GError **error)
{
    gsize used = output->used;
    output->used = 0;
    return gp_write_all(output->fd, output->gathered, used, error);
}

/* Sends what was gathered and @data in one go. */
static gboolean send_behind(GpUnpackOutput *output, const void *data, gsize length, GError **error)
{
    struct iovec parts[2] = {{output->gathered, output->used}, {(void *) (guintptr) data, length}};
    ssize_t sent;
    do
        sent = writev(output->fd, parts, 2);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        gp_set_errno(error, errno, "writing frames");
        return FALSE;
    }
    gsize done = (gsize) sent, used = output->used;
    output->used = 0;
    if (done < used) {
        if (!gp_write_all(output->fd, output->gathered + done, used - done, error))
            return FALSE;
        done = used;
    }
    return gp_write_all(output->fd, (const guint8 *) data + (done - used), length - (done - used), error);
}

static void gather(GpUnpackOutput *output, const void *data, gsize length)
{
    if (length)
        memcpy(output->gathered + output->used, data, length);
    output->used += length;
}

static void gather_integer(GpUnpackOutput *output, guint64 value, guint size)
{
    for (guint i = 0; i < size; i++)
        output->gathered[output->used++] = (guint8) (value >> (8 * i));
}

static gboolean payload(GpUnpackOutput *output, const void *data, gsize length, GError **error)
{
    if (length >= DIRECT || output->used + length > GATHERED)
        return send_behind(output, data, length, error);
    gather(output, data, length);
    return TRUE;
}

gboolean gp_unpack_output_frame(
    GpUnpackOutput *output, GpUnpackFrame type, const void *data, gsize length, GError **error)
{
    if (output->used + FRAME_HEADER > GATHERED && !gp_unpack_output_flush(output, error))
        return FALSE;
    gather_integer(output, type, 4);
    gather_integer(output, length, 4);
    return payload(output, data, length, error);
}

gboolean gp_unpack_output_data(GpUnpackOutput *output, guint64 offset, const guint8 *data, gsize length, GError **error)
{
    while (length > 0) {
        gsize part = MIN(length, GP_LIMIT_FRAME_DATA - OFFSET_SIZE);
        if (output->used + FRAME_HEADER + OFFSET_SIZE > GATHERED && !gp_unpack_output_flush(output, error))
            return FALSE;
        gather_integer(output, GP_UNPACK_DATA, 4);
        gather_integer(output, part + OFFSET_SIZE, 4);
        gather_integer(output, offset, OFFSET_SIZE);
        if (!payload(output, data, part, error))
            return FALSE;
        data += part;
        offset += part;
        length -= part;
    }
    return TRUE;
}
