#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/ttrpc.h"

static void assert_error(const GError *error, GpErrorCode code, const char *words)
{
    g_assert_error(error, GP_ERROR, (int) code);
    if (!strstr(error->message, words))
        g_error("\"%s\" is not in \"%s\"", words, error->message);
}

static GpTtrpcFrame *request_frame(const char *hex)
{
    gsize length = strlen(hex) / 2;
    GpTtrpcFrame *frame = gp_ttrpc_frame_new(1, GP_TTRPC_REQUEST, length);
    for (gsize i = 0; i < length; i++)
        frame->bytes[GP_TTRPC_HEADER_SIZE + i] =
            (guint8) (g_ascii_xdigit_value(hex[2 * i]) * 16 + g_ascii_xdigit_value(hex[2 * i + 1]));
    return frame;
}

/* ---- header */

static void test_header(void)
{
    const guint8 bytes[] = {0, 0x40, 0, 0, 0x01, 0x02, 0x03, 0x05, 1, 0};
    GpTtrpcHeader header;
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_ttrpc_header_decode(bytes, GP_TTRPC_REQUEST, &header, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(header.length, ==, 4194304);
    g_assert_cmpuint(header.stream_id, ==, 0x01020305);
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_frame_new(0x01020305, GP_TTRPC_REQUEST, 4194304);
    g_assert_cmpmem(frame->bytes, GP_TTRPC_HEADER_SIZE, bytes, sizeof bytes);
    g_assert_cmpuint(gp_ttrpc_frame_stream_id(frame), ==, 0x01020305);
}

static void test_header_flags(void)
{
    guint8 bytes[] = {0, 0, 0, 1, 0, 0, 0, 1, 2, 1};
    GpTtrpcHeader header;
    g_assert_true(gp_ttrpc_header_decode(bytes, GP_TTRPC_RESPONSE, &header, NULL));
}

static void test_header_refused(void)
{
    static const struct {
        guint8 bytes[GP_TTRPC_HEADER_SIZE];
        GpErrorCode code;
        const char *words;
    } rows[] = {
        {{0, 0, 0, 0, 0, 0, 0, 1, 2, 0}, GP_ERROR_INVALID, "a frame of type 2 where only type 1 is allowed"},
        {{0, 0, 0, 0, 0, 0, 0, 1, 3, 0}, GP_ERROR_INVALID, "a frame of type 3"},
        {{0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, GP_ERROR_INVALID, "a frame of type 0"},
        {{0, 0, 0, 0, 0, 0, 0, 1, 1, 2}, GP_ERROR_INVALID, "flags 0x02"},
        {{0, 0, 0, 0, 0, 0, 0, 1, 1, 4}, GP_ERROR_INVALID, "flags 0x04"},
        {{0, 0, 0, 0, 0, 0, 0, 1, 1, 255}, GP_ERROR_INVALID, "flags 0xff"},
        {{0, 0, 0, 0, 0, 0, 0, 0, 1, 0}, GP_ERROR_INVALID, "stream id 0"},
        {{0, 0x40, 0, 1, 0, 0, 0, 1, 1, 0}, GP_ERROR_LIMIT, "a frame of 4194305 bytes, at most 4194304"},
        {{255, 255, 255, 255, 0, 0, 0, 1, 1, 0}, GP_ERROR_LIMIT, "a frame of 4294967295 bytes"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        GpTtrpcHeader header;
        g_autoptr(GError) error = NULL;
        g_assert_false(gp_ttrpc_header_decode(rows[i].bytes, GP_TTRPC_REQUEST, &header, &error));
        assert_error(error, rows[i].code, rows[i].words);
    }
}

/* ---- requests */

static void test_request(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_request_encode(7, "api.X", "Call", "pay\0load", 8, 5000000000, &error);
    g_assert_no_error(error);
    g_autoptr(GpTtrpcRequest) request = gp_ttrpc_request_decode(frame, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(request->service, ==, "api.X");
    g_assert_cmpstr(request->method, ==, "Call");
    g_assert_cmpint(request->timeout_nano, ==, 5000000000);
    gsize length;
    const void *data = g_bytes_get_data(request->payload, &length);
    g_assert_cmpmem(data, length, "pay\0load", 8);
}

/* The bytes of facts/coco.md, written by hand: service=1, method=2, payload=3, timeout_nano=4,
 * metadata=5{key=1,value=2}. */
static void test_request_field_numbers(void)
{
    g_autoptr(GpTtrpcFrame) frame = request_frame("0a0161"
                                                  "120162"
                                                  "1a0163"
                                                  "2007"
                                                  "2a060a016b120176");
    g_autoptr(GError) error = NULL;
    g_autoptr(GpTtrpcRequest) request = gp_ttrpc_request_decode(frame, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(request->service, ==, "a");
    g_assert_cmpstr(request->method, ==, "b");
    g_assert_cmpint(request->timeout_nano, ==, 7);
    g_assert_cmpuint(g_bytes_get_size(request->payload), ==, 1);
}

static void test_request_refused(void)
{
    static const struct {
        const char *hex, *words;
    } rows[] = {
        {"", "\"\" is no name of a service"},
        {"0a0161", "\"\" is no name of a method"},
        {"120162", "\"\" is no name of a service"},
        {"0a026100120162", "\"a\\x00\" is no name of a service"},
        {"0a0161120162ff", "is no protobuf message"},
        {"0a05616262", "is no protobuf message"},
        {"0a0120120162", "\" \" is no name of a service"},
        {"0a0161120162"
         "0a0161",
            "a field twice"},
        {"0a0161120162"
         "2000",
            "a field twice, or a padded number"},
        {"0a8100"
         "61120162",
            "a field twice, or a padded number"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GpTtrpcFrame) frame = request_frame(rows[i].hex);
        g_autoptr(GError) error = NULL;
        g_assert_null(gp_ttrpc_request_decode(frame, &error));
        assert_error(error, GP_ERROR_INVALID, rows[i].words);
    }
}

static void test_request_bomb(void)
{
    const gsize entries = 1 << 20;
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_frame_new(1, GP_TTRPC_REQUEST, 2 * entries);
    for (gsize i = 0; i < entries; i++)
        memcpy(frame->bytes + GP_TTRPC_HEADER_SIZE + 2 * i, "\x2a\x00", 2);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_ttrpc_request_decode(frame, &error));
    assert_error(error, GP_ERROR_INVALID, "one with too many fields");
}

static void test_request_too_large(void)
{
    g_autofree char *payload = g_malloc0(GP_LIMIT_TTRPC_PAYLOAD);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_ttrpc_request_encode(1, "a", "b", payload, GP_LIMIT_TTRPC_PAYLOAD, 0, &error));
    assert_error(error, GP_ERROR_LIMIT, "at most 4194304 are allowed");
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_request_encode(1, "a", "b", payload, GP_LIMIT_TTRPC_PAYLOAD - 16, 0, NULL);
    g_assert_nonnull(frame);
}

/* ---- responses */

static void test_response(void)
{
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_response_encode(3, "abc", 3, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) payload = gp_ttrpc_response_decode(frame, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(payload, NULL), g_bytes_get_size(payload), "abc", 3);
    g_assert_cmpuint(frame->bytes[8], ==, GP_TTRPC_RESPONSE);
}

static void test_response_status(void)
{
    static const struct {
        GpStatusCode status;
        GpErrorCode code;
    } rows[] = {
        {GP_STATUS_NOT_FOUND, GP_ERROR_NOT_FOUND},
        {GP_STATUS_PERMISSION_DENIED, GP_ERROR_AUTH},
        {GP_STATUS_UNAUTHENTICATED, GP_ERROR_AUTH},
        {GP_STATUS_RESOURCE_EXHAUSTED, GP_ERROR_LIMIT},
        {GP_STATUS_INVALID_ARGUMENT, GP_ERROR_UNSUPPORTED},
        {GP_STATUS_UNIMPLEMENTED, GP_ERROR_UNSUPPORTED},
        {GP_STATUS_DEADLINE_EXCEEDED, GP_ERROR_NETWORK},
        {GP_STATUS_UNAVAILABLE, GP_ERROR_NETWORK},
        {GP_STATUS_INTERNAL, GP_ERROR_INTERNAL},
        {GP_STATUS_CANCELLED, GP_ERROR_INTERNAL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_status_encode(9, rows[i].status, "what\nwent \x1b[31mwrong");
        g_autoptr(GError) error = NULL;
        g_assert_null(gp_ttrpc_response_decode(frame, &error));
        g_autofree char *words = g_strdup_printf("status %d: what\\x0awent \\x1b[31mwrong", rows[i].status);
        assert_error(error, rows[i].code, words);
    }
}

static void test_status_is_cut(void)
{
    g_autoptr(GString) text = g_string_new("x");
    while (text->len < 2 * GP_LIMIT_TTRPC_STATUS)
        g_string_append(text, "ä");
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_status_encode(9, GP_STATUS_INTERNAL, text->str);
    g_assert_cmpuint(frame->size, <=, GP_LIMIT_TTRPC_STATUS + 64);
    const char *last = (const char *) frame->bytes + frame->size - 2;
    g_assert_cmpmem(last, 2, "ä", 2);
}

static void test_response_refused(void)
{
    g_autoptr(GpTtrpcFrame) frame = gp_ttrpc_response_encode(3, "abc", 3, NULL);
    frame->bytes[GP_TTRPC_HEADER_SIZE] = 0xff;
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_ttrpc_response_decode(frame, &error));
    assert_error(error, GP_ERROR_INVALID, "is no protobuf message");
}

/* ---- gp_ttrpc_call(), against a thread that answers with given bytes */

typedef struct {
    int listen_fd;
    GBytes *answer; /* NULL: accepts and says nothing */
    gboolean hold;  /* keeps the connection open until the client closes it */
    gboolean accepts;
} Server;

static gpointer serve(gpointer user_data)
{
    const Server *server = user_data;
    GP_AUTOFD int fd = accept(server->listen_fd, NULL, NULL);
    guint8 request[256];
    if (server->answer) {
        (void) !read(fd, request, sizeof request);
        gsize length;
        const void *data = g_bytes_get_data(server->answer, &length);
        gp_write_all(fd, data, length, NULL);
    }
    if (server->hold)
        while (read(fd, request, sizeof request) > 0)
            ;
    return NULL;
}

/* Calls a server that does what @server says; the error, or NULL and *@reply. */
static GError *call_server(Server *server, guint deadline_ms, gsize max_reply, GBytes **reply)
{
    g_autofree char *directory = g_dir_make_tmp("gp-ttrpc-XXXXXX", NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    g_autofree char *uri = g_strconcat("unix://", address.sun_path, NULL);
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof address), ==, 0);
    GThread *thread = NULL;
    if (server->accepts) {
        g_assert_cmpint(listen(fd, 1), ==, 0);
        server->listen_fd = fd;
        thread = g_thread_new("server", serve, server);
    }
    GError *error = NULL;
    *reply = gp_ttrpc_call(uri, "api.X", "Call", "x", 1, deadline_ms, max_reply, &error);
    if (thread)
        g_thread_join(thread);
    g_unlink(address.sun_path);
    g_rmdir(directory);
    g_assert_true((*reply == NULL) == (error != NULL));
    return error;
}

static GBytes *frame_bytes(GpTtrpcFrame *frame, gsize cut)
{
    GBytes *bytes = g_bytes_new(frame->bytes, frame->size - cut);
    gp_ttrpc_frame_free(frame);
    return bytes;
}

static void test_call(void)
{
    g_autoptr(GBytes) answer = frame_bytes(gp_ttrpc_response_encode(1, "secret", 6, NULL), 0);
    Server server = {.answer = answer, .accepts = TRUE, .hold = TRUE};
    g_autoptr(GBytes) reply = NULL;
    g_autoptr(GError) error = call_server(&server, 5000, 6, &reply);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(reply, NULL), g_bytes_get_size(reply), "secret", 6);
}

static void test_call_refused(void)
{
    g_autofree char *large = g_malloc0(20000);
    const struct {
        GBytes *answer;
        gboolean accepts, hold;
        GpErrorCode code;
        const char *words;
    } rows[] = {
        {NULL, FALSE, FALSE, GP_ERROR_NETWORK, "cannot connect: Connection refused"},
        {NULL, TRUE, TRUE, GP_ERROR_NETWORK, "no answer in time"},
        {g_bytes_new("", 0), TRUE, FALSE, GP_ERROR_NETWORK, "closed before the answer was complete"},
        {frame_bytes(gp_ttrpc_response_encode(1, "secret", 6, NULL), 1), TRUE, FALSE, GP_ERROR_NETWORK,
            "closed before the answer was complete"},
        {frame_bytes(gp_ttrpc_response_encode(3, "secret", 6, NULL), 0), TRUE, FALSE, GP_ERROR_INVALID,
            "an answer on stream 3, asked on 1"},
        {frame_bytes(gp_ttrpc_request_encode(1, "a", "b", "", 0, 0, NULL), 0), TRUE, FALSE, GP_ERROR_INVALID,
            "a frame of type 1 where only type 2 is allowed"},
        {frame_bytes(gp_ttrpc_response_encode(1, large, 101, NULL), 0), TRUE, FALSE, GP_ERROR_LIMIT,
            "an answer of 101 bytes, at most 100 are allowed"},
        {frame_bytes(gp_ttrpc_response_encode(1, large, 20000, NULL), 0), TRUE, TRUE, GP_ERROR_LIMIT,
            "an answer of 20004 bytes, at most 100 are allowed"},
        {frame_bytes(gp_ttrpc_status_encode(1, GP_STATUS_NOT_FOUND, "no such thing"), 0), TRUE, FALSE,
            GP_ERROR_NOT_FOUND, "status 5: no such thing"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Server server = {.answer = rows[i].answer, .accepts = rows[i].accepts, .hold = rows[i].hold};
        g_autoptr(GBytes) reply = NULL;
        g_autoptr(GError) error = call_server(&server, 300, 100, &reply);
        assert_error(error, rows[i].code, rows[i].words);
        g_assert_true(g_str_has_prefix(error->message, "api.X/Call at /"));
        g_clear_pointer((GBytes **) (gsize) &rows[i].answer, g_bytes_unref);
    }
}

/* ---- addresses */

static void test_unix_path(void)
{
    static const char *const good[] = {"unix:///run/x.sock", "unix:/run/x.sock", "/run/x.sock"};
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *path = gp_unix_path(good[i], NULL);
        g_assert_cmpstr(path, ==, "/run/x.sock");
    }
    g_autofree char *name = g_strnfill(120, 'x');
    g_autofree char *over = g_strconcat("/", name, NULL);
    const char *const bad[] = {"", "unix:", "x.sock", "vsock://1:2", "unix://run/x", over};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(gp_unix_path(bad[i], &error));
        assert_error(error, GP_ERROR_USAGE, "not the address of a unix socket");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/ttrpc/header", test_header);
    g_test_add_func("/base/ttrpc/header-remote-closed-is-accepted", test_header_flags);
    g_test_add_func("/base/ttrpc/bad-headers-are-refused", test_header_refused);
    g_test_add_func("/base/ttrpc/request", test_request);
    g_test_add_func("/base/ttrpc/request-field-numbers", test_request_field_numbers);
    g_test_add_func("/base/ttrpc/bad-requests-are-refused", test_request_refused);
    g_test_add_func("/base/ttrpc/a-request-that-swells-in-memory-is-refused", test_request_bomb);
    g_test_add_func("/base/ttrpc/too-large-a-request-is-refused", test_request_too_large);
    g_test_add_func("/base/ttrpc/response", test_response);
    g_test_add_func("/base/ttrpc/every-status-has-its-code", test_response_status);
    g_test_add_func("/base/ttrpc/a-long-status-is-cut-at-a-character", test_status_is_cut);
    g_test_add_func("/base/ttrpc/a-bad-response-is-refused", test_response_refused);
    g_test_add_func("/base/ttrpc/call", test_call);
    g_test_add_func("/base/ttrpc/calls-that-fail", test_call_refused);
    g_test_add_func("/base/ttrpc/socket-addresses", test_unix_path);
    return g_test_run();
}
