#include "puller/shared_blob.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/worker.h"
#include "puller/blobs_protocol.h"
#include "puller/cancel.h"

#define PIPE_SIZE (1024 * 1024)
#define SLICE_MS 50 /* how long a cancelled pull may go unnoticed */

/* A worker in a call that the host never answers cannot even be killed, and holds its end of a pipe open for ever. So
 * the pipe that others read is a second one, into which a thread moves pages from the worker's. */
struct _GpSharedBlob {
    GpWorker *worker;
    char *name; /* the digest's text */
    guint64 size;
    int body, reply; /* from the worker */
    GpFrameReader *frames;
    int out;        /* into the second pipe: the mover's */
    int fd;         /* out of it: the reader's */
    GThread *mover; /* NULL: joined */
    GError *error;  /* the mover's */
};

/* ---- waiting */

static gboolean set_stalled(GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_NETWORK, "the host does not answer: fewer than %d bytes in %d seconds",
        GP_LIMIT_SHARED_STALL * (int) GP_KIB, GP_LIMIT_SHARED_STALL);
    return FALSE;
}

/* Waits a moment for any of @fds. FALSE if the pull is to end. */
static gboolean look(struct pollfd *fds, nfds_t count, GError **error)
{
    if (gp_cancelled(error))
        return FALSE;
    if (poll(fds, count, SLICE_MS) < 0)
        for (nfds_t i = 0; i < count; i++)
            fds[i].revents = 0;
    return TRUE;
}

/* The worker's next frame. */
static gboolean read_frame(const GpSharedBlob *blob, guint32 *type, char **reason, GError **error)
{
    struct pollfd wait = {.fd = blob->reply, .events = POLLIN};
    gint64 end = g_get_monotonic_time() + (gint64) GP_LIMIT_SHARED_STALL * G_USEC_PER_SEC;
    while (!wait.revents) {
        if (!look(&wait, 1, error))
            return FALSE;
        if (!wait.revents && g_get_monotonic_time() >= end)
            return set_stalled(error);
    }
    /* It comes whole, or the worker is not to be waited for: the descriptor does not block. */
    g_autoptr(GError) broken = NULL;
    const guint8 *payload;
    gsize length;
    if (!gp_frame_reader_next(blob->frames, type, &payload, &length, &broken) || *type == 0) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_SANDBOX, "%s %s", GP_BLOBS_WORKER, broken ? "broke its protocol" : "died");
        return FALSE;
    }
    *reason = gp_escape((const char *) payload, (gssize) length, GP_BLOBS_REASON_MAX);
    return TRUE;
}

/* FALSE unless the worker's next word is that it is ready. */
static gboolean await_ready(const GpSharedBlob *blob, GError **error)
{
    guint32 type;
    g_autofree char *reason = NULL;
    if (!read_frame(blob, &type, &reason, error))
        return FALSE;
    if (type == GP_BLOBS_READY)
        return TRUE;
    if (type == GP_BLOBS_ABSENT)
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "no such blob");
    else if (type == GP_BLOBS_REFUSED)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s", reason);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "%s broke its protocol: frame type %u", GP_BLOBS_WORKER, type);
    return FALSE;
}

/* ---- moving */

/* How fast the bytes come, counting only the time in which they were waited for. */
typedef struct {
    gint64 waited; /* microseconds */
    guint64 bytes;
} Pace;

/* Waits for the worker, or for the reader to give up (*@gone). */
static gboolean await_bytes(const GpSharedBlob *blob, Pace *pace, gboolean *gone, GError **error)
{
    struct pollfd wait[] = {{.fd = blob->body, .events = POLLIN}, {.fd = blob->out}};
    while (!wait[0].revents) {
        gint64 start = g_get_monotonic_time();
        if (!look(wait, G_N_ELEMENTS(wait), error))
            return FALSE;
        *gone = (wait[1].revents & POLLERR) != 0;
        if (*gone)
            return TRUE;
        pace->waited += g_get_monotonic_time() - start;
        if (pace->waited < (gint64) GP_LIMIT_SHARED_STALL * G_USEC_PER_SEC)
            continue;
        if (pace->bytes < GP_LIMIT_SHARED_STALL * GP_KIB)
            return set_stalled(error);
        *pace = (Pace){0};
    }
    return TRUE;
}

static gboolean await_room(const GpSharedBlob *blob, gboolean *gone, GError **error)
{
    struct pollfd wait = {.fd = blob->out, .events = POLLOUT};
    while (!wait.revents)
        if (!look(&wait, 1, error))
            return FALSE;
    *gone = (wait.revents & POLLERR) != 0;
    return TRUE;
}

