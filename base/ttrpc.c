#include "base/ttrpc.h"

#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/ttrpc.pb-c.h"

#define FLAG_REMOTE_CLOSED 1

/* ---- memory that is wiped */

static void *wiped_new(gsize size)
{
    gsize *block = g_malloc(sizeof(max_align_t) + size);
    *block = size;
    return (guint8 *) block + sizeof(max_align_t);
}

static void wiped_free(void *data)
{
    if (!data)
        return;
    gsize *block = (gsize *) ((guint8 *) data - sizeof(max_align_t));
    explicit_bzero(block, sizeof(max_align_t) + *block);
    g_free(block);
}

GBytes *gp_ttrpc_secret_bytes(gsize length, guint8 **data)
{
    *data = wiped_new(length);
    return g_bytes_new_with_free_func(*data, length, wiped_free, *data);
}

static GBytes *secret_copy(const ProtobufCBinaryData *from)
{
    guint8 *data;
    GBytes *bytes = gp_ttrpc_secret_bytes(from->len, &data);
    if (from->len > 0)
        memcpy(data, from->data, from->len);
    return bytes;
}

/* protobuf-c's allocator, with a budget: two bytes on the wire can cost a hundred in memory (an empty KeyValue), and a
 * message of four megabytes must not cost two hundred. */
static void *budget_alloc(void *user_data, size_t size)
{
    gsize *left = user_data;
    if (size > *left)
        return NULL;
    *left -= size;
    return wiped_new(size);
}

static void budget_free(void *user_data, void *data)
{
    wiped_free(data);
}

/* ---- frames */

static guint32 read_u32(const guint8 *at)
{
    return (guint32) at[0] << 24 | (guint32) at[1] << 16 | (guint32) at[2] << 8 | at[3];
}

static void write_u32(guint8 *at, guint32 value)
{
    at[0] = (guint8) (value >> 24);
    at[1] = (guint8) (value >> 16);
    at[2] = (guint8) (value >> 8);
    at[3] = (guint8) value;
}

gboolean gp_ttrpc_header_decode(
    const guint8 bytes[GP_TTRPC_HEADER_SIZE], GpTtrpcType expected, GpTtrpcHeader *header, GError **error)
{
    guint32 length = read_u32(bytes);
    guint32 stream_id = read_u32(bytes + 4);
    if (bytes[8] != expected) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "ttrpc: a frame of type %u where only type %u is allowed",
            bytes[8], (unsigned) expected);
        return FALSE;
    }
    if (bytes[9] != 0 && bytes[9] != FLAG_REMOTE_CLOSED) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "ttrpc: flags 0x%02x: only unary calls are understood here, which have 0 or 1", bytes[9]);
        return FALSE;
    }
    if (stream_id == 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "ttrpc: stream id 0");
        return FALSE;
    }
    if (length > GP_LIMIT_TTRPC_PAYLOAD) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "ttrpc: a frame of %u bytes, at most %u are allowed", length,
            (unsigned) GP_LIMIT_TTRPC_PAYLOAD);
        return FALSE;
    }
    *header = (GpTtrpcHeader){length, stream_id, expected};
    return TRUE;
}

GpTtrpcFrame *gp_ttrpc_frame_new(guint32 stream_id, GpTtrpcType type, gsize length)
{
    g_assert(length <= GP_LIMIT_TTRPC_PAYLOAD);
    GpTtrpcFrame *frame = wiped_new(sizeof *frame + GP_TTRPC_HEADER_SIZE + length);
    frame->size = GP_TTRPC_HEADER_SIZE + length;
    write_u32(frame->bytes, (guint32) length);
    write_u32(frame->bytes + 4, stream_id);
    frame->bytes[8] = (guint8) type;
    frame->bytes[9] = 0;
    return frame;
}

void gp_ttrpc_frame_free(GpTtrpcFrame *frame)
{
    wiped_free(frame);
}

guint32 gp_ttrpc_frame_stream_id(const GpTtrpcFrame *frame)
{
    return read_u32(frame->bytes + 4);
}

/* Packs @message into a frame. */
static GpTtrpcFrame *pack(guint32 stream_id, GpTtrpcType type, const ProtobufCMessage *message, GError **error)
{
    gsize length = protobuf_c_message_get_packed_size(message);
    if (length > GP_LIMIT_TTRPC_PAYLOAD) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "ttrpc: a message of %" G_GSIZE_FORMAT " bytes, at most %u are allowed", length,
            (unsigned) GP_LIMIT_TTRPC_PAYLOAD);
        return NULL;
    }
    GpTtrpcFrame *frame = gp_ttrpc_frame_new(stream_id, type, length);
    protobuf_c_message_pack(message, frame->bytes + GP_TTRPC_HEADER_SIZE);
    return frame;
}

/* Unpacks @frame as @descriptor; *@left is the allocator's budget and must live as long as the message. */
static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *descriptor, ProtobufCAllocator *allocator,
    const GpTtrpcFrame *frame, GError **error)
{
    gsize length = frame->size - GP_TTRPC_HEADER_SIZE;
    gsize *left = allocator->allocator_data;
    *left = length + GP_LIMIT_TTRPC_OVERHEAD;
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptor, allocator, length, frame->bytes + GP_TTRPC_HEADER_SIZE);
    if (!message)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "ttrpc: a payload of %" G_GSIZE_FORMAT " bytes is no protobuf message, or one with too many fields",
            length);
    return message;
}

/* ---- requests */

