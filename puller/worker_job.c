#include "puller/worker_job.h"

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/limits.h"
#include "puller/fetch_protocol.h"
#include "puller/worker_answer.h"
#include "puller/worker_auth.h"
#include "puller/worker_exchange.h"
#include "puller/worker_header.h"
#include "puller/worker_log.h"
#include "puller/worker_parts.h"
#include "puller/worker_reply.h"
#include "puller/worker_request.h"
#include "puller/worker_sink.h"
#include "puller/worker_url.h"

#define MAX_TRIES 4
#define MAX_SMALL_BODY (64 * 1024)  /* of an answer that is not what we asked for */
#define GRACE_SECONDS 1             /* the puller has the same deadline, and its word is the one that should be heard */
#define MAX_RETRY_AFTER 60          /* seconds */
#define ENOUGH_PROGRESS (64 * 1024) /* bytes that make an attempt count as a success */
#define WORTH_PARTS (8 * GP_PART_SIZE)

typedef enum {
    PHASE_ASK,     /* the request itself, or a redirect of it */
    PHASE_TOKEN,   /* the token server */
    PHASE_WAIT,    /* until next_time, then from the start */
    PHASE_PARTS,   /* the rest of the blob comes in parts */
    PHASE_DELIVER, /* the document is complete and goes into the pipe */
    PHASE_DONE,
} Phase;

struct _GpJob {
    GpWorkerContext *context;
    GpRequest *request;
    Phase phase;
    GpPipeSink sink;
    int reply_fd;
    GpExchange *exchange; /* NULL in WAIT, PARTS, DELIVER and DONE */
    gboolean paused;      /* the exchange waits for room in the pipe */

    char *url;           /* asked now: the request's, or where it was redirected */
    GHashTable *visited; /* URLs of this chain of redirects */
    char *authorization; /* for the request's own origin; secret */
    GpAuthStep auth;     /* the token request in PHASE_TOKEN */
    char *token_key;     /* secret */
    guint auth_rounds;

    GByteArray *body; /* everything that is no blob */
    GpExchangeLog log;
    gboolean told;   /* of the exchange */
    gboolean enough; /* an answer that interests nobody was cut */
    guint tries;
    guint64 delivered_before; /* at the start of this try */
    gboolean no_ranges; /* the server refused to go on where the last answer ended: it must send all of it again */
    GpParts *parts;     /* NULL: one connection does */
    gboolean no_parts;
    GpPace pace;
    gint64 next_time, deadline;
    int status;
    char *content_type, *next_page;
};

static void start_exchange(GpJob *job);

/* ---- the end */

static void tell(GpJob *job, const char *problem)
{
    gp_exchange_log_tell(&job->log, job->exchange, job->phase == PHASE_TOKEN, problem);
    job->told = TRUE;
}

static void finish(GpJob *job, const GError *error)
{
    if (job->exchange && !job->told)
        tell(job, "broken off");
    gp_exchange_free(job->exchange, job->context->multi);
    job->exchange = NULL;
    g_clear_pointer(&job->parts, gp_parts_free);
    gp_close_fd(&job->sink.fd);
    gp_reply_write(
        job->reply_fd, job->status, job->sink.delivered, job->content_type, job->next_page, job->log.untold, error);
    gp_close_fd(&job->reply_fd);
    job->phase = PHASE_DONE;
}

