/* ttrpc, the protocol of kata-agent and the confidential-data-hub: a ten-byte header (u32 big-endian payload length,
 * u32 big-endian stream id, u8 type, u8 flags), then a protobuf message of base/ttrpc.proto. Unary calls only: that is
 * all the guest's services use. Payloads may be secrets (UnsealSecret, keys), so every buffer here is wiped when it is
 * freed. */
#pragma once

#include <glib.h>

#define GP_TTRPC_HEADER_SIZE 10

typedef enum {
    GP_TTRPC_REQUEST = 1,
    GP_TTRPC_RESPONSE = 2,
    GP_TTRPC_DATA = 3, /* streams; never accepted here */
} GpTtrpcType;

/* google.rpc.Code, the part that this program says or understands. */
typedef enum {
    GP_STATUS_OK = 0,
    GP_STATUS_CANCELLED = 1,
    GP_STATUS_INVALID_ARGUMENT = 3,
    GP_STATUS_DEADLINE_EXCEEDED = 4,
    GP_STATUS_NOT_FOUND = 5,
    GP_STATUS_ALREADY_EXISTS = 6,
    GP_STATUS_PERMISSION_DENIED = 7,
    GP_STATUS_RESOURCE_EXHAUSTED = 8,
    GP_STATUS_UNIMPLEMENTED = 12,
    GP_STATUS_INTERNAL = 13,
    GP_STATUS_UNAVAILABLE = 14,
    GP_STATUS_UNAUTHENTICATED = 16,
} GpStatusCode;

typedef struct {
    guint32 length; /* of the payload, without the header */
    guint32 stream_id;
    GpTtrpcType type;
} GpTtrpcHeader;

/* One whole frame, header and payload, as it goes over the wire. */
typedef struct {
    gsize size; /* GP_TTRPC_HEADER_SIZE and the payload */
    guint8 bytes[];
} GpTtrpcFrame;

/* Reads a header. Only the type @expected is accepted, only flags 0 and 1 ("no more data will follow", true of every
 * unary call), stream id not 0, length at most GP_LIMIT_TTRPC_PAYLOAD. Errors: INVALID, LIMIT. */
gboolean gp_ttrpc_header_decode(
    const guint8 bytes[GP_TTRPC_HEADER_SIZE], GpTtrpcType expected, GpTtrpcHeader *header, GError **error);

/* A frame with room for @length bytes of payload (uninitialized) and its header written. */
GpTtrpcFrame *gp_ttrpc_frame_new(guint32 stream_id, GpTtrpcType type, gsize length);
/* Wipes and frees. */
void gp_ttrpc_frame_free(GpTtrpcFrame *frame);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpTtrpcFrame, gp_ttrpc_frame_free)
guint32 gp_ttrpc_frame_stream_id(const GpTtrpcFrame *frame);

/* A decoded request. */
typedef struct {
    char *service; /* printable ASCII, no blanks */
    char *method;
    GBytes *payload;     /* wiped with its last reference */
    gint64 timeout_nano; /* as sent; 0 or less: the client sets no limit */
} GpTtrpcRequest;

/* Decodes a request's payload. Refused (INVALID): what is no protobuf, names that are no names, and encodings that two
 * readers may understand differently (a field twice, a number padded), because the other reader is the service that we
 * relay to; LIMIT: a message built to make the decoder allocate far beyond its length. */
GpTtrpcRequest *gp_ttrpc_request_decode(const GpTtrpcFrame *frame, GError **error);
void gp_ttrpc_request_free(GpTtrpcRequest *request);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpTtrpcRequest, gp_ttrpc_request_free)

/* A request frame. NULL only when it would be longer than GP_LIMIT_TTRPC_PAYLOAD. Errors: LIMIT. */
GpTtrpcFrame *gp_ttrpc_request_encode(guint32 stream_id, const char *service, const char *method, const void *payload,
    gsize length, gint64 timeout_nano, GError **error);

/* A response frame with @payload. Errors: LIMIT. */
GpTtrpcFrame *gp_ttrpc_response_encode(guint32 stream_id, const void *payload, gsize length, GError **error);
/* A response frame that says @code and @message (cut to GP_LIMIT_TTRPC_STATUS at a character's end). */
GpTtrpcFrame *gp_ttrpc_status_encode(guint32 stream_id, GpStatusCode code, const char *message);

/* The payload of an OK response. Errors: INVALID, LIMIT; and for another status NOT_FOUND (5), AUTH (7, 16), LIMIT (8),
 * UNSUPPORTED (3, 12), NETWORK (4, 14), INTERNAL (the rest), with the escaped text of the server. */
GBytes *gp_ttrpc_response_decode(const GpTtrpcFrame *frame, GError **error);

/* Calls @service/@method at the unix socket @path (a plain path or unix:PATH) over a connection of its own and returns
 * the response's payload. Blocks for at most @deadline_ms milliseconds in total; safe from any thread. The server must
 * run as root or as ourselves (SO_PEERCRED). Errors: NETWORK (nobody there, broken off, too late), LIMIT (the answer is
 * over @max_reply bytes), AUTH (the server is someone else), INVALID (not ttrpc), and what gp_ttrpc_response_decode()
 * says. */
GBytes *gp_ttrpc_call(const char *path, const char *service, const char *method, const void *payload, gsize length,
    guint deadline_ms, gsize max_reply, GError **error);

/* Bytes of @length that are wiped when the last reference goes; *@data is where to put them. */
GBytes *gp_ttrpc_secret_bytes(gsize length, guint8 **data);

/* Strips "unix://" or "unix:" from @address. The rest must be an absolute path that fits a sockaddr_un. Owned by the
 * caller. Errors: USAGE. */
char *gp_unix_path(const char *address, GError **error);
