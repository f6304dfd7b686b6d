/* One request of the puller, from its arrival to its reply: authentication, redirects, retries, resuming. */
#pragma once

#include <curl/curl.h>
#include <glib.h>

#include "puller/worker_exchange.h"
#include "puller/worker_tls.h"
#include "puller/worker_token.h"

/* What all jobs share. */
typedef struct {
    char **plain_http;
    GpProxies proxies; /* strings owned */
    guint timeout;     /* seconds for one job */
    gboolean verbose;
    CURLM *multi;
    GpTls *tls;
    GpTokens *tokens;
    guint parts;      /* of blobs that are fetched now (worker_parts.h) */
    guint parts_held; /* that have memory, be they complete or not */
} GpWorkerContext;

typedef struct _GpJob GpJob;

/* Reads the request @message and starts it. Takes the two descriptors. Never NULL: what is wrong with the request
 * becomes its reply. */
GpJob *gp_job_new(GpWorkerContext *context, const char *message, gsize length, int body_fd, int reply_fd);
void gp_job_free(GpJob *job);

/* To be called often: resumes what waited for room in the pipe (@writable) or for the clock, notices deadlines. */
void gp_job_tick(GpJob *job, gint64 now, gboolean writable, gboolean reader_gone);

/* The pipe to watch, and whether for room; -1: none. */
int gp_job_watch(const GpJob *job, gboolean *for_room);
/* Monotonic microseconds at which gp_job_tick() has something to do. */
gint64 gp_job_next_time(const GpJob *job);
/* The reply has been written: free it. */
gboolean gp_job_is_done(const GpJob *job);
