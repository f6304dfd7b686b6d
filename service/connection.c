#include "service/connection.h"

#include "base/error.h"
#include "base/limits.h"
#include "service/channel.h"
#include "service/image.pb-c.h"
#include "base/log.h"
#include "service/pull_report.h"
#include "service/relay.h"

#define MAX_REQUEST (GP_LIMIT_REFERENCE + GP_LIMIT_PATH + 64)

struct _GpConnection {
    GpConnectionShared *shared;
    GpChannel *channel;
    GpRelay *relay;    /* NULL: there is no upstream */
    guint32 last_id;   /* of the requests so far */
    GHashTable *pulls; /* GpPull* to its stream id */
};

typedef void (*Method)(GpConnection *connection, guint32 stream_id, const GpTtrpcRequest *request);

static void send_status(GpConnection *connection, guint32 stream_id, GpStatusCode code, const char *text)
{
    gp_channel_send(connection->channel, gp_ttrpc_status_encode(stream_id, code, text));
}

/* Whoever feeds a queue that is too long is not read from until it is short again. */
static void balance(GpConnection *connection)
{
    gboolean answers_pile_up = gp_channel_queued(connection->channel) > GP_CHANNEL_HIGH;
    gboolean requests_pile_up = connection->relay && gp_relay_queued(connection->relay) > GP_CHANNEL_HIGH;
    gp_channel_hold(connection->channel, answers_pile_up || requests_pile_up);
    if (connection->relay)
        gp_relay_hold(connection->relay, answers_pile_up);
}

/* ---- api.ImagePullService */

static void on_pulled(GpPull *pull, const char *digest, GpStatusCode status, const char *text, gpointer user_data)
{
    GpConnection *connection = user_data;
    guint32 stream_id = GPOINTER_TO_UINT(g_hash_table_lookup(connection->pulls, pull));
    g_hash_table_remove(connection->pulls, pull);
    if (!digest) {
        send_status(connection, stream_id, status, text);
        return;
    }
    Api__ImagePullResponse answer = API__IMAGE_PULL_RESPONSE__INIT;
    g_autofree guint8 *digest_bytes = (guint8 *) g_strdup(digest);
    answer.manifest_digest = (ProtobufCBinaryData){strlen(digest), digest_bytes};
    g_autofree guint8 *packed = g_malloc(api__image_pull_response__get_packed_size(&answer));
    gsize length = api__image_pull_response__pack(&answer, packed);
    gp_channel_send(connection->channel, gp_ttrpc_response_encode(stream_id, packed, length, NULL));
}

/* A protobuf string as text; NULL when it holds a NUL, which would hide what follows. */
static char *text_of(const ProtobufCBinaryData *from)
{
    if (from->len > 0 && memchr(from->data, '\0', from->len))
        return NULL;
    return g_strndup(from->len > 0 ? (const char *) from->data : "", from->len);
}

static GpPull *start_pull(GpConnection *connection, const GpTtrpcRequest *request, char **image, GError **error)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(request->payload, &length);
    /* The ceiling also bounds what decoding can allocate. */
    Api__ImagePullRequest *message = length <= MAX_REQUEST ? api__image_pull_request__unpack(NULL, length, data) : NULL;
    g_autofree char *bundle = NULL;
    /* What the client means by a field that we do not know might be a condition that we would not keep. */
    if (message && message->base.n_unknown_fields == 0) {
        *image = text_of(&message->image_url);
        bundle = text_of(&message->bundle_path);
    }
    if (message)
        api__image_pull_request__free_unpacked(message, NULL);
    if (!*image || !bundle) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "the payload is no api.ImagePullRequest that is understood here");
        return NULL;
    }
    return gp_pulls_start(
        connection->shared->pulls, *image, bundle, request->timeout_nano, on_pulled, connection, error);
}

static void pull_image(GpConnection *connection, guint32 stream_id, const GpTtrpcRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *image = NULL;
    GpPull *pull = start_pull(connection, request, &image, &error);
    if (pull) {
        g_hash_table_insert(connection->pulls, pull, GUINT_TO_POINTER(stream_id));
        return;
    }
    g_autofree char *text = gp_pull_report_text(image ? image : "(none)", error);
    gp_log(G_LOG_LEVEL_WARNING, NULL, "refused: %s", error->message);
    send_status(connection, stream_id, (GpStatusCode) gp_error_info(error->code)->grpc_status, text);
}

/* ---- requests */

static const struct {
    const char *service;
    const char *method;
    Method call;
} methods[] = {
    {"api.ImagePullService", "PullImage", pull_image},
};

