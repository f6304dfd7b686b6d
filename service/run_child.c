/* A run as our own child, in a process group of its own. */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "service/child.h"
#include "base/log.h"
#include "service/pull_progress.h"
#include "service/pull_report.h"
#include "service/run_private.h"

#define CHUNK 16384
#define PROGRESS_PAUSE_MS 100
#define MAX_LAST_MESSAGES 64

typedef struct {
    GpRun run;
    GpChild child;
    int output_fd;   /* the puller's standard output */
    int progress_fd; /* its messages about itself */
    GByteArray *output;
    guint output_source, progress_source, progress_timer, end_source, kill_source;
} ChildRun;

static void undo(const GpRun *run)
{
    g_autoptr(GError) error = NULL;
    if (!gp_bundle_dir_undo(run->bundle, &error))
        gp_log(G_LOG_LEVEL_CRITICAL, run->request, "could not undo: %s", error->message);
}

/* ---- what it says */

/* Reads what the pipe holds now. TRUE at its end, and when there is more than a report can have, which ends the puller.
 */
static gboolean read_output(ChildRun *self)
{
    guint8 chunk[CHUNK];
    for (;;) {
        ssize_t got = read(self->output_fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return FALSE;
        if (got <= 0)
            return TRUE;
        if (self->output->len + (gsize) got > GP_LIMIT_PULL_REPORT) {
            gp_child_signal(&self->child, SIGKILL, TRUE);
            return TRUE;
        }
        g_byte_array_append(self->output, chunk, (guint) got);
    }
}

static gboolean on_output(int fd, GIOCondition condition, gpointer user_data)
{
    ChildRun *self = user_data;
    if (!read_output(self))
        return G_SOURCE_CONTINUE;
    self->output_source = 0;
    return G_SOURCE_REMOVE;
}

/* A message that makes no sense is no reason to end a pull: nothing but what people are shown depends on it. */
static void take_progress(const ChildRun *self, const char *text, gsize length)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) progress = gp_json_parse(text, length, GP_LIMIT_PULL_PROGRESS, "the puller's progress", &error);
    guint64 fetched, size;
    if (progress && gp_pull_progress_check(progress, &fetched, &size, &error))
        self->run.calls->progress(progress, fetched, size, self->run.user_data);
    else
        gp_log(G_LOG_LEVEL_DEBUG, self->run.request, "%s", error->message);
}

static gboolean on_progress(int fd, GIOCondition condition, gpointer user_data);

static gboolean on_pause_over(gpointer user_data)
{
    ChildRun *self = user_data;
    self->progress_timer = 0;
    self->progress_source = g_unix_fd_add(self->progress_fd, G_IO_IN | G_IO_HUP, on_progress, self);
    return G_SOURCE_REMOVE;
}

/* One message, then a pause: a puller that floods us waits, or loses messages, by itself. */
static gboolean on_progress(int fd, GIOCondition condition, gpointer user_data)
{
    ChildRun *self = user_data;
    g_autofree char *text = g_malloc(GP_LIMIT_PULL_PROGRESS);
    ssize_t got = recv(fd, text, GP_LIMIT_PULL_PROGRESS, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    self->progress_source = 0;
    if (got > 0) {
        self->progress_timer = g_timeout_add(PROGRESS_PAUSE_MS, on_pause_over, self);
        take_progress(self, text, (gsize) got);
    }
    return G_SOURCE_REMOVE;
}

/* ---- the end */

/* What it said last is what its bytes are counted by. */
static void read_last_progress(ChildRun *self)
{
    g_autofree char *text = g_malloc(GP_LIMIT_PULL_PROGRESS);
    gssize length = 0;
    for (int i = 0; i < MAX_LAST_MESSAGES; i++) {
        ssize_t got = recv(self->progress_fd, text, GP_LIMIT_PULL_PROGRESS, MSG_DONTWAIT);
        if (got <= 0)
            break;
        length = got;
    }
    if (length > 0)
        take_progress(self, text, (gsize) length);
}

/* The digest, when the puller says that it succeeded and the rootfs is what it must be. */
static char *judge(ChildRun *self, int wait_status, GError **error)
{
    if (self->run.stopping) {
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED, "stopped");
        return NULL;
    }
    (void) read_output(self);
    g_autoptr(GBytes) output = g_bytes_new_static(self->output->data, self->output->len);
    g_autofree char *digest = gp_pull_report_read(output, wait_status, error);
    if (!digest || !gp_bundle_dir_check_mounted(self->run.bundle, error))
        return NULL;
    return g_steal_pointer(&digest);
}

static gboolean on_end(int fd, GIOCondition condition, gpointer user_data)
{
    ChildRun *self = user_data;
    self->end_source = 0;
    int wait_status = gp_child_reap(&self->child);
    read_last_progress(self);
    g_autoptr(GError) why = NULL;
    g_autofree char *digest = judge(self, wait_status, &why);
    if (!digest)
        undo(&self->run);
    self->run.calls->ended(digest, why, self->run.user_data);
    return G_SOURCE_REMOVE;
}

