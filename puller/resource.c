#include "puller/resource.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "puller/cancel.h"
#include "puller/fetch.h"
#include "puller/guest_services.h"

#define LOOK_MS 50 /* how often a wait looks whether it is cancelled */

struct _GpResources {
    char *cdh_socket;
    char *endpoint; /* without a final slash */
    GpFetch *fetch; /* for the REST service; NULL: not needed, or not started */
};

GpResources *gp_resources_new(const char *cdh_socket, const char *endpoint)
{
    GpResources *resources = g_new0(GpResources, 1);
    resources->cdh_socket = g_strdup(cdh_socket);
    resources->endpoint = g_strdup(endpoint);
    if (endpoint && g_str_has_suffix(endpoint, "/"))
        resources->endpoint[strlen(endpoint) - 1] = '\0';
    return resources;
}

void gp_resources_free(GpResources *resources)
{
    if (!resources)
        return;
    gp_fetch_free(resources->fetch);
    g_free(resources->cdh_socket);
    g_free(resources->endpoint);
    g_free(resources);
}

static gboolean has_socket(const GpResources *resources)
{
    return resources->cdh_socket && access(resources->cdh_socket, F_OK) == 0;
}

gboolean gp_resources_connect(GpResources *resources, gboolean verbose, GError **error)
{
    if (has_socket(resources) || !resources->endpoint)
        return TRUE;
    g_autofree char *host = g_strdup(resources->endpoint + strlen("http://"));
    char *allowed[] = {host, NULL};
    GpFetchConfig config = {.plain_http = allowed, .timeout = GP_RESOURCE_TIMEOUT, .verbose = verbose};
    resources->fetch = gp_fetch_start(&config, error);
    return resources->fetch != NULL;
}

gboolean gp_resource_is_remote(const char *location)
{
    return g_str_has_prefix(location, "kbs:") || g_str_has_prefix(location, "kbs+");
}

/* ---- files */

/* Files of the measured guest may be links (certificates often are), unlike those of a hostile directory. */
static GBytes *read_local(const char *path, gsize max, const char *what, GError **error)
{
    char *real = realpath(path, NULL);
    g_autofree char *target = g_strdup(real ? real : path);
    free(real);
    g_autoptr(GError) cause = NULL;
    GBytes *bytes = gp_read_file(AT_FDCWD, target, max, what, &cause);
    if (bytes)
        return bytes;
    GpErrorCode code = cause->code == GP_ERROR_LIMIT ? GP_ERROR_LIMIT : GP_ERROR_KEY;
    g_set_error(error, GP_ERROR, code, "%s", cause->message);
    return NULL;
}

/* ---- the KBS */

/* "repository/type/tag" of kbs://[host]/repository/type/tag, whose host means nothing. Caller's. */
static char *rest_path(const char *uri, GError **error)
{
    const char *path = g_str_has_prefix(uri, "kbs://") ? strchr(uri + strlen("kbs://"), '/') : NULL;
    g_auto(GStrv) parts = g_strsplit(path ? path + 1 : "", "/", -1);
    gboolean good = g_strv_length(parts) == 3;
    for (char **part = parts; good && *part; part++) {
        good = **part && !g_str_equal(*part, ".") && !g_str_equal(*part, "..");
        for (const char *p = *part; good && *p; p++)
            good = g_ascii_isalnum(*p) || strchr("-._~", *p);
    }
    if (good)
        return g_strdup(path + 1);
    g_autofree char *shown = gp_escape(uri, -1, 512);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
        "%s: not to be had over REST\nThere it must be kbs:///repository/type/tag; for everything else the "
        "confidential-data-hub's socket is needed.",
        shown);
    return NULL;
}

static GBytes *get_rest(GpResources *resources, const char *uri, gsize max, GError **error)
{
    g_autofree char *path = rest_path(uri, error);
    if (!path)
        return NULL;
    g_autofree char *url = g_strdup_printf("%s/cdh/resource/%s", resources->endpoint, path);
    g_autoptr(GError) cause = NULL;
    GBytes *bytes = gp_fetch_url(resources->fetch, url, max, &cause);
    if (bytes)
        return bytes;
    int code = cause->code == GP_ERROR_LIMIT || cause->code == GP_ERROR_CANCELLED ? cause->code : GP_ERROR_KEY;
    g_set_error(error, GP_ERROR, code, "%s: from %s: %s", uri, resources->endpoint, cause->message);
    return NULL;
}

static GBytes *get_remote(GpResources *resources, const char *uri, gsize max, GError **error)
{
    if (resources && resources->fetch)
        return get_rest(resources, uri, max, error);
    if (resources && resources->cdh_socket)
        return gp_guest_get_resource(resources->cdh_socket, uri, GP_RESOURCE_TIMEOUT * 1000, max, error);
    g_autofree char *shown = gp_escape(uri, -1, 512);
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: no KBS can be reached from here\nUse a file instead.", shown);
    return NULL;
}

