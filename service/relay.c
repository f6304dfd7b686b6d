#include "service/relay.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "service/channel.h"
#include "base/log.h"

#define RETRY_MS 50

/* A request that the upstream has, or will get. */
typedef struct {
    GpRelay *relay;
    guint32 stream_id;
    guint deadline_source;
} Relayed;

struct _GpRelay {
    char *path;
    guint patience_ms;
    const GpRelayCalls *calls;
    gpointer user_data;
    GpChannel *channel;    /* NULL: not connected */
    GHashTable *in_flight; /* stream id to Relayed* */
    GQueue waiting;        /* GpTtrpcFrame*, until the upstream listens */
    gsize waiting_bytes;
    gint64 patience_end; /* monotonic */
    guint retry_source;
    gboolean held;
};

static void relayed_free(gpointer data)
{
    Relayed *relayed = data;
    if (relayed->deadline_source)
        g_source_remove(relayed->deadline_source);
    g_free(relayed);
}

static void answer_status(GpRelay *relay, guint32 stream_id, GpStatusCode code, const char *text)
{
    relay->calls->answer(gp_ttrpc_status_encode(stream_id, code, text), relay->user_data);
}

/* Answers everything that is in flight: the upstream will not. */
static void answer_all(GpRelay *relay, GpStatusCode code, const char *text)
{
    g_autoptr(GHashTable) lost = g_steal_pointer(&relay->in_flight);
    relay->in_flight = g_hash_table_new_full(NULL, NULL, NULL, relayed_free);
    g_queue_clear_full(&relay->waiting, (GDestroyNotify) gp_ttrpc_frame_free);
    relay->waiting_bytes = 0;
    GHashTableIter iter;
    gpointer id;
    g_hash_table_iter_init(&iter, lost);
    while (g_hash_table_iter_next(&iter, &id, NULL))
        answer_status(relay, GPOINTER_TO_UINT(id), code, text);
}

static void upstream_down(GpRelay *relay, const char *why)
{
    guint lost = g_hash_table_size(relay->in_flight);
    g_autofree char *text =
        g_strdup_printf("guest-pulld: the confidential-data-hub at %s cannot be reached: %s", relay->path, why);
    if (lost > 0)
        gp_log(G_LOG_LEVEL_WARNING, NULL, "%s (%u requests in flight)", text, lost);
    answer_all(relay, GP_STATUS_UNAVAILABLE, text);
}

/* ---- what comes from the upstream */

static void on_frame(GpChannel *channel, GpTtrpcFrame *frame, gpointer user_data)
{
    GpRelay *relay = user_data;
    guint32 id = gp_ttrpc_frame_stream_id(frame);
    /* Unknown: its deadline has passed and been answered, or the upstream made it up; nobody waits for it. */
    if (g_hash_table_remove(relay->in_flight, GUINT_TO_POINTER(id)))
        relay->calls->answer(frame, relay->user_data);
    else
        gp_ttrpc_frame_free(frame);
}

static void on_closed(GpChannel *channel, const GError *why, gpointer user_data)
{
    GpRelay *relay = user_data;
    relay->channel = NULL;
    gp_channel_free(channel);
    upstream_down(relay, why->message);
    relay->calls->drained(relay->user_data); /* what waited to be sent is gone */
}

static void on_drained(GpChannel *channel, gpointer user_data)
{
    GpRelay *relay = user_data;
    relay->calls->drained(relay->user_data);
}

static const GpChannelCalls channel_calls = {on_frame, on_closed, on_drained};

/* ---- what goes to it */

/* 0 when connected, else the errno. A unix socket connects at once or not at all. */
static int connect_upstream(GpRelay *relay)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    g_strlcpy(sun.sun_path, relay->path, sizeof sun.sun_path);
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *) &sun, sizeof sun) < 0)
        return errno;
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return errno;
    if (peer.uid != 0 && peer.uid != geteuid())
        return EPERM;
    relay->channel = gp_channel_new(gp_steal_fd(&fd), GP_TTRPC_RESPONSE, &channel_calls, relay);
    gp_channel_hold(relay->channel, relay->held);
    return 0;
}

static void send_waiting(GpRelay *relay)
{
    GpTtrpcFrame *frame;
    while ((frame = g_queue_pop_head(&relay->waiting))) {
        relay->waiting_bytes -= frame->size;
        gp_channel_send(relay->channel, frame);
    }
}

