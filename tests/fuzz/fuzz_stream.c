/* FUZZ_LIBS: unpack storage base
 * The glue around the decompressors: the first byte chooses one (gzip, zstd, none) and how the rest reaches it: at
 * once, or in pieces through a pipe. Either way the same bytes, the same digest or the same refusal must come out. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/worker_stream.h"

#define PIECE 7

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

typedef struct {
    const guint8 *data;
    gsize size;
    int fd;
} Pieces;

static gpointer write_pieces(gpointer data)
{
    Pieces *pieces = data;
    for (gsize at = 0; at < pieces->size; at += PIECE)
        if (!gp_write_all(pieces->fd, pieces->data + at, MIN(PIECE, pieces->size - at), NULL))
            break;
    gp_close_fd(&pieces->fd);
    return NULL;
}

static char *outcome(int fd, GpCompression compression)
{
    g_autoptr(GpUnpackStream) stream = gp_unpack_stream_new(fd, compression);
    g_autoptr(GError) error = NULL;
    gsize length = 1;
    guint64 told = 0, bytes = 0;
    while (length > 0) {
        const guint8 *out;
        if (!gp_unpack_stream_next(stream, &out, &length, &error)) {
            g_assert_true(gp_error_code(error) == GP_ERROR_INVALID || gp_error_code(error) == GP_ERROR_LIMIT);
            return g_strdup(error->message);
        }
        bytes += length;
    }
    GpDigest digest;
    gp_unpack_stream_finish(stream, &digest, &told);
    g_assert_cmpuint(told, ==, bytes);
    return gp_digest_to_string(&digest);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    if (size < 1)
        return 0;
    GpCompression compression = (GpCompression) (GP_COMPRESSION_NONE + data[0] % 3);
    gboolean slow = (data[0] & 0x80) != 0 && size < 600;
    data++;
    size--;
    GP_AUTOFD int whole = memfd_create("blob", MFD_CLOEXEC);
    g_assert_true(whole >= 0 && gp_write_all(whole, data, size, NULL) && lseek(whole, 0, SEEK_SET) == 0);
    g_autofree char *at_once = outcome(whole, compression);
    if (!slow)
        return 0;
    (void) signal(SIGPIPE, SIG_IGN); /* a refusal leaves the rest of the pieces unread */
    int ends[2];
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    Pieces pieces = {data, size, ends[1]};
    GP_AUTOFD int reading = ends[0];
    GThread *writer = g_thread_new("pieces", write_pieces, &pieces);
    g_autofree char *in_pieces = outcome(reading, compression);
    gp_close_fd(&reading);
    g_thread_join(writer);
    /* What is wrong first may depend on what is there to be looked at; that something is, may not. */
    g_assert_cmpint(g_str_has_prefix(at_once, "layer: "), ==, g_str_has_prefix(in_pieces, "layer: "));
    if (!g_str_has_prefix(at_once, "layer: "))
        g_assert_cmpstr(at_once, ==, in_pieces);
    return 0;
}
