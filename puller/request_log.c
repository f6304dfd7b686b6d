#include "puller/request_log.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

#define SHOWN_URL 400
#define SHOWN_ERROR 200

typedef struct {
    gint64 start; /* microseconds since log->origin */
    json_t *object;
} Row;

struct _GpRequestLog {
    gint64 origin;
    GMutex lock;
    GPtrArray *rows;  /* Row*, at most GP_LIMIT_REQUEST_LOG; under the lock */
    guint64 left_out; /* under the lock */
};

static void row_free(gpointer data)
{
    Row *row = data;
    json_decref(row->object);
    g_free(row);
}

GpRequestLog *gp_request_log_new(void)
{
    GpRequestLog *log = g_new0(GpRequestLog, 1);
    log->origin = g_get_monotonic_time();
    g_mutex_init(&log->lock);
    log->rows = g_ptr_array_new_with_free_func(row_free);
    return log;
}

void gp_request_log_free(GpRequestLog *log)
{
    if (!log)
        return;
    g_ptr_array_unref(log->rows);
    g_mutex_clear(&log->lock);
    g_free(log);
}

/* Takes @object. How a pull began and how it ended say most: what goes is the oldest of the second half. */
static void add(GpRequestLog *log, gint64 start, json_t *object)
{
    Row *row = g_new(Row, 1);
    *row = (Row){start, object};
    g_mutex_lock(&log->lock);
    if (log->rows->len >= GP_LIMIT_REQUEST_LOG) {
        g_ptr_array_remove_index(log->rows, GP_LIMIT_REQUEST_LOG / 2);
        log->left_out++;
    }
    g_ptr_array_add(log->rows, row);
    g_mutex_unlock(&log->lock);
}

static json_t *milliseconds(gint64 microseconds)
{
    return json_real((double) microseconds / 1000);
}

static void set_escaped(json_t *object, const char *key, const char *text, gsize max)
{
    g_autofree char *shown = gp_escape(text, -1, max);
    json_object_set_new(object, key, json_string(shown));
}

/* ---- the worker's word */

typedef struct {
    json_t *method, *url, *status, *bytes, *start, *took, *token, *problem;
} Fields;

/* An address without anything that could be a secret: no query, no user. */
static gboolean is_bare_url(const char *url)
{
    gsize scheme = g_str_has_prefix(url, "https://") ? 8 : g_str_has_prefix(url, "http://") ? 7 : 0;
    gsize host = scheme ? strcspn(url + scheme, "/") : 0;
    return host > 0 && !memchr(url + scheme, '@', host) && !strpbrk(url, "?#");
}

static gboolean is_between(const json_t *value, json_int_t least, json_int_t most)
{
    return json_integer_value(value) >= least && json_integer_value(value) <= most;
}

/* NULL, or what is wrong. @elapsed: microseconds since the request was made, which no part of it can exceed. */
static const char *find_fault(const Fields *f, gint64 elapsed)
{
    const char *method = json_string_value(f->method);
    if (strcmp(method, "GET") != 0 && strcmp(method, "POST") != 0)
        return "method";
    if (!is_bare_url(json_string_value(f->url)))
        return "url";
    if (!is_between(f->status, 0, 999))
        return "status";
    if (!is_between(f->bytes, 0, G_MAXINT64))
        return "bytes";
    if (!is_between(f->start, 0, elapsed) || !is_between(f->took, 0, elapsed - json_integer_value(f->start)))
        return "a time";
    return NULL;
}

static json_t *make_row(const Fields *f, const GpAsked *asked, gint64 start)
{
    json_t *row = json_object();
    json_object_set_new(row, "what", json_string(json_is_true(f->token) ? "token" : asked->what));
    json_object_set(row, "method", f->method);
    set_escaped(row, "url", json_string_value(f->url), SHOWN_URL);
    json_object_set(row, "status", f->status);
    json_object_set(row, "bytes", f->bytes);
    json_object_set_new(row, "start", milliseconds(start));
    json_object_set_new(row, "ms", milliseconds(json_integer_value(f->took)));
    if (f->problem)
        set_escaped(row, "error", json_string_value(f->problem), SHOWN_ERROR);
    json_object_set_new(row, "by", json_string("fetch worker"));
    return row;
}

gboolean gp_request_log_take(
    GpRequestLog *log, const GpAsked *asked, const guint8 *payload, gsize length, GError **error)
{
    Fields f = {0};
    const GpJsonField fields[] = {
        {"method", GP_JSON_STRING, GP_JSON_MANDATORY, &f.method},
        {"url", GP_JSON_STRING, GP_JSON_MANDATORY, &f.url},
        {"status", GP_JSON_INTEGER, GP_JSON_MANDATORY, &f.status},
        {"bytes", GP_JSON_INTEGER, GP_JSON_MANDATORY, &f.bytes},
        {"start", GP_JSON_INTEGER, GP_JSON_MANDATORY, &f.start},
        {"took", GP_JSON_INTEGER, GP_JSON_MANDATORY, &f.took},
        {"token", GP_JSON_BOOLEAN, GP_JSON_MANDATORY, &f.token},
        {"error", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.problem},
        {NULL},
    };
    g_autoptr(GError) broken = NULL;
    g_autoptr(json_t) row = gp_json_parse(payload, length, GP_LIMIT_EXCHANGE, "exchange", &broken);
    gboolean formed = row && gp_json_fields(row, "$", fields, TRUE, &broken);
    const char *fault = formed ? find_fault(&f, g_get_monotonic_time() - asked->began) : broken->message;
    if (!formed || fault) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: exchange: %s", fault);
        return FALSE;
    }
    gint64 start = asked->began - log->origin + json_integer_value(f.start);
    add(log, start, make_row(&f, asked, start));
    return TRUE;
}

/* ---- the puller's */

void gp_request_log_unanswered(GpRequestLog *log, const GpAsked *asked, const char *why)
{
    gint64 start = asked->began - log->origin;
    json_t *row = json_object();
    json_object_set_new(row, "what", json_string(asked->what));
    json_object_set_new(row, "method", json_string("GET"));
    set_escaped(row, "url", asked->url, SHOWN_URL);
    json_object_set_new(row, "status", json_integer(0));
    json_object_set_new(row, "start", milliseconds(start));
    json_object_set_new(row, "ms", milliseconds(g_get_monotonic_time() - asked->began));
    set_escaped(row, "error", why, SHOWN_ERROR);
    json_object_set_new(row, "by", json_string("puller"));
    add(log, start, row);
}

void gp_request_log_leave_out(GpRequestLog *log, guint64 count)
{
    g_mutex_lock(&log->lock);
    log->left_out += MIN(count, G_MAXINT32);
    g_mutex_unlock(&log->lock);
}

static gint by_start(gconstpointer a, gconstpointer b)
{
    gint64 x = (*(const Row *const *) a)->start, y = (*(const Row *const *) b)->start;
    return x < y ? -1 : x > y;
}

void gp_request_log_report(GpRequestLog *log, json_t *timings)
{
    json_t *requests = json_array();
    g_mutex_lock(&log->lock);
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(log->rows, NULL, NULL);
    g_ptr_array_set_free_func(sorted, NULL);
    g_ptr_array_sort(sorted, by_start);
    for (guint i = 0; i < sorted->len; i++)
        json_array_append(requests, ((const Row *) sorted->pdata[i])->object);
    if (log->left_out)
        json_object_set_new(timings, "requestsLeftOut", json_integer((json_int_t) MIN(log->left_out, G_MAXINT64)));
    g_mutex_unlock(&log->lock);
    json_object_set_new(timings, "requests", requests);
}
