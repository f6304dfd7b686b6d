/* The blocking side: one connection, one call. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/ttrpc.h"

#define RETRY_MS 20 /* between two tries at a server whose backlog is full */

char *gp_unix_path(const char *address, GError **error)
{
    const char *path = address;
    if (g_str_has_prefix(path, "unix://"))
        path += strlen("unix://");
    else if (g_str_has_prefix(path, "unix:"))
        path += strlen("unix:");
    struct sockaddr_un sun;
    if (path[0] == '/' && strlen(path) < sizeof sun.sun_path)
        return g_strdup(path);
    g_autofree char *shown = gp_escape(address, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
        "%s: not the address of a unix socket\nWrite unix:PATH with an absolute path of at most %d bytes.", shown,
        (int) sizeof sun.sun_path - 1);
    return NULL;
}

/* Waits for @events until @deadline (monotonic microseconds). */
static gboolean wait_for(int fd, short events, gint64 deadline, GError **error)
{
    for (;;) {
        gint64 left = deadline - g_get_monotonic_time();
        if (left <= 0)
            break;
        struct pollfd poll_fd = {.fd = fd, .events = events};
        int ready = poll(&poll_fd, 1, (int) MIN(left / 1000 + 1, G_MAXINT));
        if (ready > 0)
            return TRUE;
        if (ready < 0 && errno != EINTR) {
            gp_set_errno(error, errno, "poll");
            return FALSE;
        }
    }
    g_set_error(error, GP_ERROR, GP_ERROR_NETWORK, "no answer in time");
    return FALSE;
}

/* Only root or we ourselves may answer: whoever could put a socket at a wrong path would otherwise hand out keys. */
static gboolean check_peer(int fd, GError **error)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
        gp_set_errno(error, errno, "SO_PEERCRED");
        return FALSE;
    }
    if (peer.uid == 0 || peer.uid == geteuid())
        return TRUE;
    g_set_error(
        error, GP_ERROR, GP_ERROR_AUTH, "the server runs as user %u, neither root nor ourselves", (unsigned) peer.uid);
    return FALSE;
}

static int connect_to(const char *path, gint64 deadline, GError **error)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    g_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        gp_set_errno(error, errno, "socket");
        return -1;
    }
    while (connect(fd, (struct sockaddr *) &sun, sizeof sun) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || g_get_monotonic_time() >= deadline) {
            g_set_error(error, GP_ERROR, GP_ERROR_NETWORK, "cannot connect: %s", g_strerror(errno));
            return -1;
        }
        g_usleep(RETRY_MS * 1000);
    }
    if (!check_peer(fd, error))
        return -1;
    return gp_steal_fd(&fd);
}

static gboolean send_all(int fd, const GpTtrpcFrame *frame, gint64 deadline, GError **error)
{
    for (gsize done = 0; done < frame->size;) {
        ssize_t sent = send(fd, frame->bytes + done, frame->size - done, MSG_NOSIGNAL);
        if (sent >= 0) {
            done += (gsize) sent;
        } else if (errno == EAGAIN) {
            if (!wait_for(fd, POLLOUT, deadline, error))
                return FALSE;
        } else if (errno != EINTR) {
            g_set_error(error, GP_ERROR, GP_ERROR_NETWORK, "sending: %s", g_strerror(errno));
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean receive_all(int fd, guint8 *data, gsize length, gint64 deadline, GError **error)
{
    for (gsize done = 0; done < length;) {
        ssize_t got = recv(fd, data + done, length - done, 0);
        if (got > 0) {
            done += (gsize) got;
        } else if (got == 0) {
            g_set_error(error, GP_ERROR, GP_ERROR_NETWORK, "the connection was closed before the answer was complete");
            return FALSE;
        } else if (errno == EAGAIN) {
            if (!wait_for(fd, POLLIN, deadline, error))
                return FALSE;
        } else if (errno != EINTR) {
            g_set_error(error, GP_ERROR, GP_ERROR_NETWORK, "receiving: %s", g_strerror(errno));
            return FALSE;
        }
    }
    return TRUE;
}

/* The one answer that is due on stream @stream_id. */
static GpTtrpcFrame *receive_frame(int fd, guint32 stream_id, gsize max_reply, gint64 deadline, GError **error)
{
    guint8 bytes[GP_TTRPC_HEADER_SIZE];
    GpTtrpcHeader header;
    if (!receive_all(fd, bytes, sizeof bytes, deadline, error) ||
        !gp_ttrpc_header_decode(bytes, GP_TTRPC_RESPONSE, &header, error))
        return NULL;
    if (header.stream_id != stream_id) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "ttrpc: an answer on stream %u, asked on %u", header.stream_id,
            stream_id);
        return NULL;
    }
    /* The envelope and an error's text come on top of the payload that the caller expects. */
    if (header.length > max_reply + GP_LIMIT_TTRPC_STATUS) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "an answer of %u bytes, at most %" G_GSIZE_FORMAT " are allowed",
            header.length, max_reply);
        return NULL;
    }
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_frame_new(stream_id, GP_TTRPC_RESPONSE, header.length);
    if (!receive_all(fd, frame->bytes + GP_TTRPC_HEADER_SIZE, header.length, deadline, error))
        return NULL;
    return g_steal_pointer(&frame);
}

static GBytes *call(const char *socket_path, const char *service, const char *method, const void *payload, gsize length,
    gint64 deadline, gint64 timeout_nano, gsize max_reply, GError **error)
{
    const guint32 stream_id = 1;
    g_autoptr(GpTtrpcFrame) request =
        gp_ttrpc_request_encode(stream_id, service, method, payload, length, timeout_nano, error);
    if (!request)
        return NULL;
    GP_AUTOFD int fd = connect_to(socket_path, deadline, error);
    if (fd < 0 || !send_all(fd, request, deadline, error))
        return NULL;
    g_autoptr(GpTtrpcFrame) response = receive_frame(fd, stream_id, max_reply, deadline, error);
    if (!response)
        return NULL;
    g_autoptr(GBytes) reply = gp_ttrpc_response_decode(response, error);
    if (!reply)
        return NULL;
    if (g_bytes_get_size(reply) > max_reply) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "an answer of %" G_GSIZE_FORMAT " bytes, at most %" G_GSIZE_FORMAT " are allowed", g_bytes_get_size(reply),
            max_reply);
        return NULL;
    }
    return g_steal_pointer(&reply);
}

GBytes *gp_ttrpc_call(const char *path, const char *service, const char *method, const void *payload, gsize length,
    guint deadline_ms, gsize max_reply, GError **error)
{
    gint64 deadline = g_get_monotonic_time() + (gint64) deadline_ms * 1000;
    g_autofree char *socket_path = gp_unix_path(path, error);
    if (!socket_path)
        return NULL;
    GBytes *reply =
        call(socket_path, service, method, payload, length, deadline, (gint64) deadline_ms * 1000000, max_reply, error);
    if (!reply)
        g_prefix_error(error, "%s/%s at %s: ", service, method, socket_path);
    return reply;
}
