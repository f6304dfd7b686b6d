#include "puller/fetch_reply.h"

#include <fcntl.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/cancel.h"
#include "puller/fetch_protocol.h"

void gp_fetch_reply_clear(GpFetchReply *reply)
{
    g_clear_pointer(&reply->content_type, g_free);
    g_clear_pointer(&reply->next, g_free);
}

void gp_fetch_set_worker_died(GError **error)
{
    if (gp_cancelled(error))
        return;
    g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX,
        "the fetch worker died\nIf this happens again with the same registry, its answers make the worker break: "
        "report it.");
}

/* The codes that a worker may report; the others are the puller's own to find. */
static GpErrorCode permitted_code(const char *name)
{
    GpErrorCode code;
    if (!gp_error_code_from_name(name, &code))
        return GP_ERROR_SANDBOX;
    if (code == GP_ERROR_NETWORK || code == GP_ERROR_AUTH || code == GP_ERROR_NOT_FOUND || code == GP_ERROR_LIMIT ||
        code == GP_ERROR_INVALID || code == GP_ERROR_UNSUPPORTED)
        return code;
    return GP_ERROR_SANDBOX;
}

static void set_reported(json_t *problem, GError **error)
{
    json_t *code, *message, *hint;
    const GpJsonField fields[] = {{"code", GP_JSON_STRING, GP_JSON_MANDATORY, &code},
        {"message", GP_JSON_STRING, GP_JSON_MANDATORY, &message}, {"hint", GP_JSON_STRING, GP_JSON_OPTIONAL, &hint},
        {NULL}};
    g_autoptr(GError) broken = NULL;
    if (!gp_json_fields(problem, "$.error", fields, TRUE, &broken)) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: %s", broken->message);
        return;
    }
    g_autofree char *text = gp_escape(json_string_value(message), -1, GP_FETCH_MESSAGE_MAX);
    g_autofree char *more = hint ? gp_escape(json_string_value(hint), -1, GP_FETCH_MESSAGE_MAX) : NULL;
    g_set_error(error, GP_ERROR, (gint) permitted_code(json_string_value(code)), "%s%s%s", text, more ? "\n" : "",
        more ? more : "");
}

static gboolean parse_reply(const guint8 *payload, gsize length, GpRequestLog *log, GpFetchReply *reply, GError **error)
{
    json_t *status, *bytes, *content_type, *next, *untold, *problem;
    const GpJsonField fields[] = {
        {"status", GP_JSON_INTEGER, GP_JSON_MANDATORY, &status},
        {"bytes", GP_JSON_INTEGER, GP_JSON_MANDATORY, &bytes},
        {"contentType", GP_JSON_STRING, GP_JSON_OPTIONAL, &content_type},
        {"next", GP_JSON_STRING, GP_JSON_OPTIONAL, &next},
        {"untold", GP_JSON_INTEGER, GP_JSON_OPTIONAL, &untold},
        {"error", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &problem},
        {NULL},
    };
    g_autoptr(GError) broken = NULL;
    g_autoptr(json_t) answer = gp_json_parse(payload, length, GP_LIMIT_FETCH_REPLY, "reply", &broken);
    if (!answer || !gp_json_fields(answer, "$", fields, TRUE, &broken) || json_integer_value(bytes) < 0 ||
        json_integer_value(untold) < 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: %s",
            broken ? broken->message : "negative count");
        return FALSE;
    }
    gp_request_log_leave_out(log, (guint64) json_integer_value(untold));
    if (problem) {
        set_reported(problem, error);
        return FALSE;
    }
    reply->bytes = (guint64) json_integer_value(bytes);
    reply->content_type = content_type ? g_strdup(json_string_value(content_type)) : NULL;
    reply->next = next ? g_strdup(json_string_value(next)) : NULL;
    return TRUE;
}

/* The frames before the reply, and its own payload. FALSE without @error: it did not come; half a frame and none are
 * the same. */
static gboolean read_to_reply(GpFrameReader *reader, GpRequestLog *log, const GpAsked *asked, const guint8 **payload,
    gsize *length, GError **error)
{
    for (guint told = 0;; told++) {
        guint32 type;
        if (!gp_frame_reader_next(reader, &type, payload, length, NULL) || type == 0)
            return FALSE;
        if (type == GP_FETCH_FRAME_REPLY)
            return TRUE;
        if (type != GP_FETCH_FRAME_EXCHANGE || told >= GP_LIMIT_EXCHANGES) {
            g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: frame type %u", type);
            return FALSE;
        }
        if (!gp_request_log_take(log, asked, *payload, *length, error))
            return FALSE;
    }
}

gboolean gp_fetch_reply_read(int fd, GpRequestLog *log, const GpAsked *asked, GpFetchReply *reply, GError **error)
{
    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(fd, GP_LIMIT_FETCH_REPLY);
    g_autoptr(GError) failure = NULL;
    const guint8 *payload;
    gsize length;
    if (read_to_reply(reader, log, asked, &payload, &length, &failure))
        return parse_reply(payload, length, log, reply, error);
    if (!failure)
        gp_fetch_set_worker_died(&failure);
    g_autofree char *why = NULL, *hint = NULL;
    gp_error_split(failure, &why, &hint);
    gp_request_log_unanswered(log, asked, why);
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

void gp_fetch_reply_give_up(int fd, GpRequestLog *log, const GpAsked *asked)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return;
    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(fd, GP_LIMIT_FETCH_REPLY);
    g_autoptr(GError) ignored = NULL;
    const guint8 *payload;
    gsize length;
    if (!read_to_reply(reader, log, asked, &payload, &length, &ignored))
        gp_request_log_unanswered(log, asked, gp_cancelled(NULL) ? "cancelled" : "given up");
}
