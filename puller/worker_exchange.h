/* One HTTP request and its answer on libcurl: what goes out, and the header fields that count. No redirects, no
 * authentication, no retries: those are the job's. */
#pragma once

#include <curl/curl.h>
#include <glib.h>

#include "puller/worker_tls.h"

typedef struct _GpExchange GpExchange;

/* What libcurl tells while it runs. */
typedef struct {
    /* The final status line and fields are complete. FALSE with @error: break it off. */
    gboolean (*on_headers)(GpExchange *exchange, gpointer data, GError **error);
    /* Bytes of the body; returns how many it took, CURL_WRITEFUNC_PAUSE to get them again after gp_exchange_resume(),
     * or -1 with
     * @error. */
    gssize (*on_body)(GpExchange *exchange, gpointer data, const guint8 *bytes, gsize length, GError **error);
    /* It has ended with @result; may free it. */
    void (*on_done)(GpExchange *exchange, gpointer data, CURLcode result);
} GpExchangeHandler;

/* By the scheme of what is asked, as libcurl reads them; NULL: none. */
typedef struct {
    char *https, *http, *except;
} GpProxies;

typedef struct {
    const char *url;
    const GpProxies *proxies;
    const char *authorization; /* field value or NULL */
    const char *accept;        /* field value or NULL */
    const char *form;          /* body of a POST, or NULL for GET */
    guint64 range_start;       /* 0: everything */
    guint64 range_length;      /* 0: from there to the end */
    gboolean own_connection;   /* shared with no other exchange at the same time: its body may have to wait for its
                                * reader, or be the faster for it */
    gboolean hurry;            /* given up sooner when nothing comes */
    gboolean show_certificate;
} GpExchangeRequest;

/* The answer's fields; strings NULL when absent. */
typedef struct {
    int status; /* 0 before there is one */
    char *content_type, *location, *retry_after, *content_range, *content_encoding;
    char *next_page; /* the query of the first Link with rel="next" */
    gboolean has_length;
    guint64 length;        /* Content-Length */
    GPtrArray *challenges; /* char*: WWW-Authenticate fields */
} GpAnswer;

struct _GpExchange {
    GpAnswer answer;
    GError *error; /* why a handler broke it off */
    /* private */
    CURL *easy;
    struct curl_slist *fields;
    const GpExchangeHandler *handler;
    gpointer data;
    gsize header_bytes;
    gint64 started;
    char *url;
    char detail[CURL_ERROR_SIZE];
};

/* Adds the request to @multi. @handler and @data outlive it. NULL only without memory. */
GpExchange *gp_exchange_start(
    CURLM *multi, GpTls *tls, const GpExchangeRequest *request, const GpExchangeHandler *handler, gpointer data);
/* Takes it out of @multi and frees it; may not be called from on_headers and on_body. */
void gp_exchange_free(GpExchange *exchange, CURLM *multi);
void gp_exchange_resume(GpExchange *exchange);

/* Tells the handler of the exchange that @easy belongs to. */
void gp_exchange_done(CURL *easy, CURLcode result);

/* Why it ended with @result, in libcurl's words, the special ones behind the general ones; the caller's. */
char *gp_exchange_problem(const GpExchange *exchange, CURLcode result);
