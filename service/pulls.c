#include "service/pulls.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "service/bundle_dir.h"
#include "service/child.h"
#include "service/log.h"
#include "service/pull_report.h"

#define GRACE_MS 2000 /* between SIGTERM, when the puller tidies up itself, and SIGKILL for its whole group */
#define CHUNK 16384

typedef enum {
    PULL_WAITING,
    PULL_RUNNING,
    PULL_STOPPING, /* told to end; its answer, if any, is decided */
} PullState;

typedef enum {
    STOP_NOT,
    STOP_DEADLINE,
    STOP_CANCELLED,
} PullStop;

struct _GpPull {
    GpPulls *pulls;
    char *id;
    char *image;
    GpBundleDir *bundle;
    PullState state;
    PullStop stop;
    gint64 asked;    /* monotonic */
    gint64 limit;    /* milliseconds for everything */
    GpPullDone done; /* NULL: nobody waits for the answer any more */
    gpointer user_data;

    GpChild child;
    int output_fd;
    GByteArray *output;
    guint output_source, end_source, deadline_source, kill_source;
};

typedef struct {
    guint64 asked, succeeded, failed, timed_out, cancelled, refused;
    guint64 by_code[GP_ERROR_N_CODES];
} Totals;

struct _GpPulls {
    const GpPullsConfig *config;
    GPtrArray *all;  /* GpPull*, in the order in which they were asked for */
    guint running;   /* those with a child */
    guint32 session; /* so that ids of two lives of the service differ */
    guint64 counter;
    Totals totals;
};

static const char *const state_names[] = {
    [PULL_WAITING] = "waiting", [PULL_RUNNING] = "pulling", [PULL_STOPPING] = "stopping"};

static void start_waiting(GpPulls *pulls);

static void remove_source(guint *source)
{
    if (*source)
        g_source_remove(*source);
    *source = 0;
}

static void pull_free(GpPull *pull)
{
    remove_source(&pull->output_source);
    remove_source(&pull->end_source);
    remove_source(&pull->deadline_source);
    remove_source(&pull->kill_source);
    gp_close_fd(&pull->output_fd);
    gp_bundle_dir_free(pull->bundle);
    g_byte_array_unref(pull->output);
    g_free(pull->image);
    g_free(pull->id);
    g_free(pull);
}

static void undo(const GpPull *pull)
{
    g_autoptr(GError) error = NULL;
    if (!gp_bundle_dir_undo(pull->bundle, &error))
        gp_log(G_LOG_LEVEL_CRITICAL, pull->id, "could not undo: %s", error->message);
}

/* ---- the end of a pull */

/* Takes @pull off the list, answers, frees it. @digest or @why. */
static void conclude(GpPull *pull, const char *digest, const GError *why)
{
    GpPulls *pulls = pull->pulls;
    double seconds = (double) (g_get_monotonic_time() - pull->asked) / G_TIME_SPAN_SECOND;
    if (digest) {
        pulls->totals.succeeded++;
        gp_log(G_LOG_LEVEL_INFO, pull->id, "pulled %s in %.2f s", digest, seconds);
    } else {
        pulls->totals.failed++;
        pulls->totals.by_code[gp_error_code(why)]++;
        gp_log(G_LOG_LEVEL_WARNING, pull->id, "failed after %.2f s: %s", seconds, why->message);
    }
    g_ptr_array_remove(pulls->all, pull);
    if (pull->done) {
        g_autofree char *text = digest ? NULL : gp_pull_report_text(pull->image, why);
        gboolean late = why && gp_error_code(why) == GP_ERROR_CANCELLED;
        GpStatusCode status = late ? GP_STATUS_DEADLINE_EXCEEDED : GP_STATUS_INTERNAL;
        pull->done(pull, digest, digest ? GP_STATUS_OK : status, text, pull->user_data);
    }
    pull_free(pull);
}

static GError *stop_error(const GpPull *pull)
{
    if (pull->stop == STOP_CANCELLED)
        return g_error_new(GP_ERROR, GP_ERROR_CANCELLED, "the client closed its connection");
    return g_error_new(GP_ERROR, GP_ERROR_CANCELLED, "not done within %.1f seconds%s", (double) pull->limit / 1000,
        pull->state == PULL_WAITING ? ", all of them spent waiting for other pulls" : "");
}