static void fail(GpJob *job, GpErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void fail(GpJob *job, GpErrorCode code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *shown = gp_url_show(job->url ? job->url : "");
    g_autoptr(GError) error = g_error_new(GP_ERROR, (gint) code, "%s: %s", shown, text);
    finish(job, error);
}

static void fail_with(GpJob *job, const GError *cause)
{
    fail(job, gp_error_code(cause), "%s", cause->message);
}

/* Starts again from the request's own URL after a while, if there is hope. */
static void retry(GpJob *job, guint retry_after, const char *why)
{
    if (job->sink.delivered >= job->delivered_before + ENOUGH_PROGRESS)
        job->tries = 0;
    if (++job->tries >= MAX_TRIES) {
        fail(job, GP_ERROR_NETWORK, "%s (tried %d times)", why, MAX_TRIES);
        return;
    }
    gp_exchange_free(job->exchange, job->context->multi);
    job->exchange = NULL;
    job->next_time = g_get_monotonic_time() + (gint64) MAX(gp_backoff_ms(job->tries), retry_after * 1000) * 1000;
    job->phase = PHASE_WAIT;
    if (job->next_time > job->deadline)
        fail(job, GP_ERROR_NETWORK, "%s (and no time is left to try again)", why);
}

/* ---- asking */

static gboolean at_origin(const GpJob *job)
{
    g_autofree char *origin = gp_url_origin(job->url);
    return g_strcmp0(origin, job->request->origin) == 0;
}

/* The server that may see who we are. */
static gboolean at_own_server(const GpJob *job)
{
    return !job->request->anonymous && at_origin(job);
}

static void begin_chain(GpJob *job)
{
    g_hash_table_remove_all(job->visited);
    g_free(job->url);
    job->url = g_strdup(job->request->url);
    job->delivered_before = job->sink.delivered;
    job->phase = PHASE_ASK;
    start_exchange(job);
}

static guint64 range_start(const GpJob *job)
{
    return job->no_ranges ? 0 : job->sink.delivered;
}

static gboolean on_headers(GpExchange *exchange, gpointer data, GError **error)
{
    GpJob *job = data;
    if (job->phase == PHASE_TOKEN)
        return TRUE;
    GpAnswerPlan plan = {
        .is_blob = job->request->kind == GP_REQUEST_BLOB, .size = job->request->size, .range_start = range_start(job)};
    if (!gp_answer_check(&exchange->answer, &plan, error))
        return FALSE;
    /* Accepted: a 401 later on, when the rest of a blob is asked for, is about a token that has expired meanwhile. */
    if (exchange->answer.status == 200 || exchange->answer.status == 206)
        job->auth_rounds = 0;
    /* A server that knows no ranges sends all of it again: what the puller has is dropped. */
    if (plan.is_blob && exchange->answer.status == 200)
        gp_pipe_sink_restart(&job->sink, job->sink.delivered);
    return TRUE;
}

static gboolean is_wanted(const GpJob *job)
{
    int status = job->exchange->answer.status;
    return job->phase == PHASE_ASK && (status == 200 || status == 206);
}

/* What the parts bring is theirs: the answer is broken off where they begin. */
static gssize take_until_parts(GpJob *job, const guint8 *bytes, gsize length)
{
    GpPipeSink *sink = &job->sink;
    guint64 room = gp_parts_first(job->parts) - sink->delivered + sink->skip + sink->partial;
    GpSinkResult result = gp_pipe_sink_write(sink, bytes, (gsize) MIN(length, room));
    job->paused = result == GP_SINK_FULL;
    if (job->paused)
        return CURL_WRITEFUNC_PAUSE;
    return result == GP_SINK_GONE || sink->delivered == gp_parts_first(job->parts) ? -1 : (gssize) length;
}

static gssize take_blob(GpJob *job, const guint8 *bytes, gsize length, GError **error)
{
    GpPipeSink *sink = &job->sink;
    if (job->parts)
        return take_until_parts(job, bytes, length);
    if (sink->delivered + length - sink->partial > job->request->size + sink->skip) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "the server sends more than the %" G_GUINT64_FORMAT " bytes that the manifest names", job->request->size);
        return -1;
    }
    switch (gp_pipe_sink_write(sink, bytes, length)) {
    case GP_SINK_TAKEN:
        return (gssize) length;
    case GP_SINK_FULL:
        job->paused = TRUE;
        return CURL_WRITEFUNC_PAUSE;
    case GP_SINK_GONE:
        break;
    }
    g_set_error(error, GP_ERROR, GP_ERROR_NETWORK, "given up by the puller");
    return -1;
}

