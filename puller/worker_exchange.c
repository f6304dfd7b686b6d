#include "puller/worker_exchange.h"

#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "puller/worker_header.h"

#define LOW_SPEED_BYTES 1024
#define LOW_SPEED_SECONDS 30
#define HURRY_SECONDS 10
#define BUFFER_SIZE (128 * 1024)
#define MAX_FIELDS_KEPT 16

static void answer_clear(GpAnswer *answer)
{
    g_clear_pointer(&answer->content_type, g_free);
    g_clear_pointer(&answer->location, g_free);
    g_clear_pointer(&answer->retry_after, g_free);
    g_clear_pointer(&answer->content_range, g_free);
    g_clear_pointer(&answer->content_encoding, g_free);
    g_clear_pointer(&answer->next_page, g_free);
    g_clear_pointer(&answer->challenges, g_ptr_array_unref);
    *answer = (GpAnswer){0};
}

static gboolean take_once(char **place, const char *name, char *value, GError **error)
{
    g_autofree char *owned = value;
    if (*place && strcmp(*place, owned) != 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the server sends two different %s fields", name);
        return FALSE;
    }
    if (!*place)
        *place = g_steal_pointer(&owned);
    return TRUE;
}

static gboolean take_field(GpAnswer *answer, const char *line, gsize length, GError **error)
{
    const char *colon = memchr(line, ':', length);
    if (!colon)
        return TRUE;
    g_autofree char *name = g_ascii_strdown(line, colon - line);
    char *value = g_strstrip(g_strndup(colon + 1, length - (gsize) (colon + 1 - line)));
    const struct {
        const char *name;
        char **place;
    } single[] = {
        {"content-type", &answer->content_type},
        {"location", &answer->location},
        {"retry-after", &answer->retry_after},
        {"content-range", &answer->content_range},
        {"content-encoding", &answer->content_encoding},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(single); i++)
        if (strcmp(name, single[i].name) == 0)
            return take_once(single[i].place, name, value, error);
    if (strcmp(name, "content-length") == 0)
        answer->has_length = gp_decimal_parse(value, &answer->length);
    if (strcmp(name, "link") == 0 && !answer->next_page)
        answer->next_page = gp_link_next_query(value);
    if (strcmp(name, "www-authenticate") == 0 && answer->challenges->len < MAX_FIELDS_KEPT) {
        g_ptr_array_add(answer->challenges, value);
        return TRUE;
    }
    g_free(value);
    return TRUE;
}

static void begin_answer(GpAnswer *answer, const char *line, gsize length)
{
    answer_clear(answer);
    answer->challenges = g_ptr_array_new_with_free_func(g_free);
    const char *blank = memchr(line, ' ', length);
    gsize left = blank ? length - (gsize) (blank + 1 - line) : 0;
    if (left >= 3 && g_ascii_isdigit(blank[1]) && g_ascii_isdigit(blank[2]) && g_ascii_isdigit(blank[3]))
        answer->status = (blank[1] - '0') * 100 + (blank[2] - '0') * 10 + (blank[3] - '0');
}

/* libcurl gives one line at a time, the status line first, an empty line last; interim answers (1xx) before the final
 * one. */
static gboolean handle_line(GpExchange *exchange, const char *line, gsize length)
{
    exchange->header_bytes += length;
    if (exchange->header_bytes > GP_LIMIT_HTTP_HEADERS) {
        g_set_error(&exchange->error, GP_ERROR, GP_ERROR_LIMIT,
            "the server sends more than %" G_GUINT64_FORMAT " bytes of header fields", GP_LIMIT_HTTP_HEADERS);
        return FALSE;
    }
    if (length >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        begin_answer(&exchange->answer, line, length);
        return TRUE;
    }
    if (!exchange->answer.challenges)
        return TRUE;
    if (line[0] == '\r' || line[0] == '\n')
        return exchange->answer.status < 200 ||
               exchange->handler->on_headers(exchange, exchange->data, &exchange->error);
    return take_field(&exchange->answer, line, length, &exchange->error);
}

static size_t on_header(char *line, size_t size, size_t count, void *data)
{
    GpExchange *exchange = data;
    if (exchange->error)
        return 0;
    return handle_line(exchange, line, size * count) ? size * count : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data)
{
    GpExchange *exchange = data;
    if (exchange->error)
        return 0;
    gssize taken =
        exchange->handler->on_body(exchange, exchange->data, (const guint8 *) bytes, size * count, &exchange->error);
    return taken < 0 ? 0 : (size_t) taken;
}

static gboolean set_fields(GpExchange *exchange, const GpExchangeRequest *request)
{
    const struct {
        const char *name, *value;
    } fields[] = {{"Accept", request->accept ? request->accept : "*/*"}, {"Authorization", request->authorization}};
    for (gsize i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (!fields[i].value)
            continue;
        g_autofree char *line = g_strdup_printf("%s: %s", fields[i].name, fields[i].value);
        struct curl_slist *longer = curl_slist_append(exchange->fields, line);
        if (!longer)
            return FALSE;
        exchange->fields = longer;
    }
    return curl_easy_setopt(exchange->easy, CURLOPT_HTTPHEADER, exchange->fields) == CURLE_OK;
}