/* Reads what the pipe holds now. TRUE at its end, and when there is more than a report can have, which ends the puller.
 */
static gboolean read_output(GpPull *pull)
{
    guint8 chunk[CHUNK];
    for (;;) {
        ssize_t got = read(pull->output_fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return FALSE;
        if (got <= 0)
            return TRUE;
        if (pull->output->len + (gsize) got > GP_LIMIT_PULL_REPORT) {
            gp_child_signal(&pull->child, SIGKILL, TRUE);
            return TRUE;
        }
        g_byte_array_append(pull->output, chunk, (guint) got);
    }
}

static gboolean on_output(int fd, GIOCondition condition, gpointer user_data)
{
    GpPull *pull = user_data;
    if (!read_output(pull))
        return G_SOURCE_CONTINUE;
    pull->output_source = 0;
    return G_SOURCE_REMOVE;
}

/* The digest, when the puller says that it succeeded and the rootfs is what it must be. */
static char *judge(GpPull *pull, int wait_status, GError **error)
{
    if (pull->stop != STOP_NOT) {
        g_propagate_error(error, stop_error(pull));
        return NULL;
    }
    (void) read_output(pull);
    g_autoptr(GBytes) output = g_bytes_new_static(pull->output->data, pull->output->len);
    g_autofree char *digest = gp_pull_report_read(output, wait_status, error);
    if (!digest || !gp_bundle_dir_check_mounted(pull->bundle, error))
        return NULL;
    return g_steal_pointer(&digest);
}

static gboolean on_end(int fd, GIOCondition condition, gpointer user_data)
{
    GpPull *pull = user_data;
    GpPulls *pulls = pull->pulls;
    pull->end_source = 0;
    int wait_status = gp_child_reap(&pull->child);
    pulls->running--;
    g_autoptr(GError) why = NULL;
    g_autofree char *digest = judge(pull, wait_status, &why);
    if (!digest)
        undo(pull);
    conclude(pull, digest, why);
    start_waiting(pulls);
    return G_SOURCE_REMOVE;
}

static gboolean on_grace_over(gpointer user_data)
{
    GpPull *pull = user_data;
    pull->kill_source = 0;
    gp_child_signal(&pull->child, SIGKILL, TRUE);
    return G_SOURCE_REMOVE;
}

static void stop(GpPull *pull, PullStop why)
{
    if (why == STOP_CANCELLED)
        pull->done = NULL;
    if (pull->state == PULL_STOPPING)
        return;
    pull->stop = why;
    if (why == STOP_DEADLINE)
        pull->pulls->totals.timed_out++;
    else
        pull->pulls->totals.cancelled++;
    if (pull->state == PULL_WAITING) {
        g_autoptr(GError) error = stop_error(pull);
        conclude(pull, NULL, error);
        return;
    }
    pull->state = PULL_STOPPING;
    gp_child_signal(&pull->child, SIGTERM, FALSE);
    pull->kill_source = g_timeout_add(GRACE_MS, on_grace_over, pull);
}

static gboolean on_deadline(gpointer user_data)
{
    GpPull *pull = user_data;
    pull->deadline_source = 0;
    stop(pull, STOP_DEADLINE);
    return G_SOURCE_REMOVE;
}

void gp_pull_cancel(GpPull *pull)
{
    stop(pull, STOP_CANCELLED);
}

/* ---- the start of a pull */

/* The puller gives up a little before us, so that it can say itself what it was waiting for. */
static guint seconds_left(const GpPull *pull)
{
    gint64 left = pull->limit - (g_get_monotonic_time() - pull->asked) / 1000;
    return (guint) CLAMP(left / 1000, 1, G_MAXINT32);
}

static GPtrArray *puller_arguments(const GpPull *pull)
{
    const GpPullsConfig *config = pull->pulls->config;
    GPtrArray *arguments = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(arguments, g_strdup(config->program));
    g_ptr_array_add(arguments, g_strdup("pull"));
    g_ptr_array_add(arguments, g_strdup("--json"));
    g_ptr_array_add(arguments, g_strdup("--quiet"));
    g_ptr_array_add(arguments, g_strdup_printf("--timeout=%u", seconds_left(pull)));
    if (config->config)
        g_ptr_array_add(arguments, g_strdup_printf("--config=%s", config->config));
    for (char **extra = config->extra; extra && *extra; extra++)
        g_ptr_array_add(arguments, g_strdup(*extra));
    g_ptr_array_add(arguments, g_strdup_printf("--bundle=%s", gp_bundle_dir_path(pull->bundle)));
    /* Always a registry's: the host names the image, and "dir:/…", "oci:/…" or "--option" must not mean anything. */
    g_ptr_array_add(arguments, g_strconcat("docker://", pull->image, NULL));
    g_ptr_array_add(arguments, NULL);
    return arguments;
}

static gboolean spawn(GpPull *pull, GError **error)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    pull->output_fd = fds[0];
    GP_AUTOFD int write_fd = fds[1];
    if (!g_unix_set_fd_nonblocking(pull->output_fd, TRUE, NULL)) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    g_autoptr(GPtrArray) arguments = puller_arguments(pull);
    g_auto(GStrv) environment = g_environ_setenv(gp_child_environment(), "GUEST_PULL_REQUEST_ID", pull->id, TRUE);
    if (!gp_child_spawn((const char *const *) arguments->pdata, environment, write_fd, SIGTERM, &pull->child, error))
        return FALSE;
    pull->state = PULL_RUNNING;
    pull->pulls->running++;
    pull->output_source = g_unix_fd_add(pull->output_fd, G_IO_IN | G_IO_HUP, on_output, pull);
    pull->end_source = g_unix_fd_add(pull->child.pidfd, G_IO_IN, on_end, pull);
    return TRUE;
}

