/* A small HTTP server inside a test: a thread a connection, one request a connection, and a handler that may answer
 * anything. With TLS when it is given a certificate. Include it in one file a program. */
#pragma once

#include <glib.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct HttpServer HttpServer;

typedef struct {
    HttpServer *server;
    int fd;
    SSL *ssl; /* NULL: plain */
    char *head;
    char *body;
    char *path;
    guint number; /* of this request, from 1 */
} HttpConnection;

typedef void (*HttpHandler)(HttpConnection *connection, gpointer data);

struct HttpServer {
    int listener;
    guint port;
    SSL_CTX *tls;
    HttpHandler handler;
    gpointer data;
    GThread *thread;
    GThreadPool *pool;
    GMutex lock;
    GPtrArray *heads; /* char*: every request's head, in order of arrival */
    gint stop;
};

static gssize http_read(HttpConnection *c, void *data, gsize length)
{
    return c->ssl ? SSL_read(c->ssl, data, (int) length) : read(c->fd, data, length);
}

/* FALSE when the client is gone. */
static gboolean http_write(HttpConnection *c, const void *data, gsize length)
{
    const char *bytes = data;
    while (length > 0) {
        gssize sent =
            c->ssl ? SSL_write(c->ssl, bytes, (int) MIN(length, 16384)) : send(c->fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return FALSE;
        bytes += sent;
        length -= (gsize) sent;
    }
    return TRUE;
}

static gboolean http_print(HttpConnection *c, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean http_print(HttpConnection *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return http_write(c, text, strlen(text));
}

/* A whole answer. @fields: further header lines, each with its \r\n, or "". */
G_GNUC_UNUSED static void http_answer(HttpConnection *c, int status, const char *fields, const void *body, gsize length)
{
    if (http_print(c, "HTTP/1.1 %d Whatever\r\nConnection: close\r\n%sContent-Length: %" G_GSIZE_FORMAT "\r\n\r\n",
            status, fields, length))
        http_write(c, body, length);
}

/* The value of a header field of the request, the caller's; NULL when absent. */
G_GNUC_UNUSED static char *http_field(const char *head, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(head, "\r\n", -1);
    for (char **line = lines + 1; *line; line++) {
        char *colon = strchr(*line, ':');
        if (colon && g_ascii_strncasecmp(*line, name, strlen(name)) == 0 && colon == *line + strlen(name))
            return g_strdup(g_strstrip(colon + 1));
    }
    return NULL;
}

static gboolean http_read_request(HttpConnection *c)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char *end;
    while (!(end = strstr(text->str, "\r\n\r\n"))) {
        char chunk[4096];
        gssize got = http_read(c, chunk, sizeof chunk);
        /* What does not begin with a method is TLS spoken to a plain server. */
        if (got <= 0 || text->len > 65536 || (text->len == 0 && !g_ascii_isupper(chunk[0])))
            return FALSE;
        g_string_append_len(text, chunk, got);
    }
    gsize head = (gsize) (end - text->str) + 4;
    c->head = g_strndup(text->str, head);
    g_autofree char *length = http_field(c->head, "Content-Length");
    gsize wanted = length ? (gsize) g_ascii_strtoull(length, NULL, 10) : 0;
    while (text->len < head + wanted) {
        char chunk[4096];
        gssize got = http_read(c, chunk, sizeof chunk);
        if (got <= 0)
            return FALSE;
        g_string_append_len(text, chunk, got);
    }
    c->body = g_strdup(text->str + head);
    g_auto(GStrv) words = g_strsplit(c->head, " ", 3);
    c->path = g_strdup(words[0] && words[1] ? words[1] : "");
    return TRUE;
}

static void http_serve_one(gpointer fd, gpointer data)
{
    HttpServer *server = data;
    HttpConnection c = {.server = server, .fd = GPOINTER_TO_INT(fd) - 1};
    gboolean ok = TRUE;
    if (server->tls) {
        c.ssl = SSL_new(server->tls);
        SSL_set_fd(c.ssl, c.fd);
        ok = SSL_accept(c.ssl) == 1;
    }
    if (ok && http_read_request(&c)) {
        g_mutex_lock(&server->lock);
        g_ptr_array_add(server->heads, g_strdup(c.head));
        c.number = server->heads->len;
        g_mutex_unlock(&server->lock);
        server->handler(&c, server->data);
        if (c.ssl)
            SSL_shutdown(c.ssl);
        shutdown(c.fd, SHUT_WR);
    }
    SSL_free(c.ssl);
    close(c.fd);
    g_free(c.head);
    g_free(c.body);
    g_free(c.path);
}

static gpointer http_accept(gpointer data)
{
    HttpServer *server = data;
    while (!g_atomic_int_get(&server->stop)) {
        struct pollfd wait = {.fd = server->listener, .events = POLLIN};
        if (poll(&wait, 1, 20) <= 0)
            continue;
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            g_thread_pool_push(server->pool, GINT_TO_POINTER(fd + 1), NULL);
    }
    return NULL;
}

/* On a free port of 127.0.0.1. @certificate: PEM file with certificate and key, or NULL for plain http. */
static HttpServer *http_server_new(HttpHandler handler, gpointer data, const char *certificate)
{
    HttpServer *server = g_new0(HttpServer, 1);
    server->handler = handler;
    server->data = data;
    server->heads = g_ptr_array_new_with_free_func(g_free);
    g_mutex_init(&server->lock);
    if (certificate) {
        server->tls = SSL_CTX_new(TLS_server_method());
        g_assert_cmpint(SSL_CTX_use_certificate_chain_file(server->tls, certificate), ==, 1);
        g_assert_cmpint(SSL_CTX_use_PrivateKey_file(server->tls, certificate, SSL_FILETYPE_PEM), ==, 1);
    }
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    g_assert_cmpint(bind(server->listener, (struct sockaddr *) &address, size), ==, 0);
    g_assert_cmpint(listen(server->listener, 64), ==, 0);
    g_assert_cmpint(getsockname(server->listener, (struct sockaddr *) &address, &size), ==, 0);
    server->port = ntohs(address.sin_port);
    server->pool = g_thread_pool_new(http_serve_one, server, 64, FALSE, NULL);
    server->thread = g_thread_new("http", http_accept, server);
    return server;
}

/* How many requests came whose path begins with @prefix. */
G_GNUC_UNUSED static guint http_count(HttpServer *server, const char *prefix)
{
    guint count = 0;
    g_mutex_lock(&server->lock);
    for (guint i = 0; i < server->heads->len; i++) {
        const char *path = strchr(server->heads->pdata[i], ' ');
        count += path && g_str_has_prefix(path + 1, prefix);
    }
    g_mutex_unlock(&server->lock);
    return count;
}

/* Ends the server; handlers must have noticed that their client is gone. */
static void http_server_free(HttpServer *server)
{
    if (!server)
        return;
    g_atomic_int_set(&server->stop, 1);
    g_thread_join(server->thread);
    g_thread_pool_free(server->pool, FALSE, TRUE);
    close(server->listener);
    SSL_CTX_free(server->tls);
    g_ptr_array_unref(server->heads);
    g_mutex_clear(&server->lock);
    g_free(server);
}
