/* guest-pull-unpack gzip|zstd|none: compressed layer on descriptor 3, frames on descriptor 4 (storage/entry.h); if
 * descriptor 5 is open, it is the memory that content may stay in. It opens nothing and knows nothing; what it says is
 * believed only as far as the puller can check it. */
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "storage/worker_output.h"
#include "storage/worker_sandbox.h"
#include "storage/worker_stream.h"
#include "storage/worker_tar.h"

#define INPUT_FD 3
#define OUTPUT_FD 4
#define MEMORY_FD 5

static int complain(const char *what)
{
    static const char name[] = "guest-pull-unpack: ";
    (void) !write(STDERR_FILENO, name, sizeof name - 1);
    (void) !write(STDERR_FILENO, what, strlen(what));
    (void) !write(STDERR_FILENO, "\n", 1);
    return 1;
}

/* Tells the puller why the archive is refused: 0 if that worked. Our own failures are no message but a bad end. */
static int report(GpUnpackOutput *output, const GError *failure)
{
    GpErrorCode code = gp_error_code(failure);
    if (code != GP_ERROR_INVALID && code != GP_ERROR_LIMIT && code != GP_ERROR_UNSUPPORTED)
        return complain(failure->message);
    g_autofree char *message = gp_escape(failure->message, -1, 1024);
    g_autoptr(json_t) object = json_pack("{ss ss}", "code", gp_error_info(code)->name, "message", message);
    g_autofree char *text = object ? gp_json_to_text(object, FALSE) : NULL;
    gboolean sent = text && gp_unpack_output_frame(output, GP_UNPACK_ERROR, text, strlen(text), NULL) &&
                    gp_unpack_output_flush(output, NULL);
    return sent ? 0 : 1;
}

static int run(GpCompression compression)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpUnpackStream) stream = gp_unpack_stream_new(INPUT_FD, compression);
    g_autoptr(GpUnpackOutput) output = gp_unpack_output_new(OUTPUT_FD);
    gboolean shared = fcntl(MEMORY_FD, F_GETFD) >= 0;
    if (shared && !gp_unpack_output_share(output, MEMORY_FD, &error))
        return complain(error->message);
    if (shared)
        (void) close(MEMORY_FD); /* it is mapped */
    gp_unpack_tar_prepare();
    json_object_seed(0); /* opens /dev/urandom, which jansson would otherwise do with its first object */
    if (!gp_unpack_worker_confine(&error))
        return complain(error->message);
    if (!gp_unpack_output_frame(output, GP_UNPACK_READY, NULL, 0, &error) || !gp_unpack_output_flush(output, &error))
        return complain(error->message);
    return gp_unpack_tar(stream, output, &error) ? 0 : report(output, error);
}

int main(int argc, char **argv)
{
    GpCompression compression;
    if (argc != 2 || !gp_compression_from_name(argv[1], &compression)) {
        (void) complain("usage: guest-pull-unpack gzip|zstd|none, started by guest-pull");
        return 2;
    }
    int status = run(compression);
    /* Exit handlers, leak checkers among them, would need more than the sandbox leaves. */
    _exit(status);
}