static gssize take_document(GpJob *job, const guint8 *bytes, gsize length, GError **error)
{
    gboolean wanted = is_wanted(job);
    guint64 most = job->phase == PHASE_TOKEN ? GP_LIMIT_TOKEN : wanted ? job->request->size : MAX_SMALL_BODY;
    if (job->body->len + length > most) {
        job->enough = !wanted && job->phase == PHASE_ASK;
        if (!job->enough)
            g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "more than %" G_GUINT64_FORMAT " bytes", most);
        return -1;
    }
    g_byte_array_append(job->body, bytes, (guint) length);
    return (gssize) length;
}

static gssize on_body(GpExchange *exchange, gpointer data, const guint8 *bytes, gsize length, GError **error)
{
    GpJob *job = data;
    if (job->request->kind == GP_REQUEST_BLOB && is_wanted(job))
        return take_blob(job, bytes, length, error);
    return take_document(job, bytes, length, error);
}

static void on_done(GpExchange *exchange, gpointer data, CURLcode result);

static const GpExchangeHandler handler = {on_headers, on_body, on_done};

/* The exchange that the phase needs. A blob of which a part is there asks for the rest, and gets ready for a server
 * that sends all of it again. */
static void start_exchange(GpJob *job)
{
    gp_exchange_free(job->exchange, job->context->multi);
    gboolean token = job->phase == PHASE_TOKEN;
    gboolean own = !token && at_own_server(job);
    GpExchangeRequest request = {
        .proxies = &job->context->proxies,

        .url = token ? job->auth.token_url : job->url,
        .authorization = token ? job->auth.token_basic
                         : own ? job->authorization
                               : NULL,
        .form = token ? job->auth.token_form : NULL,
        .accept = token ? NULL : gp_request_accept(job->request->kind),
        .range_start = token ? 0 : range_start(job),
        .own_connection = !token && job->request->kind == GP_REQUEST_BLOB && job->request->size > GP_FETCH_PIPE_SIZE,
        .show_certificate = own,
    };
    g_byte_array_set_size(job->body, 0);
    gp_pipe_sink_restart(&job->sink, 0);
    job->enough = job->paused = job->told = FALSE;
    job->pace = (GpPace){0};
    job->exchange = gp_exchange_start(job->context->multi, job->context->tls, &request, &handler, job);
    if (!job->exchange)
        fail(job, GP_ERROR_INVALID, "the request cannot be made");
}

/* ---- authentication */

static void use_authorization(GpJob *job, const char *authorization)
{
    gp_secret_free(job->authorization);
    job->authorization = g_strdup(authorization);
}

static void answer_challenge(GpJob *job)
{
    g_autoptr(GError) error = NULL;
    if (!at_origin(job)) {
        fail(job, GP_ERROR_AUTH, "the server that the registry redirects to wants credentials, which are not for it");
        return;
    }
    gboolean had_kept_token = job->authorization && job->auth_rounds == 0;
    if (job->token_key)
        gp_tokens_drop(job->context->tokens, job->token_key);
    /* Once with what was kept from before, once with what the challenge asks for. */
    if (job->auth_rounds >= 1 && !had_kept_token) {
        g_autofree char *text = gp_registry_error_parse(job->body->data, job->body->len, NULL);
        fail(job, GP_ERROR_AUTH, "not authorized%s%s\n%s", text ? ": " : "", text ? text : "",
            job->request->username || job->request->identity_token
                ? "The credentials are refused, or the repository does not exist."
                : "The repository does not exist, or it needs credentials: --authfile FILE.");
        return;
    }
    job->auth_rounds++;
    gp_auth_step_clear(&job->auth);
    if (!gp_auth_plan(job->request, job->exchange->answer.challenges, &job->auth, &error)) {
        fail_with(job, error);
        return;
    }
    if (job->auth.authorization) {
        use_authorization(job, job->auth.authorization);
        gp_tokens_put(job->context->tokens, job->token_key, job->authorization, 0);
    } else {
        job->phase = PHASE_TOKEN;
    }
    start_exchange(job);
}