static gboolean on_grace_over(gpointer user_data)
{
    ChildRun *self = user_data;
    self->kill_source = 0;
    gp_child_signal(&self->child, SIGKILL, TRUE);
    return G_SOURCE_REMOVE;
}

/* SIGTERM, so that the puller tidies up itself; after a while SIGKILL for its whole group. */
static void child_stop(GpRun *run)
{
    ChildRun *self = (ChildRun *) run;
    gp_child_signal(&self->child, SIGTERM, FALSE);
    self->kill_source = g_timeout_add(GP_RUN_GRACE_MS, on_grace_over, self);
}

static void child_finish(GpRun *run, gint64 end)
{
    ChildRun *self = (ChildRun *) run;
    if (self->child.pid > 0) {
        struct pollfd wait = {.fd = self->child.pidfd, .events = POLLIN};
        (void) poll(&wait, 1, (int) MAX((end - g_get_monotonic_time()) / 1000, 0));
        (void) gp_child_reap(&self->child);
    }
    undo(run);
}

static void child_free(GpRun *run)
{
    ChildRun *self = (ChildRun *) run;
    guint *const sources[] = {
        &self->output_source, &self->progress_source, &self->progress_timer, &self->end_source, &self->kill_source};
    for (gsize i = 0; i < G_N_ELEMENTS(sources); i++)
        gp_run_remove_source(sources[i]);
    gp_close_fd(&self->output_fd);
    gp_close_fd(&self->progress_fd);
    g_byte_array_unref(self->output);
}

static const GpRunKind child_kind = {child_stop, child_finish, child_free};

/* ---- the start */

static GPtrArray *puller_arguments(const GpRun *run)
{
    const GpRunConfig *config = run->config;
    GPtrArray *arguments = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(arguments, g_strdup(config->program));
    g_ptr_array_add(arguments, g_strdup("pull"));
    g_ptr_array_add(arguments, g_strdup("--json"));
    g_ptr_array_add(arguments, g_strdup("--quiet"));
    g_ptr_array_add(arguments, g_strdup_printf("--timeout=%u", run->seconds));
    if (config->config)
        g_ptr_array_add(arguments, g_strdup_printf("--config=%s", config->config));
    for (char **extra = config->extra; extra && *extra; extra++)
        g_ptr_array_add(arguments, g_strdup(*extra));
    g_ptr_array_add(arguments, g_strdup_printf("--bundle=%s", gp_bundle_dir_path(run->bundle)));
    /* Always a registry's: the host names the image, and "dir:/…", "oci:/…" or "--option" must not mean anything. */
    g_ptr_array_add(arguments, g_strconcat("docker://", run->image, NULL));
    g_ptr_array_add(arguments, NULL);
    return arguments;
}

static char **puller_environment(const GpRun *run)
{
    char **environment = gp_child_environment();
    environment = g_environ_setenv(environment, "GUEST_PULL_REQUEST_ID", run->request, TRUE);
    return g_environ_setenv(environment, "GUEST_PULL_PROGRESS_FD", "3", TRUE);
}

static gboolean spawn(ChildRun *self, int output, int progress, GError **error)
{
    g_autoptr(GPtrArray) arguments = puller_arguments(&self->run);
    g_auto(GStrv) environment = puller_environment(&self->run);
    const int fds[] = {progress};
    const GpChildStart start = {.argv = (const char *const *) arguments->pdata,
        .envp = environment,
        .stdout_fd = output,
        .fds = fds,
        .n_fds = G_N_ELEMENTS(fds),
        .death_signal = SIGTERM,
        .expendable = TRUE};
    return gp_child_spawn(&start, &self->child, error);
}

gsize gp_run_child_size(void)
{
    return sizeof(ChildRun);
}

gboolean gp_run_child_start(GpRun *run, GError **error)
{
    ChildRun *self = (ChildRun *) run;
    run->kind = &child_kind;
    self->output_fd = self->progress_fd = self->child.pidfd = -1;
    self->output = g_byte_array_new();
    int pipe_fds[2], socket_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    self->output_fd = pipe_fds[0];
    GP_AUTOFD int output = pipe_fds[1];
    /* Messages, not a stream: none is ever half read, and the puller never waits for us. */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socket_fds) < 0) {
        gp_set_errno(error, errno, "socketpair");
        return FALSE;
    }
    self->progress_fd = socket_fds[0];
    GP_AUTOFD int progress = socket_fds[1];
    if (!g_unix_set_fd_nonblocking(self->output_fd, TRUE, NULL)) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    if (!spawn(self, output, progress, error))
        return FALSE;
    run->pid = self->child.pid;
    self->output_source = g_unix_fd_add(self->output_fd, G_IO_IN | G_IO_HUP, on_output, self);
    self->progress_source = g_unix_fd_add(self->progress_fd, G_IO_IN | G_IO_HUP, on_progress, self);
    self->end_source = g_unix_fd_add(self->child.pidfd, G_IO_IN, on_end, self);
    return TRUE;
}
