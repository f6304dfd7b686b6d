/* FUZZ_LIBS: unpack storage base
 * A whole tar archive through both readers to frames, as the unpack worker does. What comes out must be frames that the
 * puller takes, its entries with the content that they announce, one END and nothing behind it; and what is refused
 * blames the archive. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/worker_output.h"
#include "storage/worker_stream.h"
#include "storage/worker_tar.h"

#define BLOCK 512

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static int memory(const void *data, gsize size)
{
    int fd = memfd_create("tar", MFD_CLOEXEC);
    g_assert_true(fd >= 0 && gp_write_all(fd, data, size, NULL) && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static guint64 little(const guint8 *bytes)
{
    guint64 value = 0;
    for (guint i = 0; i < 8; i++)
        value |= (guint64) bytes[i] << (8 * i);
    return value;
}

static void check_frames(int fd, gboolean complete)
{
    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(fd, MAX(GP_LIMIT_FRAME_DATA, GP_LIMIT_FRAME_ENTRY));
    guint64 at = 0, announced = 0;
    gboolean ended = FALSE;
    for (;;) {
        guint32 type;
        const guint8 *payload;
        gsize length;
        g_autoptr(GError) error = NULL;
        g_assert_true(gp_frame_reader_next(reader, &type, &payload, &length, &error));
        if (type == 0)
            break;
        g_assert_false(ended);
        if (type == GP_UNPACK_ENTRY) {
            g_autoptr(GpEntry) entry = gp_entry_decode(payload, length, &error);
            g_assert_no_error(error);
            announced = entry->size;
            at = 0;
        } else if (type == GP_UNPACK_DATA) {
            guint64 offset = little(payload);
            g_assert_cmpuint(length, >, 8);
            g_assert_cmpuint(offset, >=, at);
            g_assert_cmpuint(offset, <=, announced);
            g_assert_cmpuint(length - 8, <=, announced - offset);
            at = offset + length - 8;
        } else {
            g_assert_cmpuint(type, ==, GP_UNPACK_END);
            ended = TRUE;
        }
    }
    g_assert_true(ended == complete);
}

/* Changed bytes would hardly ever get past the checksums: all of them are made right, but in inputs of an odd length.
 */
static guint8 *with_checksums(const guint8 *data, gsize size)
{
    guint8 *copy = g_malloc(size + 1);
    if (size)
        memcpy(copy, data, size);
    for (gsize at = 0; size % 2 == 0 && at + BLOCK <= size; at += BLOCK) {
        guint8 *block = copy + at;
        guint sum = 0;
        if (memcmp(block + 257, "ustar", 5) != 0)
            continue;
        memset(block + 148, ' ', 8);
        for (gsize i = 0; i < BLOCK; i++)
            sum += block[i];
        (void) g_snprintf((char *) block + 148, 7, "%06o", sum);
    }
    return copy;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree guint8 *archive = with_checksums(data, size);
    GP_AUTOFD int in = memory(archive, size);
    GP_AUTOFD int out = memory("", 0);
    g_autoptr(GpUnpackStream) stream = gp_unpack_stream_new(in, GP_COMPRESSION_NONE);
    g_autoptr(GpUnpackOutput) output = gp_unpack_output_new(out);
    g_autoptr(GError) error = NULL;
    gboolean ok = gp_unpack_tar(stream, output, &error);
    g_assert_true(ok == (error == NULL));
    if (error)
        g_assert_true(gp_error_code(error) == GP_ERROR_INVALID || gp_error_code(error) == GP_ERROR_LIMIT ||
                      gp_error_code(error) == GP_ERROR_UNSUPPORTED);
    g_assert_true(gp_unpack_output_flush(output, NULL) && lseek(out, 0, SEEK_SET) == 0);
    check_frames(out, ok);
    return 0;
}
