/* The client against a worker that lies: this program itself, started under the worker's name. What it shall do wrong
 * is the selector of the request. */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/limits.h"
#include "puller/fetch.h"
#include "puller/fetch_protocol.h"

typedef struct {
    const char *selector; /* which lie */
    const char *body;
    const char *reply; /* NULL: none */
    guint32 frame_type;
    GpErrorCode code;
    const char *reason; /* NULL: all is well */
} Lie;

static const Lie lies[] = {
    {"truth", "four", "{\"status\":200,\"bytes\":4,\"contentType\":\"x/y\"}", 1, 0, NULL},
    {"silence", "four", NULL, 1, GP_ERROR_SANDBOX, "the fetch worker died"},
    {"no-json", "", "nonsense", 1, GP_ERROR_SANDBOX, "broke its protocol"},
    {"other-frame", "", "{\"status\":200,\"bytes\":0}", 5, GP_ERROR_SANDBOX, "frame type 5"},
    {"exchange-alone", "",
        "{\"method\":\"GET\",\"url\":\"http://a/\",\"status\":200,\"bytes\":0,\"start\":0,\"took\":0,\"token\":false}",
        2, GP_ERROR_SANDBOX, "the fetch worker died"},
    {"odd-exchange", "", "{\"method\":\"GET\"}", 2, GP_ERROR_SANDBOX, "exchange: "},
    {"negative-untold", "", "{\"status\":200,\"bytes\":0,\"untold\":-1}", 1, GP_ERROR_SANDBOX, "negative count"},
    {"wrong-count", "four", "{\"status\":200,\"bytes\":5}", 1, GP_ERROR_SANDBOX, "speaks of 5 bytes and sent 4"},
    {"negative", "", "{\"status\":200,\"bytes\":-1}", 1, GP_ERROR_SANDBOX, "broke its protocol"},
    {"no-count", "", "{\"status\":200}", 1, GP_ERROR_SANDBOX, "broke its protocol"},
    {"more-keys", "", "{\"status\":200,\"bytes\":0,\"evil\":1}", 1, GP_ERROR_SANDBOX, "unknown key"},
    {"twice", "", "{\"status\":200,\"bytes\":0,\"bytes\":0}", 1, GP_ERROR_SANDBOX, "duplicate"},
    {"fine-code", "",
        "{\"status\":404,\"bytes\":0,\"error\":{\"code\":\"not-found\",\"message\":\"m\",\"hint\":\"h\"}}", 1,
        GP_ERROR_NOT_FOUND, "m\nh"},
    {"policy-code", "", "{\"status\":0,\"bytes\":0,\"error\":{\"code\":\"policy\",\"message\":\"m\"}}", 1,
        GP_ERROR_SANDBOX, "m"},
    {"odd-code", "", "{\"status\":0,\"bytes\":0,\"error\":{\"code\":\"zzz\",\"message\":\"m\"}}", 1, GP_ERROR_SANDBOX,
        "m"},
    {"no-message", "", "{\"status\":0,\"bytes\":0,\"error\":{\"code\":\"network\"}}", 1, GP_ERROR_SANDBOX,
        "broke its protocol"},
    {"escape", "",
        "{\"status\":0,\"bytes\":0,\"error\":{\"code\":\"network\",\"message\":\"a\\u001b[2J\\nb\",\"hint\":\"c\\nd\"}"
        "}",
        1, GP_ERROR_NETWORK, "a\\x1b[2J\\x0ab\nc\\x0ad"},
    {"endless", NULL, "{\"status\":200,\"bytes\":0}", 1, GP_ERROR_LIMIT, "more than 4194304 bytes"},
    {"half-frame", "", "", 3, GP_ERROR_SANDBOX, "the fetch worker died"},
    {"huge-frame", "", "", 4, GP_ERROR_SANDBOX, "the fetch worker died"},
};

/* ---- the worker */

static void send_body(const Lie *lie, int fd)
{
    static const char zeros[65536];
    if (lie->body)
        (void) gp_write_all(fd, lie->body, strlen(lie->body), NULL);
    while (!lie->body && gp_write_all(fd, zeros, sizeof zeros, NULL))
        ;
}