static void token_done(GpJob *job)
{
    int status = job->exchange->answer.status;
    g_autofree char *shown = gp_url_show(job->auth.token_url);
    if (gp_status_is_temporary(status)) {
        job->auth_rounds = 0;
        g_autofree char *why = g_strdup_printf("the token server %s answers %d", shown, status);
        retry(job, gp_answer_retry_after(&job->exchange->answer, MAX_RETRY_AFTER), why);
        return;
    }
    if (status != 200) {
        g_autofree char *text = gp_registry_error_parse(job->body->data, job->body->len, NULL);
        fail(job, GP_ERROR_AUTH, "the token server %s answers %d%s%s", shown, status, text ? ": " : "",
            text ? text : "");
        return;
    }
    g_autoptr(GError) error = NULL;
    char *authorization = NULL;
    guint lifetime;
    if (!gp_token_parse(job->body->data, job->body->len, &authorization, &lifetime, &error)) {
        fail_with(job, error);
        return;
    }
    use_authorization(job, authorization);
    gp_tokens_put(job->context->tokens, job->token_key, authorization, lifetime);
    gp_secret_free(authorization);
    gp_auth_step_clear(&job->auth);
    job->phase = PHASE_ASK;
    start_exchange(job);
}

/* ---- answers */

static void follow(GpJob *job)
{
    const char *location = job->exchange->answer.location;
    g_autofree char *target = location ? gp_url_resolve(job->url, location) : NULL;
    g_autofree char *shown = gp_url_show(target ? target : "");
    g_autoptr(GError) error = NULL;
    if (!target) {
        fail(job, GP_ERROR_INVALID, "redirected to something that is no http or https URL");
        return;
    }
    if (g_str_has_prefix(job->url, "https://") && !g_str_has_prefix(target, "https://")) {
        fail(job, GP_ERROR_INVALID, "redirected from https to plain http (%s), which is refused", shown);
        return;
    }
    if (!gp_url_check_scheme(target, job->context->plain_http, &error)) {
        g_prefix_error(&error, "redirected to ");
        fail_with(job, error);
        return;
    }
    g_hash_table_add(job->visited, g_strdup(job->url));
    if (g_hash_table_contains(job->visited, target)) {
        fail(job, GP_ERROR_INVALID, "redirected in a circle, back to %s", shown);
        return;
    }
    if (g_hash_table_size(job->visited) > GP_LIMIT_REDIRECTS) {
        fail(job, GP_ERROR_LIMIT, "more than %d redirects", GP_LIMIT_REDIRECTS);
        return;
    }
    g_free(job->url);
    job->url = g_steal_pointer(&target);
    start_exchange(job);
}

static void succeed(GpJob *job)
{
    job->content_type = g_strdup(job->exchange->answer.content_type);
    if (job->request->kind == GP_REQUEST_REFERRERS)
        job->next_page = g_strdup(job->exchange->answer.next_page);
    if (job->request->kind == GP_REQUEST_BLOB) {
        if (job->sink.delivered == job->request->size)
            finish(job, NULL);
        else
            retry(job, 0, "the answer ends too early");
        return;
    }
    gp_exchange_free(job->exchange, job->context->multi);
    job->exchange = NULL;
    job->phase = PHASE_DELIVER;
    gp_pipe_sink_restart(&job->sink, 0);
    gp_job_tick(job, g_get_monotonic_time(), TRUE, FALSE);
}

static void ask_for_all(GpJob *job, const char *why)
{
    job->no_ranges = TRUE;
    retry(job, 0, why);
}