static GBytes *get(GpResources *resources, const char *location, gsize max, const char *what, GError **error)
{
    GBytes *bytes = NULL;
    if (gp_resource_is_remote(location))
        bytes = get_remote(resources, location, max, error);
    else if (g_str_has_prefix(location, "file:///"))
        bytes = read_local(location + strlen("file://"), max, what, error);
    else if (location[0] == '/')
        bytes = read_local(location, max, what, error);
    else {
        g_autofree char *shown = gp_escape(location, -1, 512);
        g_set_error(
            error, GP_ERROR, GP_ERROR_USAGE, "%s: neither an absolute path nor a file:/// or kbs:/// URI", shown);
    }
    if (!bytes && error && *error && !g_str_has_prefix((*error)->message, what))
        g_prefix_error(error, "%s: ", what);
    return bytes;
}

/* ---- many at once */

/* What a thread works on. The confidential-data-hub may think for long and cannot be interrupted, so a wait that is
 * cancelled leaves the job to its thread: it is counted, and owns what it needs. The REST service is asked by a worker,
 * which cancellation kills: such a job ends by itself and is always waited for. */
typedef struct {
    GMutex lock;
    GCond ended;
    gboolean done;
    GpResources *owned, *shared; /* one of the two */
    char *location, *what;
    gsize max;
    GBytes *bytes;
    GError *error;
} Job;

static void job_clear(gpointer data)
{
    Job *job = data;
    g_mutex_clear(&job->lock);
    g_cond_clear(&job->ended);
    gp_resources_free(job->owned);
    g_free(job->location);
    g_free(job->what);
    g_clear_pointer(&job->bytes, g_bytes_unref);
    g_clear_error(&job->error);
}

static void job_unref(Job *job)
{
    g_atomic_rc_box_release_full(job, job_clear);
}

static gpointer run_job(gpointer data)
{
    Job *job = data;
    GError *error = NULL;
    GBytes *bytes = get(job->owned ? job->owned : job->shared, job->location, job->max, job->what, &error);
    g_mutex_lock(&job->lock);
    job->bytes = bytes;
    job->error = error;
    job->done = TRUE;
    g_cond_signal(&job->ended);
    g_mutex_unlock(&job->lock);
    job_unref(job);
    return NULL;
}

static Job *start_job(GpResources *resources, const GpResourceRequest *request)
{
    Job *job = g_atomic_rc_box_new0(Job);
    g_mutex_init(&job->lock);
    g_cond_init(&job->ended);
    job->shared = resources && resources->fetch ? resources : NULL;
    job->owned = job->shared ? NULL : gp_resources_new(resources ? resources->cdh_socket : NULL, NULL);
    job->location = g_strdup(request->location);
    job->what = g_strdup(request->what);
    job->max = request->max;
    g_thread_unref(g_thread_new("resource", run_job, g_atomic_rc_box_acquire(job)));
    return job;
}

/* Takes the result over into @request. */
static void finish_job(Job *job, GpResourceRequest *request)
{
    g_mutex_lock(&job->lock);
    while (!job->done && (job->shared || !gp_cancelled(NULL)))
        g_cond_wait_until(&job->ended, &job->lock, g_get_monotonic_time() + LOOK_MS * 1000);
    request->bytes = g_steal_pointer(&job->bytes);
    request->error = g_steal_pointer(&job->error);
    g_mutex_unlock(&job->lock);
    if (!request->bytes && !request->error)
        (void) gp_cancelled(&request->error);
    job_unref(job);
}

void gp_resources_fetch(GpResources *resources, GpResourceRequest *requests, gsize count)
{
    g_autofree Job **jobs = g_new0(Job *, count);
    for (gsize i = 0; i < count; i++)
        if (requests[i].location && gp_resource_is_remote(requests[i].location))
            jobs[i] = start_job(resources, &requests[i]);
    for (gsize i = 0; i < count; i++)
        if (requests[i].location && !jobs[i])
            requests[i].bytes = get(NULL, requests[i].location, requests[i].max, requests[i].what, &requests[i].error);
    for (gsize i = 0; i < count; i++)
        if (jobs[i])
            finish_job(jobs[i], &requests[i]);
}

void gp_resource_request_clear(GpResourceRequest *request)
{
    g_clear_pointer(&request->bytes, g_bytes_unref);
    g_clear_error(&request->error);
}

GBytes *gp_resource_fetch(GpResources *resources, const char *location, gsize max, const char *what, GError **error)
{
    GpResourceRequest request = {.location = location, .max = max, .what = what};
    gp_resources_fetch(resources, &request, 1);
    if (request.error)
        g_propagate_error(error, request.error);
    return request.bytes;
}
