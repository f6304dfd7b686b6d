#include "service/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

#define FRAMES_PER_TURN 16 /* so that one busy connection does not starve the others */

struct _GpChannel {
    guint references; /* the owner's and those of callbacks that are running */
    int fd;
    GpTtrpcType incoming;
    const GpChannelCalls *calls;
    gpointer user_data;
    GSource *source;
    gpointer tag;
    gboolean held, closed;

    guint8 header[GP_TTRPC_HEADER_SIZE];
    gsize have;          /* bytes of the frame that is coming in, header included */
    GpTtrpcFrame *frame; /* NULL until the header is whole */

    GQueue queue; /* GpTtrpcFrame* */
    gsize sent;   /* of the first one */
    gsize queued; /* bytes still to be sent */
    gboolean above_high;

    gint64 frame_since; /* monotonic start of the frame that is coming in; 0: none */
    gint64 queue_since; /* monotonic time of the queue's last progress; 0: empty */
};

typedef struct {
    GSource source;
    GpChannel *channel;
} ChannelSource;

static void unref(GpChannel *channel)
{
    if (--channel->references > 0)
        return;
    gp_ttrpc_frame_free(channel->frame);
    g_queue_clear_full(&channel->queue, (GDestroyNotify) gp_ttrpc_frame_free);
    g_free(channel);
}

/* When the other side will have kept us waiting for too long; -1: it does not. */
static gint64 stall_time(const GpChannel *channel)
{
    gint64 since = channel->frame_since;
    if (since == 0 || (channel->queue_since > 0 && channel->queue_since < since))
        since = channel->queue_since;
    return since > 0 ? since + GP_CHANNEL_STALL * G_TIME_SPAN_SECOND : -1;
}

/* What the socket is watched for, and until when. */
static void update(GpChannel *channel)
{
    if (channel->closed)
        return;
    GIOCondition condition = 0;
    if (!channel->held)
        condition |= G_IO_IN;
    if (channel->queued > 0)
        condition |= G_IO_OUT;
    g_source_modify_unix_fd(channel->source, channel->tag, condition);

    gint64 now = g_get_monotonic_time();
    if (channel->have == 0 || channel->held)
        channel->frame_since = 0;
    else if (channel->frame_since == 0)
        channel->frame_since = now;
    if (channel->queued == 0)
        channel->queue_since = 0;
    else if (channel->queue_since == 0)
        channel->queue_since = now;
    g_source_set_ready_time(channel->source, stall_time(channel));
}

/* Ends the connection; the struct lives on until its owner frees it. */
static void shut(GpChannel *channel)
{
    if (channel->closed)
        return;
    channel->closed = TRUE;
    g_source_destroy(channel->source);
    g_source_unref(channel->source);
    channel->source = NULL;
    close(channel->fd);
    g_queue_clear_full(&channel->queue, (GDestroyNotify) gp_ttrpc_frame_free);
    channel->queued = 0;
}

static void fail(GpChannel *channel, const GError *why)
{
    if (channel->closed)
        return;
    shut(channel);
    channel->calls->closed(channel, why, channel->user_data);
}

static void fail_code(GpChannel *channel, GpErrorCode code, const char *text)
{
    g_autoptr(GError) why = g_error_new_literal(GP_ERROR, (int) code, text);
    fail(channel, why);
}

