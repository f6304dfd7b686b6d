#include "service/status.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "service/listen.h"

#define MAX_CLIENTS 16
#define WAIT_MS 500      /* for a client that sends nothing */
#define LIFETIME_MS 5000 /* for one that does not read */

struct _GpStatus {
    int listen_fd;
    guint listen_source;
    GpServer *server;
    GpPulls *pulls;
    GpUpstream *upstream;
    GPtrArray *clients; /* Client* */
};

typedef struct {
    GpStatus *status;
    int fd;
    guint source, timer;
    char *answer; /* NULL: its request is awaited */
    gsize length, sent;
} Client;

static void client_free(gpointer data)
{
    Client *client = data;
    if (client->source)
        g_source_remove(client->source);
    if (client->timer)
        g_source_remove(client->timer);
    gp_close_fd(&client->fd);
    g_free(client->answer);
    g_free(client);
}

static void drop(Client *client)
{
    g_ptr_array_remove_fast(client->status->clients, client);
}

/* ---- the two texts */

static json_t *document(const GpStatus *status)
{
    json_t *upstream = status->upstream ? gp_upstream_status(status->upstream) : NULL;
    return json_pack("{s:s, s:o, s:o, s:o*}", "version", GP_VERSION, "pulls", gp_pulls_status(status->pulls), "server",
        gp_server_status(status->server), "upstream", upstream);
}

static void add_metric(GString *text, const char *name, const char *type, const char *labels, json_int_t value)
{
    if (type)
        g_string_append_printf(text, "# TYPE guest_pull_%s %s\n", name, type);
    g_string_append_printf(text, "guest_pull_%s%s %" JSON_INTEGER_FORMAT "\n", name, labels, value);
}

/* Of an object of numbers: one sample a key, labelled. */
static void add_labelled(GString *text, const char *name, const char *label, json_t *object)
{
    const char *type = "counter";
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!json_is_integer(value))
            continue;
        g_autofree char *labels = g_strdup_printf("{%s=\"%s\"}", label, key);
        add_metric(text, name, type, labels, json_integer_value(value));
        type = NULL;
    }
}

static char *metrics(const GpStatus *status)
{
    g_autoptr(json_t) all = document(status);
    json_t *pulls = json_object_get(all, "pulls");
    json_t *totals = json_object_get(pulls, "totals");
    json_t *server = json_object_get(all, "server");
    GString *text = g_string_new("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n");
    add_labelled(text, "pulls_total", "result", totals);
    add_labelled(text, "pull_failures_total", "code", json_object_get(totals, "failedByCode"));
    add_metric(text, "pulls_in_flight", "gauge", "", (json_int_t) json_array_size(json_object_get(pulls, "inFlight")));
    add_metric(text, "connections", "gauge", "", json_integer_value(json_object_get(server, "connections")));
    add_metric(text, "relayed_total", "counter", "", json_integer_value(json_object_get(server, "relayed")));
    add_metric(text, "malformed_total", "counter", "", json_integer_value(json_object_get(server, "malformed")));
    return g_string_free(text, FALSE);
}

static char *json_text(const GpStatus *status)
{
    g_autoptr(json_t) all = document(status);
    g_autofree char *text = gp_json_to_text(all, FALSE);
    return g_strconcat(text, "\n", NULL);
}

/* ---- clients */

static gboolean on_lifetime_over(gpointer user_data)
{
    Client *client = user_data;
    client->timer = 0;
    drop(client);
    return G_SOURCE_REMOVE;
}

static gboolean on_writable(int fd, GIOCondition condition, gpointer user_data)
{
    Client *client = user_data;
    ssize_t sent = send(fd, client->answer + client->sent, client->length - client->sent, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (sent > 0)
        client->sent += (gsize) sent;
    if (sent > 0 && client->sent < client->length)
        return G_SOURCE_CONTINUE;
    client->source = 0;
    drop(client);
    return G_SOURCE_REMOVE;
}

static void answer(Client *client, char *text)
{
    client->answer = text;
    client->length = strlen(text);
    client->source = g_unix_fd_add(client->fd, G_IO_OUT, on_writable, client);
    client->timer = g_timeout_add(LIFETIME_MS, on_lifetime_over, client);
}

static gboolean on_request(int fd, GIOCondition condition, gpointer user_data)
{
    Client *client = user_data;
    char line[256];
    ssize_t got = recv(fd, line, sizeof line - 1, 0);
    line[MAX(got, 0)] = '\0';
    client->source = 0;
    g_source_remove(client->timer);
    client->timer = 0;
    answer(client, g_str_has_prefix(line, "GET /metrics") ? metrics(client->status) : json_text(client->status));
    return G_SOURCE_REMOVE;
}

static gboolean on_silence(gpointer user_data)
{
    Client *client = user_data;
    client->timer = 0;
    g_source_remove(client->source);
    answer(client, json_text(client->status));
    return G_SOURCE_REMOVE;
}

static gboolean on_connection(int listen_fd, GIOCondition condition, gpointer user_data)
{
    GpStatus *status = user_data;
    int fd = gp_listen_accept(listen_fd);
    if (fd < 0)
        return G_SOURCE_CONTINUE;
    if (status->clients->len >= MAX_CLIENTS) {
        close(fd);
        return G_SOURCE_CONTINUE;
    }
    Client *client = g_new0(Client, 1);
    client->status = status;
    client->fd = fd;
    client->source = g_unix_fd_add(fd, G_IO_IN | G_IO_HUP, on_request, client);
    client->timer = g_timeout_add(WAIT_MS, on_silence, client);
    g_ptr_array_add(status->clients, client);
    return G_SOURCE_CONTINUE;
}

GpStatus *gp_status_new(int listen_fd, GpServer *server, GpPulls *pulls, GpUpstream *upstream)
{
    GpStatus *status = g_new0(GpStatus, 1);
    status->listen_fd = listen_fd;
    status->server = server;
    status->pulls = pulls;
    status->upstream = upstream;
    status->clients = g_ptr_array_new_with_free_func(client_free);
    status->listen_source = g_unix_fd_add(listen_fd, G_IO_IN, on_connection, status);
    return status;
}

void gp_status_free(GpStatus *status)
{
    if (!status)
        return;
    g_source_remove(status->listen_source);
    g_ptr_array_unref(status->clients);
    g_free(status);
}