static char *read_name(const ProtobufCBinaryData *from, const char *what, GError **error)
{
    gboolean good = from->len > 0 && from->len <= GP_LIMIT_TTRPC_NAME;
    for (gsize i = 0; good && i < from->len; i++)
        good = g_ascii_isgraph((char) from->data[i]);
    if (good)
        return g_strndup((const char *) from->data, from->len);
    g_autofree char *shown = gp_escape(from->len > 0 ? (const char *) from->data : "", (gssize) from->len, 64);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "ttrpc: \"%s\" is no name of a %s", shown, what);
    return NULL;
}

static GpTtrpcRequest *read_request(const Ttrpc__Request *message, gsize length, GError **error)
{
    if (protobuf_c_message_get_packed_size(&message->base) != length) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "ttrpc: a request that is not in its one plain encoding (a field twice, or a padded number)");
        return NULL;
    }
    g_autoptr(GpTtrpcRequest) request = g_new0(GpTtrpcRequest, 1);
    request->service = read_name(&message->service, "service", error);
    if (!request->service)
        return NULL;
    request->method = read_name(&message->method, "method", error);
    if (!request->method)
        return NULL;
    request->payload = secret_copy(&message->payload);
    request->timeout_nano = message->timeout_nano;
    return g_steal_pointer(&request);
}

GpTtrpcRequest *gp_ttrpc_request_decode(const GpTtrpcFrame *frame, GError **error)
{
    gsize left;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &left};
    ProtobufCMessage *message = unpack(&ttrpc__request__descriptor, &allocator, frame, error);
    if (!message)
        return NULL;
    GpTtrpcRequest *request = read_request((const Ttrpc__Request *) message, frame->size - GP_TTRPC_HEADER_SIZE, error);
    protobuf_c_message_free_unpacked(message, &allocator);
    return request;
}

void gp_ttrpc_request_free(GpTtrpcRequest *request)
{
    if (!request)
        return;
    g_free(request->service);
    g_free(request->method);
    if (request->payload)
        g_bytes_unref(request->payload);
    g_free(request);
}

/* protobuf-c only reads what it packs, but its struct has no const. */
static ProtobufCBinaryData binary(const void *data, gsize length)
{
    union {
        const void *given;
        uint8_t *wanted;
    } pointer = {data};
    return (ProtobufCBinaryData){length, pointer.wanted};
}

GpTtrpcFrame *gp_ttrpc_request_encode(guint32 stream_id, const char *service, const char *method, const void *payload,
    gsize length, gint64 timeout_nano, GError **error)
{
    Ttrpc__Request message = TTRPC__REQUEST__INIT;
    message.service = binary(service, strlen(service));
    message.method = binary(method, strlen(method));
    message.payload = binary(payload, length);
    message.timeout_nano = timeout_nano;
    return pack(stream_id, GP_TTRPC_REQUEST, &message.base, error);
}

/* ---- responses */

GpTtrpcFrame *gp_ttrpc_response_encode(guint32 stream_id, const void *payload, gsize length, GError **error)
{
    Ttrpc__Response message = TTRPC__RESPONSE__INIT;
    message.payload = binary(payload, length);
    return pack(stream_id, GP_TTRPC_RESPONSE, &message.base, error);
}

GpTtrpcFrame *gp_ttrpc_status_encode(guint32 stream_id, GpStatusCode code, const char *message)
{
    g_autofree char *text = g_utf8_make_valid(message, -1);
    gsize length = strlen(text);
    if (length > GP_LIMIT_TTRPC_STATUS)
        length = (gsize) (g_utf8_find_prev_char(text, text + GP_LIMIT_TTRPC_STATUS) - text);

    Ttrpc__Status status = TTRPC__STATUS__INIT;
    status.code = (int32_t) code;
    status.message = binary(text, length);
    Ttrpc__Response response = TTRPC__RESPONSE__INIT;
    response.status = &status;
    return pack(stream_id, GP_TTRPC_RESPONSE, &response.base, NULL);
}

static GpErrorCode code_of_status(int status)
{
    switch (status) {
    case GP_STATUS_NOT_FOUND:
        return GP_ERROR_NOT_FOUND;
    case GP_STATUS_PERMISSION_DENIED:
    case GP_STATUS_UNAUTHENTICATED:
        return GP_ERROR_AUTH;
    case GP_STATUS_RESOURCE_EXHAUSTED:
        return GP_ERROR_LIMIT;
    case GP_STATUS_INVALID_ARGUMENT:
    case GP_STATUS_UNIMPLEMENTED:
        return GP_ERROR_UNSUPPORTED;
    case GP_STATUS_DEADLINE_EXCEEDED:
    case GP_STATUS_UNAVAILABLE:
        return GP_ERROR_NETWORK;
    default:
        return GP_ERROR_INTERNAL;
    }
}

GBytes *gp_ttrpc_response_decode(const GpTtrpcFrame *frame, GError **error)
{
    gsize left;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &left};
    ProtobufCMessage *message = unpack(&ttrpc__response__descriptor, &allocator, frame, error);
    if (!message)
        return NULL;
    const Ttrpc__Response *response = (const Ttrpc__Response *) message;
    GBytes *payload = NULL;
    if (response->status && response->status->code != GP_STATUS_OK) {
        const ProtobufCBinaryData *said = &response->status->message;
        g_autofree char *text = gp_escape(said->len > 0 ? (const char *) said->data : "", (gssize) said->len, 1024);
        g_set_error(error, GP_ERROR, code_of_status(response->status->code), "status %d: %s",
            (int) response->status->code, text);
    } else {
        payload = secret_copy(&response->payload);
    }
    protobuf_c_message_free_unpacked(message, &allocator);
    return payload;
}