static GpPull *next_waiting(const GpPulls *pulls)
{
    for (guint i = 0; i < pulls->all->len; i++) {
        GpPull *pull = pulls->all->pdata[i];
        if (pull->state == PULL_WAITING)
            return pull;
    }
    return NULL;
}

static void start_waiting(GpPulls *pulls)
{
    GpPull *pull;
    while (pulls->running < pulls->config->max_parallel && (pull = next_waiting(pulls))) {
        g_autoptr(GError) error = NULL;
        if (!spawn(pull, &error))
            conclude(pull, NULL, error);
    }
}

static gboolean on_start_waiting(gpointer user_data)
{
    start_waiting(user_data);
    return G_SOURCE_REMOVE;
}

/* The client's limit less a tenth (at most two seconds), so that it hears from us before it gives up, and never keeps
 * a mount of a call that it believes to have failed. */
static gint64 limit_of(const GpPullsConfig *config, gint64 timeout_nano)
{
    gint64 ours = (gint64) config->timeout * 1000;
    if (timeout_nano <= 0)
        return ours;
    gint64 asked = MAX(timeout_nano / 1000000, 1);
    return MIN(asked - MIN(asked / 10, 2000), ours);
}

static gboolean check_image(const char *image, GError **error)
{
    gboolean good = image[0] != '\0' && strlen(image) <= GP_LIMIT_REFERENCE;
    for (const char *at = image; good && *at; at++)
        good = g_ascii_isgraph(*at);
    if (good)
        return TRUE;
    g_autofree char *shown = gp_escape(image, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "\"%s\" is no image reference", shown);
    return FALSE;
}

/* Room in the queue, and nobody else at work in @bundle. */
static gboolean check_room(const GpPulls *pulls, const GpBundleDir *bundle, GError **error)
{
    guint waiting = 0;
    for (guint i = 0; i < pulls->all->len; i++) {
        const GpPull *other = pulls->all->pdata[i];
        waiting += other->state == PULL_WAITING;
        if (gp_bundle_dir_same(other->bundle, bundle)) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "bundle %s is in use: another request is pulling into it",
                gp_bundle_dir_path(bundle));
            return FALSE;
        }
    }
    if (waiting < pulls->config->max_queue)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%u pulls are waiting already", waiting);
    return FALSE;
}

