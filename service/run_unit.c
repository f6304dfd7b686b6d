/* A run in a unit of its own: systemd starts one for each connection to the pull socket (guest-pull.socket), and
 * it runs serve_pull.c. We only ask, listen and hang up; we cannot mount, and need not be able to. */
#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "service/pull_progress.h"
#include "service/run_private.h"
#include "service/unit_protocol.h"

/* A unit that was told to end does that within its own grace; then there is nothing to wait for. */
#define STOP_MS (GP_RUN_GRACE_MS + 3000)
#define UNDO_MS 15000

typedef struct {
    GpRun run;
    int fd;
    guint source, timer;
    gboolean undoing; /* @fd leads to a second unit, which takes back what the first one left */
    char *digest;
    GError *why;
} UnitRun;

static int connect_unit(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof address) == 0)
        return gp_steal_fd(&fd);
    int err = errno;
    if (err == ENOENT || err == ECONNREFUSED)
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND,
            "nobody listens at %s to start the unit of a pull: %s\nStart guest-pull.socket.", path, g_strerror(err));
    else
        gp_set_errno(error, err, "%s", path);
    return -1;
}

/* Whatever we know is said now; @self is gone afterwards. */
static void end(UnitRun *self)
{
    if (!self->digest && !self->why)
        g_set_error(&self->why, GP_ERROR, GP_ERROR_SANDBOX,
            "the unit of this pull ended without an answer\nSee journalctl -u 'guest-pull@*'.");
    self->run.calls->ended(self->why ? NULL : self->digest, self->why, self->run.user_data);
}

static void hang_up(UnitRun *self)
{
    gp_run_remove_source(&self->source);
    gp_run_remove_source(&self->timer);
    gp_close_fd(&self->fd);
}

/* ---- taking back what a unit left that cannot do it any more */

static int ask_undo(const GpRun *run, GError **error)
{
    GP_AUTOFD int fd = connect_unit(run->config->pull_socket, error);
    if (fd < 0 || !gp_unit_send(fd,
                      json_pack("{s:s, s:b, s:s, s:i}", "undo", gp_bundle_dir_path(run->bundle), "hadConfig",
                          gp_bundle_dir_had_config(run->bundle), "request", run->request, "pid", (int) run->pid),
                      0, error))
        return -1;
    return gp_steal_fd(&fd);
}

static void undo_failed(UnitRun *self, const char *reason)
{
    gp_log(G_LOG_LEVEL_CRITICAL, self->run.request, "could not undo: %s", reason);
    hang_up(self);
    end(self);
}

static gboolean on_undo_answer(int fd, GIOCondition condition, gpointer user_data)
{
    UnitRun *self = user_data;
    gboolean gone;
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) message = gp_unit_receive(fd, &gone, &error);
    if (!message && !gone && !error)
        return G_SOURCE_CONTINUE;
    self->source = 0;
    json_t *failure = message ? json_object_get(message, "error") : NULL;
    if (failure)
        error = gp_unit_read_error(failure);
    if (message && json_is_true(json_object_get(message, "undone"))) {
        hang_up(self);
        end(self);
    } else {
        undo_failed(self, error ? error->message : "no answer");
    }
    return G_SOURCE_REMOVE;
}

static gboolean on_undo_late(gpointer user_data)
{
    UnitRun *self = user_data;
    self->timer = 0;
    undo_failed(self, "no answer in time");
    return G_SOURCE_REMOVE;
}

static void start_undo(UnitRun *self)
{
    hang_up(self);
    g_autoptr(GError) error = NULL;
    self->undoing = TRUE;
    self->fd = ask_undo(&self->run, &error);
    if (self->fd < 0) {
        undo_failed(self, error->message);
        return;
    }
    self->source = g_unix_fd_add(self->fd, G_IO_IN | G_IO_HUP, on_undo_answer, self);
    self->timer = g_timeout_add(UNDO_MS, on_undo_late, self);
}

/* ---- the unit that pulls */

