#include "puller/guest_services.h"

#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/ttrpc.h"
#include "puller/guest_services.pb-c.h"

#define DOMAIN "github.com/confidential-containers"
#define EXTEND_REPLY 64

static ProtobufCBinaryData binary(const void *data, gsize length)
{
    union {
        const void *given;
        uint8_t *wanted;
    } pointer = {data};
    return (ProtobufCBinaryData){length, pointer.wanted};
}

static ProtobufCBinaryData text(const char *string)
{
    return binary(string, strlen(string));
}

/* protobuf-c's copies may be keys: wiped before they are freed. */
static GBytes *take_secret(ProtobufCBinaryData *from)
{
    guint8 *data;
    GBytes *bytes = gp_ttrpc_secret_bytes(from->len, &data);
    if (from->len > 0) {
        memcpy(data, from->data, from->len);
        explicit_bzero(from->data, from->len);
    }
    return bytes;
}

static GBytes *pack(const ProtobufCMessage *message)
{
    guint8 *data;
    GBytes *bytes = gp_ttrpc_secret_bytes(protobuf_c_message_get_packed_size(message), &data);
    protobuf_c_message_pack(message, data);
    return bytes;
}

static GBytes *call(const char *socket, const char *service, const char *method, const ProtobufCMessage *request,
    guint deadline_ms, gsize max, GError **error)
{
    g_autoptr(GBytes) packed = pack(request);
    gsize length;
    const void *data = g_bytes_get_data(packed, &length);
    return gp_ttrpc_call(socket, service, method, data, length, deadline_ms, max, error);
}

/* A failure to get a key or a document is KEY, whatever way it failed; only our own ceiling stays LIMIT. */
static void wrap(GError **error, GError *cause, const char *what)
{
    GpErrorCode code = g_error_matches(cause, GP_ERROR, GP_ERROR_LIMIT) ? GP_ERROR_LIMIT : GP_ERROR_KEY;
    g_set_error(error, GP_ERROR, (int) code, "%s: %s", what, cause->message);
}

/* kbs[+plugin]://[host]/segment[/…][?query]. What it means is the KBS's; that it is one line of plain characters is
 * ours. */
static gboolean check_uri(const char *uri, GError **error)
{
    const char *rest = g_str_has_prefix(uri, "kbs://") || g_str_has_prefix(uri, "kbs+") ? strstr(uri, "://") : NULL;
    const char *path = rest ? strchr(rest + strlen("://"), '/') : NULL;
    gboolean good = path && path[1] && strlen(uri) <= GP_LIMIT_REFERENCE;
    for (const char *at = uri; good && *at; at++)
        good = g_ascii_isgraph(*at);
    if (good)
        return TRUE;
    g_autofree char *shown = gp_escape(uri, -1, 256);
    g_set_error(
        error, GP_ERROR, GP_ERROR_USAGE, "%s: not the URI of a KBS resource\nWrite kbs:///repository/type/tag.", shown);
    return FALSE;
}

GBytes *gp_guest_get_resource(const char *socket, const char *uri, guint deadline_ms, gsize max, GError **error)
{
    if (!check_uri(uri, error))
        return NULL;
    Guest__GetResourceRequest request = GUEST__GET_RESOURCE_REQUEST__INIT;
    request.resource_path = text(uri);
    g_autoptr(GError) cause = NULL;
    /* The field's own tag and length come on top of the resource. */
    g_autoptr(GBytes) reply =
        call(socket, "api.GetResourceService", "GetResource", &request.base, deadline_ms, max + 16, &cause);
    if (!reply) {
        wrap(error, cause, uri);
        return NULL;
    }
    Guest__GetResourceResponse *response =
        guest__get_resource_response__unpack(NULL, g_bytes_get_size(reply), g_bytes_get_data(reply, NULL));
    if (!response) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: an answer that is no resource", uri);
        return NULL;
    }
    g_autoptr(GBytes) resource = take_secret(&response->resource);
    guest__get_resource_response__free_unpacked(response, NULL);
    if (g_bytes_get_size(resource) <= max)
        return g_steal_pointer(&resource);
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
        "%s: %" G_GSIZE_FORMAT " bytes, at most %" G_GSIZE_FORMAT " are allowed", uri, g_bytes_get_size(resource), max);
    return NULL;
}

GBytes *gp_guest_unwrap_key(const char *socket, GBytes *input, guint deadline_ms, gsize max, GError **error)
{
    Guest__KeyProviderInput request = GUEST__KEY_PROVIDER_INPUT__INIT;
    gsize length;
    const void *data = g_bytes_get_data(input, &length);
    request.protocol_input = binary(data, length);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) reply =
        call(socket, "keyprovider.KeyProviderService", "UnWrapKey", &request.base, deadline_ms, max + 16, &cause);
    if (!reply) {
        wrap(error, cause, "unwrapping a layer's key");
        return NULL;
    }
    Guest__KeyProviderOutput *response =
        guest__key_provider_output__unpack(NULL, g_bytes_get_size(reply), g_bytes_get_data(reply, NULL));
    if (!response) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "unwrapping a layer's key: an answer that is none");
        return NULL;
    }
    GBytes *output = take_secret(&response->protocol_output);
    guest__key_provider_output__free_unpacked(response, NULL);
    return output;
}

gboolean gp_guest_extend_measurement(const char *socket, const char *operation, const char *content, guint deadline_ms,
    GpExtendResult *result, GError **error)
{
    if (strpbrk(content, "\r\n") || !g_utf8_validate(content, -1, NULL)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "a measured event is one line of UTF-8");
        return FALSE;
    }
    Guest__ExtendRuntimeMeasurementRequest request = GUEST__EXTEND_RUNTIME_MEASUREMENT_REQUEST__INIT;
    request.domain = text(DOMAIN);
    request.operation = text(operation);
    request.content = text(content);
    g_autoptr(GBytes) reply = call(socket, "attestation_agent.AttestationAgentService", "ExtendRuntimeMeasurement",
        &request.base, deadline_ms, EXTEND_REPLY, error);
    if (!reply)
        return FALSE;
    Guest__ExtendRuntimeMeasurementResponse *response = guest__extend_runtime_measurement_response__unpack(
        NULL, g_bytes_get_size(reply), g_bytes_get_data(reply, NULL));
    gint64 said = response ? response->result : -1;
    if (response)
        guest__extend_runtime_measurement_response__free_unpacked(response, NULL);
    if (said < GP_EXTEND_OK || said > GP_EXTEND_NOT_ENABLED) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "the attestation agent's answer is none of OK, NOT_SUPPORTED, NOT_ENABLED");
        return FALSE;
    }
    *result = (GpExtendResult) said;
    return TRUE;
}
