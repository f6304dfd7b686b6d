#include "puller/worker_reply.h"

#include <jansson.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/json.h"
#include "puller/fetch_protocol.h"

static json_t *as_string(const char *text)
{
    g_autofree char *cut = g_strndup(text, GP_FETCH_MESSAGE_MAX);
    g_autofree char *valid = g_utf8_make_valid(cut, -1);
    return json_string(valid);
}

static json_t *as_object(const GError *error)
{
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(error, &message, &hint);
    json_t *object = json_object();
    json_object_set_new(object, "code", json_string(gp_error_info((int) gp_error_code(error))->name));
    json_object_set_new(object, "message", as_string(message));
    if (hint)
        json_object_set_new(object, "hint", as_string(hint));
    return object;
}

void gp_reply_write(
    int fd, int status, guint64 bytes, const char *content_type, const char *next, guint untold, const GError *error)
{
    g_autoptr(json_t) reply = json_object();
    json_object_set_new(reply, "status", json_integer(status));
    json_object_set_new(reply, "bytes", json_integer((json_int_t) bytes));
    if (content_type)
        json_object_set_new(reply, "contentType", as_string(content_type));
    if (next)
        json_object_set_new(reply, "next", as_string(next));
    if (untold)
        json_object_set_new(reply, "untold", json_integer(untold));
    if (error)
        json_object_set_new(reply, "error", as_object(error));
    g_autofree char *text = gp_json_to_text(reply, FALSE);
    if (text)
        (void) gp_frame_write(fd, GP_FETCH_FRAME_REPLY, text, strlen(text), NULL);
}
