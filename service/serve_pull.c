#include "service/serve_pull.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "service/unit_protocol.h"

#define REQUEST_MS 10000
#define ANSWER_MS 5000
#define PROC_ENVIRON (64 * GP_KIB)

typedef struct {
    const GpRunConfig *config;
    int fd;
    GMainLoop *loop;
    guint source;
    GpBundleDir *bundle;
    GpRun *run;
    char *request;
} Served;

/* Takes the connection out of the standard descriptors, so that no child has it. */
static int take_connection(GError **error)
{
    struct ucred peer;
    int type = 0;
    socklen_t peer_length = sizeof peer, type_length = sizeof type;
    if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &type_length) < 0 || type != SOCK_SEQPACKET ||
        getsockopt(STDIN_FILENO, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) < 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "standard input is no connection of messages\nOnly guest-pull.socket starts --serve-pull.");
        return -1;
    }
    if (peer.uid != 0 && peer.uid != geteuid()) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "a connection of user %u", (unsigned) peer.uid);
        return -1;
    }
    GP_AUTOFD int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    GP_AUTOFD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0) {
        gp_set_errno(error, errno, "standard input");
        return -1;
    }
    return gp_steal_fd(&fd);
}

static json_t *receive_request(int fd, GError **error)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    gboolean gone = FALSE;
    json_t *message = poll(&wait, 1, REQUEST_MS) > 0 ? gp_unit_receive(fd, &gone, error) : NULL;
    if (!message && error && !*error)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "no request came");
    return message;
}

/* ---- a pull */

static void on_run_progress(json_t *progress, guint64 fetched, guint64 size, gpointer user_data)
{
    Served *served = user_data;
    /* Not waited for: the next one says more. */
    (void) gp_unit_send(served->fd, json_pack("{s:O}", "progress", progress), 0, NULL);
}

/* An answer that nobody takes is a pull that nobody will unmount. */
static void on_run_ended(const char *digest, const GError *why, gpointer user_data)
{
    Served *served = user_data;
    g_autoptr(GError) error = NULL;
    json_t *answer = digest ? json_pack("{s:s}", "digest", digest) : gp_unit_error(why);
    if (!gp_unit_send(served->fd, answer, ANSWER_MS, &error)) {
        gp_log(G_LOG_LEVEL_WARNING, served->request, "nobody takes the answer: %s", error->message);
        g_clear_error(&error);
        if (digest && !gp_bundle_dir_undo(served->bundle, &error))
            gp_log(G_LOG_LEVEL_CRITICAL, served->request, "could not undo: %s", error->message);
    }
    g_clear_pointer(&served->run, gp_run_free);
    g_main_loop_quit(served->loop);
}

static const GpRunCalls run_calls = {on_run_progress, on_run_ended};

/* Nothing more is ever said to us: this is the end, or somebody who does not know the protocol. */
static gboolean on_connection(int fd, GIOCondition condition, gpointer user_data)
{
    Served *served = user_data;
    served->source = 0;
    gp_log(G_LOG_LEVEL_INFO, served->request, "the service hung up");
    gp_run_stop(served->run);
    return G_SOURCE_REMOVE;
}

static gboolean on_signal(gpointer user_data)
{
    Served *served = user_data;
    gp_run_stop(served->run);
    return G_SOURCE_CONTINUE;
}

static gboolean start_pull(Served *served, json_t *message, GError **error)
{
    json_t *image, *bundle, *request, *seconds;
    const GpJsonField fields[] = {{"pull", GP_JSON_STRING, GP_JSON_MANDATORY, &image},
        {"bundle", GP_JSON_STRING, GP_JSON_MANDATORY, &bundle},
        {"request", GP_JSON_STRING, GP_JSON_MANDATORY, &request},
        {"seconds", GP_JSON_INTEGER, GP_JSON_MANDATORY, &seconds}, {0}};
    if (!gp_json_fields(message, "$", fields, TRUE, error))
        return FALSE;
    served->request = g_strdup(json_string_value(request));
    served->bundle =
        gp_bundle_dir_open(json_string_value(bundle), (const char *const *) served->config->bundle_roots, error);
    if (!served->bundle)
        return FALSE;
    GpRunJob job = {.request = served->request,
        .image = json_string_value(image),
        .bundle = served->bundle,
        .seconds = (guint) CLAMP(json_integer_value(seconds), 1, G_MAXINT32)};
    served->run = gp_run_start(served->config, &job, &run_calls, served, error);
    return served->run != NULL;
}

