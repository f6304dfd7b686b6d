/* The other services' way to the real confidential-data-hub: one upstream connection for one downstream connection,
 * frames unchanged, stream ids kept. An upstream that is down is an answer of UNAVAILABLE to each request in flight,
 * and is tried again with the next request. Payloads are not looked at and not logged. */
#pragma once

#include <glib.h>

#include "base/ttrpc.h"

typedef struct _GpRelay GpRelay;

typedef struct {
    /* An answer for the client; the callee owns it. */
    void (*answer)(GpTtrpcFrame *frame, gpointer user_data);
    /* gp_relay_queued() fell below GP_CHANNEL_HIGH. */
    void (*drained)(gpointer user_data);
} GpRelayCalls;

/* @path: the upstream's socket. @patience_ms: how long a request may wait for the upstream to start listening (0: not
 * at all). Nothing is connected before the first request. */
GpRelay *gp_relay_new(const char *path, guint patience_ms, const GpRelayCalls *calls, gpointer user_data);
void gp_relay_free(GpRelay *relay);

/* Relays @frame (taken), whose decoded envelope is @request. Its answer comes by calls->answer, perhaps before this
 * returns. */
void gp_relay_request(GpRelay *relay, GpTtrpcFrame *frame, const GpTtrpcRequest *request);

/* Bytes that wait to go to the upstream. */
gsize gp_relay_queued(const GpRelay *relay);
/* Stops reading answers. */
void gp_relay_hold(GpRelay *relay, gboolean hold);
