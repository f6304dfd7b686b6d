#include "puller/worker_parts.h"

#include "base/error.h"
#include "base/limits.h"
#include "puller/worker_answer.h"
#include "puller/worker_exchange.h"

#define MAX_TRIES 3 /* without a byte in between */
#define WINDOW 24   /* parts of one blob in memory */
#define NEAR (GP_PART_SIZE / 2)
#define PACE_SECONDS 2
#define SLOW_PACE GP_MIB /* a second */

typedef struct {
    GpParts *owner;
    guint64 start;
    gsize length, filled, written; /* written: into the pipe */
    guint8 *bytes;
    GpExchange *exchange; /* NULL: waits for its turn, or complete */
    guint tries;
    gsize filled_before; /* when the exchange began */
    gint64 next_time;
} Part;

struct _GpParts {
    GpWorkerContext *context;
    GpExchangeLog *log;
    char *url, *authorization;
    gboolean show_certificate, ended, may_return;
    guint64 first, next, size; /* next: the first byte that no part has */
    GQueue window;             /* Part*, in the blob's order */
};

gboolean gp_pace_is_slow(GpPace *pace, gint64 now, guint64 bytes, gboolean counts)
{
    if (counts && pace->since && now < pace->since + PACE_SECONDS * G_USEC_PER_SEC)
        return FALSE;
    guint64 came = bytes - pace->from;
    gboolean slow =
        counts && pace->since && came > 0 && came * G_USEC_PER_SEC < SLOW_PACE * (guint64) (now - pace->since);
    *pace = (GpPace){now, bytes};
    return slow;
}

static gboolean is_complete(const Part *part)
{
    return part->filled == part->length;
}

static void stop(Part *part, const char *problem)
{
    if (!part->exchange)
        return;
    gp_exchange_log_tell(part->owner->log, part->exchange, FALSE, problem);
    gp_exchange_free(part->exchange, part->owner->context->multi);
    part->exchange = NULL;
    part->owner->context->parts--;
}

static void part_free(gpointer data)
{
    Part *part = data;
    stop(part, "broken off");
    part->owner->context->parts_held -= part->bytes != NULL;
    g_free(part->bytes);
    g_free(part);
}

static void end(GpParts *parts, gboolean may_return)
{
    parts->ended = TRUE;
    parts->may_return = may_return;
    g_queue_clear_full(&parts->window, part_free);
}

/* ---- one part's exchange */

static gboolean on_headers(GpExchange *exchange, gpointer data, GError **error)
{
    const Part *part = data;
    const GpAnswerPlan plan = {.is_blob = TRUE,
        .size = part->owner->size,
        .range_start = part->start + part->filled,
        .range_length = part->length - part->filled};
    if (exchange->answer.status == 206)
        return gp_answer_check(&exchange->answer, &plan, error);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "no part of the blob");
    return FALSE;
}

static gssize on_body(GpExchange *exchange, gpointer data, const guint8 *bytes, gsize length, GError **error)
{
    Part *part = data;
    if (length > part->length - part->filled) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "more than was asked for");
        return -1;
    }
    memcpy(part->bytes + part->filled, bytes, length);
    part->filled += length;
    return (gssize) length;
}

static void try_again(Part *part)
{
    if (part->filled > part->filled_before)
        part->tries = 0;
    if (++part->tries >= MAX_TRIES)
        end(part->owner, TRUE);
    else
        part->next_time = g_get_monotonic_time() + (gint64) gp_backoff_ms(part->tries) * 1000;
}

static void on_done(GpExchange *exchange, gpointer data, CURLcode result)
{
    Part *part = data;
    int status = exchange->answer.status;
    gboolean refused = exchange->error != NULL;
    stop(part, refused ? exchange->error->message : result == CURLE_OK ? NULL : curl_easy_strerror(result));
    if (refused)
        end(part->owner, status == 401 || status == 403);
    else if (!is_complete(part) && (result == CURLE_OK || gp_curl_is_temporary(result)))
        try_again(part);
    else if (!is_complete(part))
        end(part->owner, FALSE);
}

static const GpExchangeHandler handler = {on_headers, on_body, on_done};

