#include "service/server.h"

#include <glib-unix.h>
#include <unistd.h>

#include "base/limits.h"
#include "service/connection.h"
#include "service/listen.h"
#include "base/log.h"

#define ACCEPTS_PER_TURN 8

struct _GpServer {
    int listen_fd;
    guint listen_source;
    char *upstream;
    GpConnectionShared shared;
    GPtrArray *connections; /* GpConnection* */
};

static void on_ended(GpConnection *connection, gpointer user_data)
{
    GpServer *server = user_data;
    g_ptr_array_remove_fast(server->connections, connection);
}

static gboolean on_connection(int listen_fd, GIOCondition condition, gpointer user_data)
{
    GpServer *server = user_data;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = gp_listen_accept(listen_fd);
        if (fd < 0)
            break;
        if (server->connections->len >= GP_LIMIT_CONNECTIONS) {
            gp_log(G_LOG_LEVEL_WARNING, NULL, "%u connections are open already: one more is turned away",
                server->connections->len);
            close(fd);
            continue;
        }
        g_ptr_array_add(server->connections, gp_connection_new(fd, &server->shared));
    }
    return G_SOURCE_CONTINUE;
}

GpServer *gp_server_new(int listen_fd, const char *upstream, guint patience_ms, GpPulls *pulls)
{
    GpServer *server = g_new0(GpServer, 1);
    server->listen_fd = listen_fd;
    server->upstream = g_strdup(upstream);
    server->connections = g_ptr_array_new();
    server->shared.upstream = server->upstream;
    server->shared.patience_ms = patience_ms;
    server->shared.pulls = pulls;
    server->shared.ended = on_ended;
    server->shared.user_data = server;
    server->listen_source = g_unix_fd_add(listen_fd, G_IO_IN, on_connection, server);
    return server;
}

void gp_server_free(GpServer *server)
{
    if (!server)
        return;
    g_source_remove(server->listen_source);
    for (guint i = 0; i < server->connections->len; i++)
        gp_connection_free(server->connections->pdata[i]);
    g_ptr_array_unref(server->connections);
    g_free(server->upstream);
    g_free(server);
}

json_t *gp_server_status(const GpServer *server)
{
    const GpConnectionShared *shared = &server->shared;
    return json_pack("{s:i, s:I, s:I, s:I}", "connections", (int) server->connections->len, "frames",
        (json_int_t) shared->frames, "relayed", (json_int_t) shared->relayed, "malformed",
        (json_int_t) shared->malformed);
}