static GpPull *new_pull(GpPulls *pulls, const char *image, const char *bundle, GError **error)
{
    if (g_str_has_prefix(image, "docker://"))
        image += strlen("docker://");
    if (!check_image(image, error))
        return NULL;
    g_autoptr(GpBundleDir) dir = gp_bundle_dir_open(bundle, (const char *const *) pulls->config->bundle_roots, error);
    if (!dir || !check_room(pulls, dir, error))
        return NULL;
    GpPull *pull = g_new0(GpPull, 1);
    pull->pulls = pulls;
    pull->id = g_strdup_printf("%08x-%" G_GUINT64_FORMAT, pulls->session, ++pulls->counter);
    pull->image = g_strdup(image);
    pull->bundle = g_steal_pointer(&dir);
    pull->output_fd = pull->child.pidfd = -1;
    pull->output = g_byte_array_new();
    pull->asked = g_get_monotonic_time();
    return pull;
}

GpPull *gp_pulls_start(GpPulls *pulls, const char *image, const char *bundle, gint64 timeout_nano, GpPullDone done,
    gpointer user_data, GError **error)
{
    pulls->totals.asked++;
    GpPull *pull = new_pull(pulls, image, bundle, error);
    if (!pull) {
        pulls->totals.refused++;
        return NULL;
    }
    pull->done = done;
    pull->user_data = user_data;
    pull->limit = limit_of(pulls->config, timeout_nano);
    pull->deadline_source = g_timeout_add((guint) MIN(pull->limit, G_MAXINT32), on_deadline, pull);
    g_ptr_array_add(pulls->all, pull);
    g_autofree char *shown = gp_escape(pull->image, -1, 512);
    gp_log(G_LOG_LEVEL_INFO, pull->id, "asked to pull %s into %s within %.1f s", shown, bundle,
        (double) pull->limit / 1000);
    /* Not from here: the caller must have the handle before @done can be called. */
    g_idle_add(on_start_waiting, pulls);
    return pull;
}

/* ---- all of them */

GpPulls *gp_pulls_new(const GpPullsConfig *config)
{
    GpPulls *pulls = g_new0(GpPulls, 1);
    pulls->config = config;
    pulls->all = g_ptr_array_new();
    pulls->session = g_random_int();
    return pulls;
}

void gp_pulls_free(GpPulls *pulls)
{
    if (!pulls)
        return;
    while (g_source_remove_by_user_data(pulls))
        ;
    for (guint i = 0; i < pulls->all->len; i++) {
        GpPull *pull = pulls->all->pdata[i];
        gp_child_signal(&pull->child, SIGTERM, FALSE);
    }
    gint64 end = g_get_monotonic_time() + (gint64) GRACE_MS * 1000;
    for (guint i = 0; i < pulls->all->len; i++) {
        GpPull *pull = pulls->all->pdata[i];
        if (pull->child.pid > 0) {
            struct pollfd wait = {.fd = pull->child.pidfd, .events = POLLIN};
            (void) poll(&wait, 1, (int) MAX((end - g_get_monotonic_time()) / 1000, 0));
            gp_child_reap(&pull->child);
        }
        undo(pull);
        pull_free(pull);
    }
    g_ptr_array_unref(pulls->all);
    g_free(pulls);
}

static json_t *status_of(const GpPull *pull)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:i}", "request", pull->id, "image", pull->image, "bundle",
        gp_bundle_dir_path(pull->bundle), "state", state_names[pull->state], "ageSeconds",
        (double) (g_get_monotonic_time() - pull->asked) / G_TIME_SPAN_SECOND, "pid", (int) pull->child.pid);
}

json_t *gp_pulls_status(const GpPulls *pulls)
{
    const Totals *totals = &pulls->totals;
    json_t *in_flight = json_array();
    for (guint i = 0; i < pulls->all->len; i++)
        json_array_append_new(in_flight, status_of(pulls->all->pdata[i]));
    json_t *by_code = json_object();
    for (int code = 0; code < GP_ERROR_N_CODES; code++)
        json_object_set_new(by_code, gp_error_info(code)->name, json_integer((json_int_t) totals->by_code[code]));
    return json_pack("{s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:o}}", "inFlight", in_flight, "totals", "asked",
        (json_int_t) totals->asked, "succeeded", (json_int_t) totals->succeeded, "failed", (json_int_t) totals->failed,
        "timedOut", (json_int_t) totals->timed_out, "cancelled", (json_int_t) totals->cancelled, "refused",
        (json_int_t) totals->refused, "failedByCode", by_code);
}