static void take_progress(const UnitRun *self, json_t *progress)
{
    guint64 fetched, size;
    if (json_is_object(progress) && gp_pull_progress_check(progress, &fetched, &size, NULL))
        self->run.calls->progress(progress, fetched, size, self->run.user_data);
}

static void take(UnitRun *self, json_t *message)
{
    json_t *pid = json_object_get(message, "pid");
    json_t *digest = json_object_get(message, "digest");
    json_t *failure = json_object_get(message, "error");
    if (json_object_get(message, "progress"))
        take_progress(self, json_object_get(message, "progress"));
    if (pid && json_integer_value(pid) > 0 && json_integer_value(pid) <= G_MAXINT32)
        self->run.pid = (pid_t) json_integer_value(pid);
    if (json_is_string(digest) && !self->digest)
        self->digest = g_strdup(json_string_value(digest));
    if (failure && !self->why)
        self->why = gp_unit_read_error(failure);
}

/* The unit is gone. A failure that it told us is one that it has undone. */
static void unit_ended(UnitRun *self)
{
    if (self->why || (self->digest && !self->run.stopping)) {
        hang_up(self);
        end(self);
    } else {
        if (self->run.stopping)
            g_set_error(&self->why, GP_ERROR, GP_ERROR_CANCELLED, "stopped");
        start_undo(self);
    }
}

static gboolean on_message(int fd, GIOCondition condition, gpointer user_data)
{
    UnitRun *self = user_data;
    gboolean gone;
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) message = gp_unit_receive(fd, &gone, &error);
    if (message)
        take(self, message);
    if (error)
        gp_log(G_LOG_LEVEL_WARNING, self->run.request, "the unit of this pull: %s", error->message);
    if (!gone && !error)
        return G_SOURCE_CONTINUE;
    self->source = 0;
    unit_ended(self);
    return G_SOURCE_REMOVE;
}

static gboolean on_stop_late(gpointer user_data)
{
    UnitRun *self = user_data;
    self->timer = 0;
    unit_ended(self);
    return G_SOURCE_REMOVE;
}

/* Its side sees the end of what we say. */
static void unit_stop(GpRun *run)
{
    UnitRun *self = (UnitRun *) run;
    if (self->undoing)
        return;
    (void) shutdown(self->fd, SHUT_WR);
    self->timer = g_timeout_add(STOP_MS, on_stop_late, self);
}

/* An undo that is asked for here is not waited for: the unit does it without us. */
static void unit_finish(GpRun *run, gint64 finish)
{
    UnitRun *self = (UnitRun *) run;
    gp_run_remove_source(&self->source);
    gboolean gone = FALSE;
    while (self->fd >= 0 && !gone) {
        gint64 left = (finish - g_get_monotonic_time()) / 1000;
        struct pollfd wait = {.fd = self->fd, .events = POLLIN};
        if (left <= 0 || poll(&wait, 1, (int) left) == 0)
            break;
        g_autoptr(json_t) message = gp_unit_receive(self->fd, &gone, NULL);
        if (message && !self->undoing)
            take(self, message);
    }
    if (self->undoing || self->why)
        return;
    GP_AUTOFD int fd = ask_undo(run, NULL);
    (void) fd;
}

static void unit_free(GpRun *run)
{
    UnitRun *self = (UnitRun *) run;
    hang_up(self);
    g_free(self->digest);
    g_clear_error(&self->why);
}

static const GpRunKind unit_kind = {unit_stop, unit_finish, unit_free};

gsize gp_run_unit_size(void)
{
    return sizeof(UnitRun);
}

gboolean gp_run_unit_start(GpRun *run, GError **error)
{
    UnitRun *self = (UnitRun *) run;
    run->kind = &unit_kind;
    self->fd = connect_unit(run->config->pull_socket, error);
    if (self->fd < 0 ||
        !gp_unit_send(self->fd,
            json_pack("{s:s, s:s, s:s, s:i}", "pull", run->image, "bundle", gp_bundle_dir_path(run->bundle), "request",
                run->request, "seconds", (int) run->seconds),
            0, error))
        return FALSE;
    self->source = g_unix_fd_add(self->fd, G_IO_IN | G_IO_HUP, on_message, self);
    return TRUE;
}
