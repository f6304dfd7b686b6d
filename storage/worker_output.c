#include "storage/worker_output.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

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
    guint8 *memory; /* shared; NULL: nothing is */
    GpSharedCount *count;
    guint slot;
    guint32 told;                    /* SHARED frames, modulo 2^32 as the count */
    guint32 needed[GP_SHARED_SLOTS]; /* of them must be taken until a slot is free */
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
    if (output && output->memory)
        (void) munmap(output->memory, GP_SHARED_SIZE + GP_SHARED_COUNT_SIZE);
    g_free(output);
}

gboolean gp_unpack_output_share(GpUnpackOutput *output, int fd, GError **error)
{
    gsize size = GP_SHARED_SIZE + GP_SHARED_COUNT_SIZE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        gp_set_errno(error, errno, "the shared memory");
        return FALSE;
    }
    output->memory = memory;
    output->count = (GpSharedCount *) (void *) (output->memory + GP_SHARED_SIZE);
    output->slot = GP_SHARED_SLOTS - 1;
    return TRUE;
}

/* How many SHARED frames about the current slot the puller has still to take; *@taken as the count stands. */
static gint32 owed(const GpUnpackOutput *output, guint32 *taken)
{
    *taken = __atomic_load_n(&output->count->taken, __ATOMIC_SEQ_CST);
    return (gint32) (output->needed[output->slot] - *taken);
}

static gboolean await_slot(GpUnpackOutput *output, GError **error)
{
    guint32 taken;
    if (owed(output, &taken) <= 0)
        return TRUE;
    /* The puller cannot take what it was not told yet. */
    if (!gp_unpack_output_flush(output, error))
        return FALSE;
    __atomic_store_n(&output->count->waiting, 1, __ATOMIC_SEQ_CST);
    while (owed(output, &taken) > 0)
        (void) syscall(SYS_futex, &output->count->taken, FUTEX_WAIT, taken, NULL, NULL, 0);
    __atomic_store_n(&output->count->waiting, 0, __ATOMIC_SEQ_CST);
    return TRUE;
}

gboolean gp_unpack_output_slot(GpUnpackOutput *output, guint8 **slot, GError **error)
{
    *slot = NULL;
    if (!output->memory)
        return TRUE;
    output->slot = (output->slot + 1) % GP_SHARED_SLOTS;
    *slot = output->memory + (gsize) output->slot * GP_SHARED_SLOT;
    return await_slot(output, error);
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

/* Where @data lies in the shared memory; FALSE if it does not, or is so small that a copy costs less. */
static gboolean is_shared(const GpUnpackOutput *output, const guint8 *data, gsize length, gsize *at)
{
    if (!output->memory || length < DIRECT || data < output->memory || data >= output->memory + GP_SHARED_SIZE)
        return FALSE;
    *at = (gsize) (data - output->memory);
    return *at / GP_SHARED_SLOT == output->slot;
}

static gboolean tell_shared(GpUnpackOutput *output, guint64 offset, gsize at, gsize length, GError **error)
{
    if (output->used + FRAME_HEADER + 2 * OFFSET_SIZE > GATHERED && !gp_unpack_output_flush(output, error))
        return FALSE;
    gather_integer(output, GP_UNPACK_SHARED, 4);
    gather_integer(output, 2 * OFFSET_SIZE, 4);
    gather_integer(output, offset, OFFSET_SIZE);
    gather_integer(output, at, 4);
    gather_integer(output, length, 4);
    output->needed[output->slot] = ++output->told;
    return TRUE;
}

gboolean gp_unpack_output_data(GpUnpackOutput *output, guint64 offset, const guint8 *data, gsize length, GError **error)
{
    gsize at;
    if (is_shared(output, data, length, &at))
        return tell_shared(output, offset, at, length, error);
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
