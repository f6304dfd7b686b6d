/* The HTTP requests that a pull took, for its report. What happened on the network only the fetch worker knows, so the
 * rows are its word: checked for form, bounded, labelled as such, and nothing is ever decided by them. What the puller
 * knows by itself (what it asked for and when; that no answer came) is its own. */
#pragma once

#include <glib.h>
#include <jansson.h>

typedef struct _GpRequestLog GpRequestLog;

GpRequestLog *gp_request_log_new(void); /* times count from here */
void gp_request_log_free(GpRequestLog *log);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpRequestLog, gp_request_log_free)

/* A request of the puller's. */
typedef struct {
    const char *what; /* "manifest", "blob", "referrers", "url" */
    char *url;        /* without query and user; owned by whoever made it */
    gint64 began;     /* monotonic microseconds */
} GpAsked;

/* Adds what the worker says of one exchange that @asked took: a payload of GP_FETCH_FRAME_EXCHANGE. Errors: SANDBOX for
 * one that is malformed or cannot be true. */
gboolean gp_request_log_take(
    GpRequestLog *log, const GpAsked *asked, const guint8 *payload, gsize length, GError **error);

/* Adds the puller's own word: no answer to @asked came, because of @why. */
void gp_request_log_unanswered(GpRequestLog *log, const GpAsked *asked, const char *why);

/* @count exchanges that nobody told about. */
void gp_request_log_leave_out(GpRequestLog *log, guint64 count);

/* Adds to @timings "requests", an array in the order in which they began:
 * {"what","method","url","status","bytes","start","ms","error"?,"by"}, and, if some are missing, "requestsLeftOut". A
 * token server's has "token" as "what". Any thread may call any of these. */
void gp_request_log_report(GpRequestLog *log, json_t *timings);
