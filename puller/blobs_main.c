/* guest-pull-blobs DIRECTORY DIGEST SIZE: reads one blob of a directory that the host shares (blobs_protocol.h). What
 * the host can do to whoever reads there, it does to this process: it can be killed, and the puller goes on. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/limits.h"
#include "puller/blobs_file.h"
#include "puller/blobs_protocol.h"
#include "puller/blobs_sandbox.h"

static int tell(guint32 type, const char *reason)
{
    gsize length = reason ? MIN(strlen(reason), GP_BLOBS_REASON_MAX) : 0;
    return gp_frame_write(GP_BLOBS_REPLY_FD, type, reason, length, NULL) ? 0 : 1;
}

static int refuse(const GError *error)
{
    gboolean absent = g_error_matches(error, GP_ERROR, GP_ERROR_NOT_FOUND);
    return tell(absent ? GP_BLOBS_ABSENT : GP_BLOBS_REFUSED, absent ? NULL : error->message);
}

/* FALSE: nobody reads any more. */
static gboolean deliver(const guint8 *bytes, gsize length)
{
    while (length > 0) {
        ssize_t sent = write(GP_BLOBS_BODY_FD, bytes, length);
        if (sent < 0 && errno != EINTR)
            return FALSE;
        bytes += MAX(sent, 0);
        length -= (gsize) MAX(sent, 0);
    }
    return TRUE;
}

/* The errno of what went wrong, or 0; a file that ends too early is for whoever counts the bytes. Copied, not spliced:
 * the pages of a shared file could still be changed by the host when they lie in a pipe. */
static int copy(int fd, guint64 size)
{
    static guint8 buffer[256 * 1024];
    while (size > 0) {
        ssize_t got = read(fd, buffer, (gsize) MIN(size, sizeof buffer));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0 || !deliver(buffer, (gsize) got))
            return 0;
        size -= (guint64) got;
    }
    return 0;
}

static int run(const char *directory, const GpDigest *digest, guint64 size)
{
    g_autoptr(GError) error = NULL;
    GP_AUTOFD int fd = gp_blobs_file_open(directory, digest, size, &error);
    if (fd < 0 || !gp_blobs_worker_confine(&error))
        return refuse(error);
    int status = tell(GP_BLOBS_READY, NULL);
    int err = status == 0 ? copy(fd, size) : 0;
    if (err == 0)
        return status;
    /* Not strerror(): it looks for translations, and opening files is over. */
    g_autofree char *reason = g_strconcat("reading the blob: ", strerrordesc_np(err), NULL);
    return tell(GP_BLOBS_REFUSED, reason);
}

int main(int argc, char **argv)
{
    GpDigest digest;
    guint64 size;
    (void) signal(SIGPIPE, SIG_IGN);
    if (argc != 4 || !gp_digest_parse(argv[2], &digest, NULL) ||
        !g_ascii_string_to_unsigned(argv[3], 10, 0, GP_LIMIT_BLOB, &size, NULL)) {
        static const char usage[] = "usage: guest-pull-blobs DIRECTORY DIGEST SIZE, started by guest-pull\n";
        (void) !write(STDERR_FILENO, usage, sizeof usage - 1);
        return 2;
    }
    /* Exit handlers, leak checkers among them, would need more than the sandbox leaves. */
    _exit(run(argv[1], &digest, size));
}