/* What the worker says for itself when it ends too early. */
static gboolean explain(const GpSharedBlob *blob, guint64 total, GError **error)
{
    guint32 type;
    g_autofree char *reason = NULL;
    g_autoptr(GError) silence = NULL;
    if (read_frame(blob, &type, &reason, &silence) && type == GP_BLOBS_REFUSED)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s", reason);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "the file ended after %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes", total, blob->size);
    return FALSE;
}

static gboolean move_all(const GpSharedBlob *blob, GError **error)
{
    Pace pace = {0};
    gboolean gone = FALSE;
    for (guint64 total = 0; total < blob->size;) {
        if (!await_bytes(blob, &pace, &gone, error))
            return FALSE;
        ssize_t moved = gone ? -1
                             : splice(blob->body, NULL, blob->out, NULL, (gsize) MIN(blob->size - total, PIPE_SIZE),
                                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (moved == 0)
            return explain(blob, total, error);
        if (moved < 0 && !gone && errno == EAGAIN && !await_room(blob, &gone, error))
            return FALSE;
        if (gone) {
            g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED, "given up");
            return FALSE;
        }
        if (moved < 0 && errno != EAGAIN && errno != EINTR) {
            gp_set_errno(error, errno, "moving the blob");
            return FALSE;
        }
        total += moved > 0 ? (guint64) moved : 0;
        pace.bytes += moved > 0 ? (guint64) moved : 0;
    }
    return TRUE;
}

static gpointer run_mover(gpointer data)
{
    GpSharedBlob *blob = data;
    (void) move_all(blob, &blob->error);
    gp_close_fd(&blob->out);
    return NULL;
}

/* ---- */

static gboolean make_pipe(int *reader, int *writer, int size, GError **error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    *reader = ends[0];
    *writer = ends[1];
    if (size)
        (void) fcntl(*writer, F_SETPIPE_SZ, size); /* only speed; an ordinary user has a quota */
    return TRUE;
}

static gboolean start_worker(GpSharedBlob *blob, const char *directory, GError **error)
{
    GP_AUTOFD int body = -1;
    GP_AUTOFD int reply = -1;
    if (!make_pipe(&blob->body, &body, PIPE_SIZE, error) || !make_pipe(&blob->reply, &reply, 0, error))
        return FALSE;
    if (fcntl(blob->reply, F_SETFL, O_NONBLOCK) < 0) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    blob->frames = gp_frame_reader_new(blob->reply, GP_BLOBS_REASON_MAX);
    g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, blob->size);
    const char *const arguments[] = {directory, blob->name, bytes, NULL};
    const int fds[] = {body, reply};
    blob->worker = gp_worker_spawn(GP_BLOBS_WORKER, arguments, fds, G_N_ELEMENTS(fds), error);
    return blob->worker != NULL;
}

GpSharedBlob *gp_shared_blob_open(const char *directory, const GpDigest *digest, guint64 size, GError **error)
{
    g_autoptr(GpSharedBlob) blob = g_new0(GpSharedBlob, 1);
    blob->name = gp_digest_to_string(digest);
    blob->size = size;
    blob->body = blob->reply = blob->out = blob->fd = -1;
    if (!start_worker(blob, directory, error) || !await_ready(blob, error) ||
        !make_pipe(&blob->fd, &blob->out, PIPE_SIZE, error)) {
        g_prefix_error(error, "blob %s: ", blob->name);
        return NULL;
    }
    blob->mover = g_thread_new("shared-blob", run_mover, blob);
    return g_steal_pointer(&blob);
}

int gp_shared_blob_fd(const GpSharedBlob *blob)
{
    return blob->fd;
}

/* With the reader's end closed the mover ends soon, whatever the worker does. */
static void join(GpSharedBlob *blob)
{
    gp_close_fd(&blob->fd);
    if (blob->mover)
        g_thread_join(g_steal_pointer(&blob->mover));
}

gboolean gp_shared_blob_finish(GpSharedBlob *blob, GError **error)
{
    join(blob);
    if (!blob->error)
        return TRUE;
    g_propagate_prefixed_error(error, g_steal_pointer(&blob->error), "blob %s: ", blob->name);
    return FALSE;
}

void gp_shared_blob_free(GpSharedBlob *blob)
{
    if (!blob)
        return;
    join(blob);
    gp_worker_abandon(blob->worker);
    gp_close_fd(&blob->body);
    gp_frame_reader_free(blob->frames);
    gp_close_fd(&blob->reply);
    gp_close_fd(&blob->out);
    g_clear_error(&blob->error);
    g_free(blob->name);
    g_free(blob);
}