static void refuse_status(GpJob *job)
{
    const GpAnswer *answer = &job->exchange->answer;
    g_autofree char *code = NULL;
    g_autofree char *text = gp_registry_error_parse(job->body->data, job->body->len, &code);
    if (text)
        g_strdelimit(text, "\r\n", ' '); /* what stands behind a newline is our advice, not the registry's */
    g_autofree char *line =
        g_strdup_printf("the server answers %d%s%s", answer->status, text ? ": " : "", text ? text : "");
    if (job->request->kind == GP_REQUEST_REFERRERS && gp_status_lacks_referrers(answer->status))
        fail(job, GP_ERROR_NOT_FOUND, "%s", line);
    else if (answer->status == 416 && range_start(job) > 0)
        ask_for_all(job, line);
    else if (gp_status_is_temporary(answer->status))
        retry(job, gp_answer_retry_after(answer, MAX_RETRY_AFTER), line);
    else
        fail(job, gp_status_error_code(answer->status, code), "%s", line);
}

static void answer_done(GpJob *job)
{
    int status = job->exchange->answer.status;
    job->status = status;
    if (status == 200 || status == 206)
        succeed(job);
    else if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)
        follow(job);
    else if (status == 401)
        answer_challenge(job);
    else
        refuse_status(job);
}

/* The reader has come to where the parts begin, and broke off for that. */
static gboolean meets_parts(const GpJob *job)
{
    return job->parts && job->sink.delivered == gp_parts_first(job->parts);
}

static void on_done(GpExchange *exchange, gpointer data, CURLcode result)
{
    GpJob *job = data;
    const GError *broken = exchange->error;
    gboolean fine = result == CURLE_OK || job->enough || meets_parts(job);
    tell(job, broken ? broken->message : fine ? NULL : curl_easy_strerror(result));
    if (job->exchange->error) {
        g_autoptr(GError) error = g_steal_pointer(&job->exchange->error);
        fail_with(job, error);
        return;
    }
    if (meets_parts(job)) {
        gp_exchange_free(job->exchange, job->context->multi);
        job->exchange = NULL;
        job->paused = FALSE;
        job->phase = PHASE_PARTS;
        return;
    }
    if (result == CURLE_OK || job->enough) {
        if (job->phase == PHASE_TOKEN)
            token_done(job);
        else
            answer_done(job);
        return;
    }
    GpErrorCode code = gp_curl_error_code(result);
    g_autofree char *why = gp_exchange_problem(job->exchange, result);
    if (code == GP_ERROR_NETWORK && gp_curl_is_temporary(result)) {
        if (job->phase == PHASE_TOKEN)
            job->auth_rounds = 0;
        retry(job, 0, why);
    } else {
        fail(job, code, "%s", why);
    }
}

/* ---- several connections for a blob that comes slowly */

static gboolean is_slow(GpJob *job, gint64 now)
{
    /* A pace that the puller sets, by not reading, is none of the network's. */
    gboolean counts = is_wanted(job) && !job->paused && job->sink.skip == 0;
    return gp_pace_is_slow(&job->pace, now, job->sink.delivered, counts);
}

static void begin_parts(GpJob *job)
{
    gboolean own = at_own_server(job);
    const GpPartsPlan plan = {.log = &job->log,
        .url = job->url,
        .authorization = own ? job->authorization : NULL,
        .show_certificate = own,
        .first = job->sink.delivered + GP_PART_SIZE,
        .size = job->request->size};
    job->parts = gp_parts_new(job->context, &plan);
}

static void parts_ended(GpJob *job)
{
    job->no_parts = !gp_parts_may_return(job->parts);
    g_clear_pointer(&job->parts, gp_parts_free);
    if (job->phase == PHASE_PARTS)
        begin_chain(job);
}

