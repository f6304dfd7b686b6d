/* The pulls that are asked for over ttrpc: each is one "guest-pull pull" (service/run.h), at most so many at once, the
 * others wait in order. Whatever ends a pull other than its success, nothing of it stays mounted. All in the main
 * thread. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/ttrpc.h"
#include "service/run.h"

typedef struct _GpPulls GpPulls;
typedef struct _GpPull GpPull;

typedef struct {
    GpRunConfig run;
    guint max_parallel;
    guint max_queue;
    guint timeout; /* seconds: our own ceiling for one pull, waiting included */
    /* NULL: all this is what the configuration says. Otherwise that is not known yet, and each pull that comes asks for
     * it by this function, which sets itself to NULL here, or says why no pull may start. */
    gboolean (*settle)(gpointer user_data, GError **error);
    gpointer user_data;
} GpPullsConfig;

/* @config is borrowed and must outlive the result. */
GpPulls *gp_pulls_new(const GpPullsConfig *config);
/* Ends and undoes every pull without calling back, and waits for that. */
void gp_pulls_free(GpPulls *pulls);

/* How a pull ended: @digest, or NULL and @status and @text for the answer. */
typedef void (*GpPullDone)(GpPull *pull, const char *digest, GpStatusCode status, const char *text, gpointer user_data);

/* Starts or queues the pull of @image into @bundle. @timeout_nano: the client's limit, 0 or less for none. @done is
 * called once, later, unless the pull is cancelled; the handle is dead from then on. Errors: INVALID (image or bundle
 * make no sense, bundle in use), NOT_FOUND (no such bundle), LIMIT (queue full), INTERNAL, those of settle(). */
GpPull *gp_pulls_start(GpPulls *pulls, const char *image, const char *bundle, gint64 timeout_nano, GpPullDone done,
    gpointer user_data, GError **error);

/* The client is gone: ends the pull, undoes what it did, calls nobody back. */
void gp_pull_cancel(GpPull *pull);

/* {"inFlight":[{"request","image","bundle","state","ageSeconds","pid","bytes":{"fetched","size"},"phase","layers"}],
 * "totals":{…}}; phase and layers once the puller has said something. A new reference. */
json_t *gp_pulls_status(const GpPulls *pulls);