/* What a proxy says to CONNECT is no answer of the registry's, and what we tell the registry is nothing for a proxy. */
static gboolean set_proxy(GpExchange *exchange, const GpExchangeRequest *request)
{
    CURL *easy = exchange->easy;
    const GpProxies *proxies = request->proxies;
    const char *proxy = g_str_has_prefix(request->url, "https:") ? proxies->https : proxies->http;
    return curl_easy_setopt(easy, CURLOPT_PROXY, proxy ? proxy : "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOPROXY, proxies->except ? proxies->except : "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE) == CURLE_OK;
}

/* Over HTTP/2 libcurl holds in memory what a server sends to a stream that waits, 32 MiB of each; a connection of its
 * own lets the server wait. Waiting whether a connection can be shared pays only where HTTP/2 is spoken, which is over
 * TLS. */
static gboolean set_version(GpExchange *exchange, const GpExchangeRequest *request)
{
    gboolean shared = g_str_has_prefix(request->url, "https:") && !request->own_connection;
    long version = request->own_connection ? (long) CURL_HTTP_VERSION_1_1 : (long) CURL_HTTP_VERSION_2TLS;
    return curl_easy_setopt(exchange->easy, CURLOPT_HTTP_VERSION, version) == CURLE_OK &&
           curl_easy_setopt(exchange->easy, CURLOPT_PIPEWAIT, shared ? 1L : 0L) == CURLE_OK;
}

static gboolean set_request(GpExchange *exchange, const GpExchangeRequest *request)
{
    CURL *easy = exchange->easy;
    gboolean ok = curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK && set_fields(exchange, request) &&
                  set_proxy(exchange, request) && set_version(exchange, request);
    if (ok && request->form)
        ok = curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->form) == CURLE_OK;
    if (ok && request->range_start > 0) {
        g_autofree char *end = request->range_length ? g_strdup_printf("%" G_GUINT64_FORMAT,
                                                           request->range_start + request->range_length - 1)
                                                     : NULL;
        g_autofree char *range = g_strdup_printf("%" G_GUINT64_FORMAT "-%s", request->range_start, end ? end : "");
        ok = curl_easy_setopt(easy, CURLOPT_RANGE, range) == CURLE_OK;
    }
    if (ok && request->hurry)
        ok = curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long) HURRY_SECONDS) == CURLE_OK;
    return ok;
}

/* Nothing from the environment, nothing automatic: no proxy, no netrc, no cookies, no redirects, no decoding. */
static gboolean set_options(GpExchange *exchange)
{
    CURL *easy = exchange->easy;
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERAGENT, "guest-pull/" GP_VERSION) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           /* Giving up on a name server that does not answer is waiting for nobody's thread. */
           curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->detail) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long) BUFFER_SIZE) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long) GP_LIMIT_CONNECT_TIMEOUT) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long) LOW_SPEED_BYTES) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long) LOW_SPEED_SECONDS) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange) == CURLE_OK;
}

GpExchange *gp_exchange_start(
    CURLM *multi, GpTls *tls, const GpExchangeRequest *request, const GpExchangeHandler *handler, gpointer data)
{
    GpExchange *exchange = g_new0(GpExchange, 1);
    exchange->handler = handler;
    exchange->data = data;
    exchange->url = g_strdup(request->url);
    exchange->started = g_get_monotonic_time();
    exchange->easy = curl_easy_init();
    if (exchange->easy && set_options(exchange) && set_request(exchange, request) &&
        gp_tls_apply(tls, exchange->easy, request->show_certificate) &&
        curl_multi_add_handle(multi, exchange->easy) == CURLM_OK)
        return exchange;
    gp_exchange_free(exchange, multi);
    return NULL;
}

void gp_exchange_free(GpExchange *exchange, CURLM *multi)
{
    if (!exchange)
        return;
    if (exchange->easy) {
        curl_multi_remove_handle(multi, exchange->easy);
        curl_easy_cleanup(exchange->easy);
    }
    curl_slist_free_all(exchange->fields);
    answer_clear(&exchange->answer);
    g_clear_error(&exchange->error);
    g_free(exchange->url);
    g_free(exchange);
}

char *gp_exchange_problem(const GpExchange *exchange, CURLcode result)
{
    const char *general = curl_easy_strerror(result);
    /* OpenSSL's words for an answer that is no TLS at all. */
    const char *advice = strstr(exchange->detail, "wrong version number")
                             ? "\nDoes the server speak plain http? Then: --plain-http HOST[:PORT]."
                             : "";
    return *exchange->detail && strcmp(exchange->detail, general) != 0
               ? g_strdup_printf("%s: %s%s", general, exchange->detail, advice)
               : g_strdup(general);
}

void gp_exchange_resume(GpExchange *exchange)
{
    (void) curl_easy_pause(exchange->easy, CURLPAUSE_CONT);
}

void gp_exchange_done(CURL *easy, CURLcode result)
{
    char *private = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private) != CURLE_OK || !private)
        return;
    GpExchange *exchange = (GpExchange *) (gpointer) private;
    exchange->handler->on_done(exchange, exchange->data, result);
}