static void start(Part *part)
{
    GpParts *parts = part->owner;
    const GpExchangeRequest request = {
        .url = parts->url,
        .proxies = &parts->context->proxies,
        .authorization = parts->authorization,
        .range_start = part->start + part->filled,
        .range_length = part->length - part->filled,
        .own_connection = TRUE,
        .hurry = TRUE,
        .show_certificate = parts->show_certificate,
    };
    if (!part->bytes) {
        part->bytes = g_malloc(part->length);
        parts->context->parts_held++;
    }
    part->filled_before = part->filled;
    part->exchange = gp_exchange_start(parts->context->multi, parts->context->tls, &request, &handler, part);
    if (part->exchange)
        parts->context->parts++;
    else
        end(parts, FALSE);
}

/* ---- all of them */

GpParts *gp_parts_new(GpWorkerContext *context, const GpPartsPlan *plan)
{
    GpParts *parts = g_new0(GpParts, 1);
    parts->context = context;
    parts->log = plan->log;
    parts->url = g_strdup(plan->url);
    parts->authorization = g_strdup(plan->authorization);
    parts->show_certificate = plan->show_certificate;
    parts->first = parts->next = plan->first;
    parts->size = plan->size;
    g_queue_init(&parts->window);
    return parts;
}

void gp_parts_free(GpParts *parts)
{
    if (!parts)
        return;
    g_queue_clear_full(&parts->window, part_free);
    gp_secret_free(parts->authorization);
    g_free(parts->url);
    g_free(parts);
}

guint64 gp_parts_first(const GpParts *parts)
{
    return parts->first;
}

gboolean gp_parts_may_return(const GpParts *parts)
{
    return parts->may_return;
}

static void add_part(GpParts *parts)
{
    Part *part = g_new0(Part, 1);
    part->owner = parts;
    part->start = parts->next;
    part->length = (gsize) MIN(GP_PART_SIZE, parts->size - parts->next);
    parts->next += part->length;
    g_queue_push_tail(&parts->window, part);
}

/* Connections and memory are for all blobs together. */
static gboolean may_start(const Part *part)
{
    const GpWorkerContext *context = part->owner->context;
    return context->parts < GP_LIMIT_PARTS && (part->bytes || context->parts_held < GP_LIMIT_PARTS_HELD);
}

/* The part that the reader waits for never waits for other blobs' parts: nobody could go on if all did. */
static GpPartsState fetch(GpParts *parts, gint64 now)
{
    while (!parts->ended && parts->window.length < WINDOW && parts->next < parts->size)
        add_part(parts);
    for (guint i = 0; i < parts->window.length; i++) {
        Part *part = g_queue_peek_nth(&parts->window, i);
        gboolean idle = !part->exchange && !is_complete(part) && now >= part->next_time;
        if (idle && (i == 0 || may_start(part)))
            start(part);
    }
    return parts->ended ? GP_PARTS_ENDED : GP_PARTS_GOING;
}

GpPartsState gp_parts_fetch(GpParts *parts, gint64 now, guint64 reader)
{
    const Part *next = g_queue_peek_head(&parts->window);
    if (next && next->filled == 0 && reader + NEAR >= parts->first) {
        parts->first += next->length;
        part_free(g_queue_pop_head(&parts->window));
    }
    return fetch(parts, now);
}

GpPartsState gp_parts_deliver(GpParts *parts, gint64 now, GpPipeSink *sink, gboolean *full)
{
    *full = FALSE;
    for (Part *part; !*full && (part = g_queue_peek_head(&parts->window));) {
        switch (gp_pipe_sink_write(sink, part->bytes + part->written, part->filled - part->written)) {
        case GP_SINK_GONE:
            return GP_PARTS_GONE;
        case GP_SINK_FULL:
            *full = TRUE;
            continue;
        case GP_SINK_TAKEN:
            part->written = part->filled;
        }
        if (!is_complete(part))
            break;
        part_free(g_queue_pop_head(&parts->window));
    }
    if (sink->delivered == parts->size)
        return GP_PARTS_COMPLETE;
    return fetch(parts, now);
}
