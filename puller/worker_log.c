#include "puller/worker_log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/fetch_protocol.h"
#include "puller/worker_url.h"

#define MAX_URL 1000
#define MAX_PROBLEM 200

/* A frame goes into the pipe whole or not at all. */
G_STATIC_ASSERT(GP_LIMIT_EXCHANGE <= PIPE_BUF - 8);

typedef struct {
    const char *method;
    char *url; /* owned */
    curl_off_t bytes;
    gint64 took; /* microseconds */
} Facts;

void gp_exchange_log_init(GpExchangeLog *log, int fd, gboolean verbose)
{
    *log = (GpExchangeLog){.fd = fd, .began = g_get_monotonic_time(), .verbose = verbose};
    int flags = fcntl(fd, F_GETFL);
    (void) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void print(const GpExchange *exchange, const Facts *facts, const char *problem)
{
    g_autofree char *shown = gp_escape(facts->url, -1, 500);
    const char *request = g_getenv("GUEST_PULL_REQUEST_ID");
    dprintf(STDERR_FILENO, "fetch: %s%s%s%s %s: %d, %" CURL_FORMAT_CURL_OFF_T " bytes, %" G_GINT64_FORMAT " ms%s%s\n",
        request ? "[" : "", request ? request : "", request ? "] " : "", facts->method, shown, exchange->answer.status,
        facts->bytes, facts->took / 1000, problem ? ", " : "", problem ? problem : "");
}

/* Cut to @max bytes of UTF-8. */
static json_t *as_string(const char *text, gsize max)
{
    g_autofree char *cut = g_strndup(text, max);
    g_autofree char *valid = g_utf8_make_valid(cut, -1);
    return json_string(valid);
}

static gboolean send_frame(
    const GpExchangeLog *log, const GpExchange *exchange, const Facts *facts, gboolean token, const char *problem)
{
    g_autoptr(json_t) row = json_object();
    json_object_set_new(row, "method", json_string(facts->method));
    json_object_set_new(row, "url", as_string(facts->url, MAX_URL));
    json_object_set_new(row, "status", json_integer(exchange->answer.status));
    json_object_set_new(row, "bytes", json_integer(facts->bytes));
    json_object_set_new(row, "start", json_integer(MAX(exchange->started - log->began, 0)));
    json_object_set_new(row, "took", json_integer(facts->took));
    json_object_set_new(row, "token", json_boolean(token));
    if (problem)
        json_object_set_new(row, "error", as_string(problem, MAX_PROBLEM));
    g_autofree char *text = gp_json_to_text(row, FALSE);
    return text && strlen(text) <= GP_LIMIT_EXCHANGE &&
           gp_frame_write_whole(log->fd, GP_FETCH_FRAME_EXCHANGE, text, strlen(text));
}

void gp_exchange_log_tell(GpExchangeLog *log, const GpExchange *exchange, gboolean token, const char *problem)
{
    char *method = NULL;
    Facts facts = {.url = gp_url_show(exchange->url), .took = g_get_monotonic_time() - exchange->started};
    (void) curl_easy_getinfo(exchange->easy, CURLINFO_EFFECTIVE_METHOD, &method);
    (void) curl_easy_getinfo(exchange->easy, CURLINFO_SIZE_DOWNLOAD_T, &facts.bytes);
    facts.method = method ? method : "GET";
    if (log->verbose)
        print(exchange, &facts, problem);
    if (log->told < GP_LIMIT_EXCHANGES && send_frame(log, exchange, &facts, token, problem))
        log->told++;
    else
        log->untold++;
    g_free(facts.url);
}
