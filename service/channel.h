/* One end of a ttrpc connection in the main loop: a non-blocking socket that delivers whole frames and has a queue of
 * frames to send. It knows nothing of services. All in the main thread. */
#pragma once

#include <glib.h>

#include "base/ttrpc.h"

typedef struct _GpChannel GpChannel;

typedef struct {
    /* A whole frame came; the callee owns it. */
    void (*frame)(GpChannel *channel, GpTtrpcFrame *frame, gpointer user_data);
    /* The other side is gone or broke the protocol (@why); called once, as the last callback. The callee frees the
     * channel, now or later. */
    void (*closed)(GpChannel *channel, const GError *why, gpointer user_data);
    /* The queue, which was above GP_CHANNEL_HIGH, is below again. */
    void (*drained)(GpChannel *channel, gpointer user_data);
} GpChannelCalls;

/* Above this many queued bytes whoever feeds the queue should hold what it reads from. */
#define GP_CHANNEL_HIGH (8 * 1024 * 1024)
/* Seconds for a frame that has begun to become whole, and for a queue that is not empty to shrink. */
#define GP_CHANNEL_STALL 30

/* Takes @fd, a connected stream socket, and reads frames of type @incoming from it. @calls must outlive the channel. */
GpChannel *gp_channel_new(int fd, GpTtrpcType incoming, const GpChannelCalls *calls, gpointer user_data);

/* Closes the socket and wipes what was queued. May be called from a callback of the same channel. */
void gp_channel_free(GpChannel *channel);

/* Takes @frame and sends it as soon as the socket has room. After the channel has closed it is wiped and forgotten. */
void gp_channel_send(GpChannel *channel, GpTtrpcFrame *frame);

/* How many bytes wait in the queue. */
gsize gp_channel_queued(const GpChannel *channel);

/* TRUE: reads nothing more until FALSE. */
void gp_channel_hold(GpChannel *channel, gboolean hold);