static void tick_parts(GpJob *job, gint64 now, gboolean writable)
{
    gboolean asking = job->phase == PHASE_ASK && job->request->kind == GP_REQUEST_BLOB;
    if (!job->parts && asking && !job->no_parts && !job->no_ranges && is_slow(job, now) &&
        job->context->parts < GP_LIMIT_PARTS && job->request->size - job->sink.delivered >= WORTH_PARTS)
        begin_parts(job);
    if (!job->parts || (job->phase == PHASE_PARTS && job->paused && !writable))
        return;
    GpPartsState state = job->phase == PHASE_PARTS ? gp_parts_deliver(job->parts, now, &job->sink, &job->paused)
                                                   : gp_parts_fetch(job->parts, now, job->sink.delivered);
    switch (state) {
    case GP_PARTS_GOING:
        break;
    case GP_PARTS_COMPLETE:
        job->status = 206;
        finish(job, NULL);
        break;
    case GP_PARTS_ENDED:
        parts_ended(job);
        break;
    case GP_PARTS_GONE:
        fail(job, GP_ERROR_NETWORK, "given up by the puller");
        break;
    }
}

/* ---- the clock and the pipe */

static void deliver(GpJob *job)
{
    switch (gp_pipe_sink_write(&job->sink, job->body->data, job->body->len)) {
    case GP_SINK_TAKEN:
        finish(job, NULL);
        return;
    case GP_SINK_FULL:
        return;
    case GP_SINK_GONE:
        fail(job, GP_ERROR_NETWORK, "given up by the puller");
        return;
    }
}

void gp_job_tick(GpJob *job, gint64 now, gboolean writable, gboolean reader_gone)
{
    if (job->phase == PHASE_DONE)
        return;
    if (reader_gone) {
        fail(job, GP_ERROR_NETWORK, "given up by the puller");
    } else if (now >= job->deadline) {
        fail(job, GP_ERROR_NETWORK, "no end after %u seconds", job->context->timeout);
    } else if (job->phase == PHASE_DELIVER && writable) {
        deliver(job);
    } else if (job->phase == PHASE_WAIT && now >= job->next_time) {
        begin_chain(job);
    } else if (job->paused && writable && job->exchange) {
        job->paused = FALSE;
        gp_exchange_resume(job->exchange);
    }
    if (job->phase != PHASE_DONE)
        tick_parts(job, now, writable);
}

int gp_job_watch(const GpJob *job, gboolean *for_room)
{
    *for_room = job->paused || job->phase == PHASE_DELIVER;
    return job->sink.fd;
}

gint64 gp_job_next_time(const GpJob *job)
{
    return job->phase == PHASE_WAIT ? MIN(job->next_time, job->deadline) : job->deadline;
}

gboolean gp_job_is_done(const GpJob *job)
{
    return job->phase == PHASE_DONE;
}

GpJob *gp_job_new(GpWorkerContext *context, const char *message, gsize length, int body_fd, int reply_fd)
{
    GpJob *job = g_new0(GpJob, 1);
    job->context = context;
    job->reply_fd = reply_fd;
    gp_exchange_log_init(&job->log, reply_fd, context->verbose);
    gp_pipe_sink_init(&job->sink, body_fd);
    job->deadline = g_get_monotonic_time() + (gint64) (context->timeout + GRACE_SECONDS) * G_USEC_PER_SEC;
    job->visited = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    job->body = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    job->request = gp_request_parse(message, length, context->plain_http, &error);
    if (!job->request) {
        finish(job, error);
        return job;
    }
    if (job->request->insecure_host)
        gp_url_allow_plain_http(&context->plain_http, job->request->insecure_host);
    if (job->request->repository) {
        job->token_key = gp_auth_key(job->request);
        use_authorization(job, gp_tokens_get(context->tokens, job->token_key));
    }
    begin_chain(job);
    return job;
}

void gp_job_free(GpJob *job)
{
    if (!job)
        return;
    gp_parts_free(job->parts);
    gp_exchange_free(job->exchange, job->context->multi);
    gp_close_fd(&job->sink.fd);
    gp_close_fd(&job->reply_fd);
    gp_request_free(job->request);
    gp_auth_step_clear(&job->auth);
    gp_secret_free(job->authorization);
    gp_secret_free(job->token_key);
    g_hash_table_unref(job->visited);
    g_byte_array_unref(job->body);
    g_free(job->url);
    g_free(job->content_type);
    g_free(job->next_page);
    g_free(job);
}