static gboolean on_retry(gpointer user_data)
{
    GpRelay *relay = user_data;
    int err = connect_upstream(relay);
    if (err != 0 && g_get_monotonic_time() < relay->patience_end)
        return G_SOURCE_CONTINUE;
    relay->retry_source = 0;
    if (err == 0)
        send_waiting(relay);
    else
        upstream_down(relay, g_strerror(err));
    relay->calls->drained(relay->user_data);
    return G_SOURCE_REMOVE;
}

static gboolean on_deadline(gpointer user_data)
{
    Relayed *relayed = user_data;
    GpRelay *relay = relayed->relay;
    guint32 id = relayed->stream_id;
    relayed->deadline_source = 0;
    g_hash_table_remove(relay->in_flight, GUINT_TO_POINTER(id));
    answer_status(
        relay, id, GP_STATUS_DEADLINE_EXCEEDED, "guest-pulld: the confidential-data-hub did not answer in time");
    return G_SOURCE_REMOVE;
}

static void remember(GpRelay *relay, guint32 stream_id, gint64 timeout_nano)
{
    Relayed *relayed = g_new0(Relayed, 1);
    relayed->relay = relay;
    relayed->stream_id = stream_id;
    /* The upstream enforces the client's limit itself; ours is for one that hangs. */
    gint64 limit_ms = timeout_nano > 0 ? MIN(timeout_nano / 1000000, GP_DEFAULT_TIMEOUT * 1000) + 1 : 0;
    if (limit_ms > 0)
        relayed->deadline_source = g_timeout_add((guint) limit_ms, on_deadline, relayed);
    g_hash_table_insert(relay->in_flight, GUINT_TO_POINTER(stream_id), relayed);
}

static void wait_for_upstream(GpRelay *relay, GpTtrpcFrame *frame)
{
    g_queue_push_tail(&relay->waiting, frame);
    relay->waiting_bytes += frame->size;
    if (relay->retry_source)
        return;
    relay->patience_end = g_get_monotonic_time() + (gint64) relay->patience_ms * 1000;
    relay->retry_source = g_timeout_add(RETRY_MS, on_retry, relay);
}

void gp_relay_request(GpRelay *relay, GpTtrpcFrame *frame, const GpTtrpcRequest *request)
{
    guint32 id = gp_ttrpc_frame_stream_id(frame);
    if (g_hash_table_size(relay->in_flight) >= GP_LIMIT_RELAYED) {
        answer_status(relay, id, GP_STATUS_RESOURCE_EXHAUSTED, "guest-pulld: too many requests in flight");
        gp_ttrpc_frame_free(frame);
        return;
    }
    remember(relay, id, request->timeout_nano);
    int err = relay->channel || relay->retry_source ? 0 : connect_upstream(relay);
    if (relay->channel) {
        gp_channel_send(relay->channel, frame);
    } else if (relay->patience_ms > 0) {
        wait_for_upstream(relay, frame);
    } else {
        gp_ttrpc_frame_free(frame);
        upstream_down(relay, g_strerror(err));
    }
}

GpRelay *gp_relay_new(const char *path, guint patience_ms, const GpRelayCalls *calls, gpointer user_data)
{
    GpRelay *relay = g_new0(GpRelay, 1);
    relay->path = g_strdup(path);
    relay->patience_ms = patience_ms;
    relay->calls = calls;
    relay->user_data = user_data;
    relay->in_flight = g_hash_table_new_full(NULL, NULL, NULL, relayed_free);
    g_queue_init(&relay->waiting);
    return relay;
}

void gp_relay_free(GpRelay *relay)
{
    if (!relay)
        return;
    if (relay->retry_source)
        g_source_remove(relay->retry_source);
    gp_channel_free(relay->channel);
    g_hash_table_unref(relay->in_flight);
    g_queue_clear_full(&relay->waiting, (GDestroyNotify) gp_ttrpc_frame_free);
    g_free(relay->path);
    g_free(relay);
}

gsize gp_relay_queued(const GpRelay *relay)
{
    return relay->waiting_bytes + (relay->channel ? gp_channel_queued(relay->channel) : 0);
}

void gp_relay_hold(GpRelay *relay, gboolean hold)
{
    relay->held = hold;
    if (relay->channel)
        gp_channel_hold(relay->channel, hold);
}