/* FALSE with @error: it did not even start. */
static gboolean pull(Served *served, json_t *message, GError **error)
{
    if (!start_pull(served, message, error))
        return FALSE;
    served->loop = g_main_loop_new(NULL, FALSE);
    served->source = g_unix_fd_add(served->fd, G_IO_IN | G_IO_HUP, on_connection, served);
    g_unix_signal_add(SIGTERM, on_signal, served);
    g_unix_signal_add(SIGINT, on_signal, served);
    (void) gp_unit_send(served->fd, json_pack("{s:i}", "pid", (int) gp_run_pid(served->run)), 0, NULL);
    g_main_loop_run(served->loop);
    g_main_loop_unref(served->loop);
    if (served->source)
        g_source_remove(served->source);
    return TRUE;
}

/* ---- an undo */

/* TRUE if @pid is (still) the puller of @request: the kernel may have given the number away. */
static gboolean is_puller_of(pid_t pid, const char *request)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/environ", (int) pid);
    GP_AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_autoptr(GBytes) bytes = fd >= 0 ? gp_read_all(fd, PROC_ENVIRON, path, NULL) : NULL;
    if (!bytes)
        return FALSE;
    g_autofree char *wanted = g_strconcat("GUEST_PULL_REQUEST_ID=", request, NULL);
    gsize length;
    const char *at = g_bytes_get_data(bytes, &length);
    const char *end = at + length;
    for (; at && at < end; at += strnlen(at, (gsize) (end - at)) + 1)
        if (strncmp(at, wanted, (gsize) (end - at)) == 0)
            return TRUE;
    return FALSE;
}

/* The puller of a unit that died was told so by the kernel and is tidying up; what it mounts after us would stay. */
static gboolean end_puller(pid_t pid, const char *request, GError **error)
{
    GP_AUTOFD int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (pidfd < 0 || !is_puller_of(pid, request))
        return TRUE;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    if (poll(&ended, 1, GP_RUN_GRACE_MS) > 0)
        return TRUE;
    (void) kill(-pid, SIGKILL);
    if (poll(&ended, 1, GP_RUN_GRACE_MS) > 0)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "the puller, process %d, does not end", (int) pid);
    return FALSE;
}

static gboolean undo(Served *served, json_t *message, GError **error)
{
    json_t *path, *had_config, *request, *pid;
    const GpJsonField fields[] = {{"undo", GP_JSON_STRING, GP_JSON_MANDATORY, &path},
        {"hadConfig", GP_JSON_BOOLEAN, GP_JSON_MANDATORY, &had_config},
        {"request", GP_JSON_STRING, GP_JSON_MANDATORY, &request}, {"pid", GP_JSON_INTEGER, GP_JSON_MANDATORY, &pid},
        {0}};
    if (!gp_json_fields(message, "$", fields, TRUE, error))
        return FALSE;
    served->request = g_strdup(json_string_value(request));
    served->bundle = gp_bundle_dir_reopen(
        json_string_value(path), (const char *const *) served->config->bundle_roots, json_is_true(had_config), error);
    pid_t puller = (pid_t) CLAMP(json_integer_value(pid), 0, G_MAXINT32);
    if (!served->bundle || !end_puller(puller, served->request, error) || !gp_bundle_dir_undo(served->bundle, error))
        return FALSE;
    return gp_unit_send(served->fd, json_pack("{s:b}", "undone", 1), ANSWER_MS, error);
}

gboolean gp_serve_pull(const GpRunConfig *config, const GError *unsettled, GError **error)
{
    Served served = {.config = config, .fd = take_connection(error)};
    if (served.fd < 0)
        return FALSE;
    g_autoptr(GError) why = NULL;
    g_autoptr(json_t) message = receive_request(served.fd, &why);
    if (message && unsettled)
        why = g_error_copy(unsettled);
    gboolean done = message && !why &&
                    (json_object_get(message, "undo") ? undo(&served, message, &why) : pull(&served, message, &why));
    if (!done)
        (void) gp_unit_send(served.fd, gp_unit_error(why), ANSWER_MS, NULL);
    gp_bundle_dir_free(served.bundle);
    gp_close_fd(&served.fd);
    g_free(served.request);
    if (done)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}
