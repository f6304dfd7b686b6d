#include "service/pulls.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "service/bundle_dir.h"
#include "base/log.h"
#include "service/pull_report.h"

/* For all pulls to end when the service does: their grace, and a unit's own way out. */
#define FINISH_MS (GP_RUN_GRACE_MS + 500)

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
    guint deadline_source;

    GpRun *run;     /* while it is at work */
    char *progress; /* what the puller said last, as JSON; NULL: nothing yet */
    guint64 fetched, size;
};

typedef struct {
    guint64 asked, succeeded, failed, timed_out, cancelled, refused, fetched;
    guint64 by_code[GP_ERROR_N_CODES];
} Totals;

struct _GpPulls {
    const GpPullsConfig *config;
    GPtrArray *all;  /* GpPull*, in the order in which they were asked for */
    guint running;   /* those at work */
    guint32 session; /* so that ids of two lives of the service differ */
    guint64 counter;
    Totals totals;
};

static const char *const state_names[] = {
    [PULL_WAITING] = "waiting", [PULL_RUNNING] = "pulling", [PULL_STOPPING] = "stopping"};

static void start_waiting(GpPulls *pulls);

static void pull_free(GpPull *pull)
{
    if (pull->deadline_source)
        g_source_remove(pull->deadline_source);
    gp_run_free(pull->run);
    gp_bundle_dir_free(pull->bundle);
    g_free(pull->progress);
    g_free(pull->image);
    g_free(pull->id);
    g_free(pull);
}

/* ---- the end of a pull */

/* Takes @pull off the list, answers, frees it. @digest or @why. */
static void conclude(GpPull *pull, const char *digest, const GError *why)
{
    GpPulls *pulls = pull->pulls;
    pulls->totals.fetched += pull->fetched;
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

static void on_progress(json_t *progress, guint64 fetched, guint64 size, gpointer user_data)
{
    GpPull *pull = user_data;
    g_free(pull->progress);
    pull->progress = gp_json_to_text(progress, FALSE);
    pull->fetched = fetched;
    pull->size = size;
}

static void on_ended(const char *digest, const GError *why, gpointer user_data)
{
    GpPull *pull = user_data;
    GpPulls *pulls = pull->pulls;
    pulls->running--;
    g_autoptr(GError) stopped = pull->stop != STOP_NOT ? stop_error(pull) : NULL;
    conclude(pull, stopped ? NULL : digest, stopped ? stopped : why);
    start_waiting(pulls);
}

static const GpRunCalls run_calls = {on_progress, on_ended};

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
    gp_run_stop(pull->run);
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

static gboolean start(GpPull *pull, GError **error)
{
    const GpRunJob job = {
        .request = pull->id, .image = pull->image, .bundle = pull->bundle, .seconds = seconds_left(pull)};
    pull->run = gp_run_start(&pull->pulls->config->run, &job, &run_calls, pull, error);
    if (!pull->run)
        return FALSE;
    pull->state = PULL_RUNNING;
    pull->pulls->running++;
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
        if (!start(pull, &error))
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
    const GpPullsConfig *config = pulls->config;
    if (!check_image(image, error) || (config->settle && !config->settle(config->user_data, error)))
        return NULL;
    g_autoptr(GpBundleDir) dir = gp_bundle_dir_open(bundle, (const char *const *) config->run.bundle_roots, error);
    if (!dir || !check_room(pulls, dir, error))
        return NULL;
    GpPull *pull = g_new0(GpPull, 1);
    pull->pulls = pulls;
    pull->id = g_strdup_printf("%08x-%" G_GUINT64_FORMAT, pulls->session, ++pulls->counter);
    pull->image = g_strdup(image);
    pull->bundle = g_steal_pointer(&dir);
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
    /* All at once, then one after the other. */
    for (guint i = 0; i < pulls->all->len; i++) {
        const GpPull *pull = pulls->all->pdata[i];
        if (pull->run)
            gp_run_stop(pull->run);
    }
    gint64 end = g_get_monotonic_time() + (gint64) FINISH_MS * 1000;
    for (guint i = 0; i < pulls->all->len; i++) {
        GpPull *pull = pulls->all->pdata[i];
        if (pull->run)
            gp_run_finish(pull->run, end);
        pull_free(pull);
    }
    g_ptr_array_unref(pulls->all);
    g_free(pulls);
}

static json_t *status_of(const GpPull *pull)
{
    json_t *status = json_pack("{s:s, s:s, s:s, s:s, s:f, s:i, s:{s:I, s:I}}", "request", pull->id, "image",
        pull->image, "bundle", gp_bundle_dir_path(pull->bundle), "state", state_names[pull->state], "ageSeconds",
        (double) (g_get_monotonic_time() - pull->asked) / G_TIME_SPAN_SECOND, "pid",
        pull->run ? (int) gp_run_pid(pull->run) : 0, "bytes", "fetched", (json_int_t) pull->fetched, "size",
        (json_int_t) pull->size);
    g_autoptr(json_t) progress = pull->progress ? json_loads(pull->progress, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (progress) {
        json_object_set(status, "phase", json_object_get(progress, "state"));
        json_object_set(status, "layers", json_object_get(progress, "layers"));
    }
    return status;
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
    return json_pack("{s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}}", "inFlight", in_flight, "totals", "asked",
        (json_int_t) totals->asked, "succeeded", (json_int_t) totals->succeeded, "failed", (json_int_t) totals->failed,
        "timedOut", (json_int_t) totals->timed_out, "cancelled", (json_int_t) totals->cancelled, "refused",
        (json_int_t) totals->refused, "fetchedBytes", (json_int_t) totals->fetched, "failedByCode", by_code);
}