static void unknown(GpConnection *connection, guint32 stream_id, GpStatusCode code, const GpTtrpcRequest *request)
{
    g_autofree char *text =
        g_strdup_printf("guest-pulld: /%s/%s is not served here", request->service, request->method);
    send_status(connection, stream_id, code, text);
}

/* Takes @frame. A service that has a row above is never relayed, whatever the method: the real confidential-data-hub
 * pulls images too, and would do so without our policy. */
static void route(GpConnection *connection, GpTtrpcFrame *frame, const GpTtrpcRequest *request)
{
    g_autoptr(GpTtrpcFrame) owned = frame;
    guint32 stream_id = gp_ttrpc_frame_stream_id(frame);
    gboolean ours = FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (!g_str_equal(request->service, methods[i].service))
            continue;
        if (g_str_equal(request->method, methods[i].method)) {
            methods[i].call(connection, stream_id, request);
            return;
        }
        ours = TRUE;
    }
    if (ours) {
        unknown(connection, stream_id, GP_STATUS_UNIMPLEMENTED, request);
    } else if (connection->relay) {
        connection->shared->relayed++;
        gp_relay_request(connection->relay, g_steal_pointer(&owned), request);
    } else {
        unknown(connection, stream_id, GP_STATUS_INVALID_ARGUMENT, request);
    }
}

static void on_frame(GpChannel *channel, GpTtrpcFrame *frame, gpointer user_data)
{
    GpConnection *connection = user_data;
    g_autoptr(GpTtrpcFrame) owned = frame;
    guint32 stream_id = gp_ttrpc_frame_stream_id(frame);
    connection->shared->frames++;
    g_autoptr(GError) error = NULL;
    if (stream_id % 2 == 0 || stream_id <= connection->last_id) {
        connection->shared->malformed++;
        send_status(connection, stream_id, GP_STATUS_INVALID_ARGUMENT,
            "guest-pulld: a client's stream ids are odd, and each is greater than the one before");
        balance(connection);
        return;
    }
    connection->last_id = stream_id;
    g_autoptr(GpTtrpcRequest) request = gp_ttrpc_request_decode(frame, &error);
    if (request) {
        route(connection, g_steal_pointer(&owned), request);
    } else {
        connection->shared->malformed++;
        send_status(connection, stream_id, (GpStatusCode) gp_error_info(error->code)->grpc_status, error->message);
    }
    balance(connection);
}

static void on_closed(GpChannel *channel, const GError *why, gpointer user_data)
{
    GpConnection *connection = user_data;
    GpConnectionShared *shared = connection->shared;
    gboolean orderly = g_error_matches(why, GP_ERROR, GP_ERROR_NETWORK);
    if (!orderly)
        shared->malformed++;
    gp_log(orderly ? G_LOG_LEVEL_DEBUG : G_LOG_LEVEL_WARNING, NULL, "connection closed: %s", why->message);
    shared->ended(connection, shared->user_data);
    gp_connection_free(connection);
}

static void on_drained(GpChannel *channel, gpointer user_data)
{
    balance(user_data);
}

static const GpChannelCalls channel_calls = {on_frame, on_closed, on_drained};

static void on_relay_answer(GpTtrpcFrame *frame, gpointer user_data)
{
    GpConnection *connection = user_data;
    gp_channel_send(connection->channel, frame);
    balance(connection);
}

static void on_relay_drained(gpointer user_data)
{
    balance(user_data);
}

static const GpRelayCalls relay_calls = {on_relay_answer, on_relay_drained};

GpConnection *gp_connection_new(int fd, GpConnectionShared *shared)
{
    GpConnection *connection = g_new0(GpConnection, 1);
    connection->shared = shared;
    connection->pulls = g_hash_table_new(NULL, NULL);
    connection->channel = gp_channel_new(fd, GP_TTRPC_REQUEST, &channel_calls, connection);
    if (shared->upstream)
        connection->relay = gp_relay_new(shared->upstream, shared->patience_ms, &relay_calls, connection);
    return connection;
}

void gp_connection_free(GpConnection *connection)
{
    if (!connection)
        return;
    GHashTableIter iter;
    gpointer pull;
    g_hash_table_iter_init(&iter, connection->pulls);
    while (g_hash_table_iter_next(&iter, &pull, NULL))
        gp_pull_cancel(pull); /* it never calls back, so the table stays as it is */
    g_hash_table_unref(connection->pulls);
    gp_relay_free(connection->relay);
    gp_channel_free(connection->channel);
    g_free(connection);
}