static void send_reply(const Lie *lie, int fd)
{
    static const char half[] = "\1\0\0\0\377\0\0\0abc", huge[] = "\1\0\0\0\377\377\377\177abc";
    if (lie->frame_type == 3)
        (void) gp_write_all(fd, half, sizeof half - 1, NULL);
    else if (lie->frame_type == 4)
        (void) gp_write_all(fd, huge, sizeof huge - 1, NULL);
    else if (lie->reply)
        (void) gp_frame_write(fd, lie->frame_type, lie->reply, strlen(lie->reply), NULL);
}

static gboolean serve(int control)
{
    char text[4096];
    union {
        char buffer[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } fds = {{0}};
    struct iovec part = {text, sizeof text - 1};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = fds.buffer, .msg_controllen = sizeof fds.buffer};
    ssize_t length = recvmsg(control, &header, MSG_CMSG_CLOEXEC);
    if (length <= 0)
        return FALSE;
    text[length] = '\0';
    const struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    int pipes[2];
    if (!cmsg)
        return FALSE;
    memcpy(pipes, CMSG_DATA(cmsg), sizeof pipes);
    for (gsize i = 0; i < G_N_ELEMENTS(lies); i++) {
        g_autofree char *word = g_strdup_printf("\"selector\":\"%s\"", lies[i].selector);
        if (!strstr(text, word))
            continue;
        send_body(&lies[i], pipes[0]);
        gp_close_fd(&pipes[0]);
        send_reply(&lies[i], pipes[1]);
    }
    gp_close_fd(&pipes[0]);
    gp_close_fd(&pipes[1]);
    return TRUE;
}

static void be_the_worker(void)
{
    static const char ready[] = "{\"ready\":true}";
    char configuration[4096];
    (void) signal(SIGPIPE, SIG_IGN);
    if (recv(GP_FETCH_CONTROL_FD, configuration, sizeof configuration, 0) > 0 &&
        send(GP_FETCH_CONTROL_FD, ready, strlen(ready), MSG_NOSIGNAL) > 0)
        while (serve(GP_FETCH_CONTROL_FD))
            ;
    _exit(0);
}

/* ---- the tests */

static void test_lies(void)
{
    GpFetchConfig config = {.timeout = 10};
    g_autoptr(GError) failure = NULL;
    g_autoptr(GpFetch) fetch = gp_fetch_start(&config, &failure);
    g_assert_no_error(failure);
    GpLocation location = {.host = (char *) (guintptr) "h", .repository = (char *) (guintptr) "r"};
    for (gsize i = 0; i < G_N_ELEMENTS(lies); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *type = NULL;
        g_autoptr(GBytes) bytes = gp_fetch_manifest(fetch, &location, lies[i].selector, &type, &error);
        if (!lies[i].reason) {
            g_assert_no_error(error);
            g_assert_cmpuint(g_bytes_get_size(bytes), ==, strlen(lies[i].body));
            g_assert_cmpstr(type, ==, "x/y");
            continue;
        }
        g_assert_null(bytes);
        if (!strstr(error->message, lies[i].reason))
            g_test_message("%s: %s", lies[i].selector, error->message);
        g_assert_error(error, GP_ERROR, (gint) lies[i].code);
        g_assert_nonnull(strstr(error->message, lies[i].reason));
    }
}

int main(int argc, char **argv)
{
    if (g_str_has_suffix(argv[0], GP_FETCH_WORKER))
        be_the_worker();
    g_test_init(&argc, &argv, NULL);
    g_autofree char *folder = g_dir_make_tmp("guest-pull-test-XXXXXX", NULL);
    g_autofree char *link = g_build_filename(folder, GP_FETCH_WORKER, NULL);
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_assert_cmpint(symlink(self, link), ==, 0);
    g_assert_true(g_setenv("GUEST_PULL_LIBEXEC", folder, TRUE));
    g_test_add_func("/puller/fetch-liar/lies", test_lies);
    int status = g_test_run();
    gp_remove_tree(AT_FDCWD, folder, NULL);
    return status;
}