/* One recv() into the header or the payload. FALSE: nothing more now, or failed. */
static gboolean receive_some(GpChannel *channel)
{
    gsize total = channel->frame ? channel->frame->size : GP_TTRPC_HEADER_SIZE;
    guint8 *into = (channel->frame ? channel->frame->bytes : channel->header) + channel->have;
    if (channel->have == total)
        return TRUE;
    ssize_t got = recv(channel->fd, into, total - channel->have, 0);
    if (got > 0) {
        channel->have += (gsize) got;
        return TRUE;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return FALSE;
    if (got < 0)
        fail_code(channel, GP_ERROR_NETWORK, g_strerror(errno));
    else if (channel->have > 0)
        fail_code(channel, GP_ERROR_INVALID, "ttrpc: the connection ended inside a frame");
    else
        fail_code(channel, GP_ERROR_NETWORK, "the other side closed the connection");
    return FALSE;
}

/* Reads on until a frame is whole; NULL: not yet, or failed. */
static GpTtrpcFrame *receive_frame(GpChannel *channel)
{
    while (receive_some(channel)) {
        if (!channel->frame && channel->have == GP_TTRPC_HEADER_SIZE) {
            GpTtrpcHeader header;
            g_autoptr(GError) why = NULL;
            if (!gp_ttrpc_header_decode(channel->header, channel->incoming, &header, &why)) {
                fail(channel, why);
                return NULL;
            }
            channel->frame = gp_ttrpc_frame_new(header.stream_id, header.type, header.length);
            memcpy(channel->frame->bytes, channel->header, GP_TTRPC_HEADER_SIZE);
        }
        if (channel->frame && channel->have == channel->frame->size) {
            channel->have = 0;
            channel->frame_since = 0;
            return g_steal_pointer(&channel->frame);
        }
    }
    return NULL;
}

static void read_turn(GpChannel *channel)
{
    for (int i = 0; i < FRAMES_PER_TURN && !channel->closed && !channel->held; i++) {
        GpTtrpcFrame *frame = receive_frame(channel);
        if (!frame)
            return;
        channel->calls->frame(channel, frame, channel->user_data);
    }
}

static void write_turn(GpChannel *channel)
{
    while (!channel->closed && channel->queued > 0) {
        GpTtrpcFrame *frame = g_queue_peek_head(&channel->queue);
        ssize_t sent = send(channel->fd, frame->bytes + channel->sent, frame->size - channel->sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (sent < 0) {
            fail_code(channel, GP_ERROR_NETWORK, g_strerror(errno));
            return;
        }
        channel->sent += (gsize) sent;
        channel->queued -= (gsize) sent;
        channel->queue_since = 0;
        if (channel->sent == frame->size) {
            gp_ttrpc_frame_free(g_queue_pop_head(&channel->queue));
            channel->sent = 0;
        }
    }
    if (channel->above_high && channel->queued <= GP_CHANNEL_HIGH && !channel->closed) {
        channel->above_high = FALSE;
        channel->calls->drained(channel, channel->user_data);
    }
}

static gboolean is_stalled(const GpChannel *channel)
{
    gint64 end = stall_time(channel);
    return end >= 0 && g_get_monotonic_time() >= end;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
    GpChannel *channel = ((ChannelSource *) source)->channel;
    GIOCondition ready = g_source_query_unix_fd(source, channel->tag);
    channel->references++;
    if (ready & G_IO_OUT)
        write_turn(channel);
    if (!channel->closed && !channel->held && (ready & (G_IO_IN | G_IO_HUP | G_IO_ERR)))
        read_turn(channel);
    else if (!channel->closed && (ready & (G_IO_HUP | G_IO_ERR)))
        fail_code(channel, GP_ERROR_NETWORK, "the other side closed the connection");
    if (!channel->closed && is_stalled(channel))
        fail_code(channel, GP_ERROR_NETWORK, "ttrpc: the other side stopped in the middle of a frame");
    update(channel);
    unref(channel);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_functions = {.dispatch = dispatch};

GpChannel *gp_channel_new(int fd, GpTtrpcType incoming, const GpChannelCalls *calls, gpointer user_data)
{
    GpChannel *channel = g_new0(GpChannel, 1);
    channel->references = 1;
    channel->fd = fd;
    channel->incoming = incoming;
    channel->calls = calls;
    channel->user_data = user_data;
    g_queue_init(&channel->queue);
    channel->source = g_source_new(&source_functions, sizeof(ChannelSource));
    ((ChannelSource *) channel->source)->channel = channel;
    channel->tag = g_source_add_unix_fd(channel->source, fd, G_IO_IN);
    g_source_attach(channel->source, NULL);
    return channel;
}

void gp_channel_free(GpChannel *channel)
{
    if (!channel)
        return;
    shut(channel);
    unref(channel);
}

void gp_channel_send(GpChannel *channel, GpTtrpcFrame *frame)
{
    if (channel->closed) {
        gp_ttrpc_frame_free(frame);
        return;
    }
    g_queue_push_tail(&channel->queue, frame);
    channel->queued += frame->size;
    if (channel->queued > GP_CHANNEL_HIGH)
        channel->above_high = TRUE;
    update(channel);
}

gsize gp_channel_queued(const GpChannel *channel)
{
    return channel->queued;
}

void gp_channel_hold(GpChannel *channel, gboolean hold)
{
    channel->held = hold;
    update(channel);
}
