#include "service/unit_protocol.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"

json_t *gp_unit_receive(int fd, gboolean *end, GError **error)
{
    *end = FALSE;
    char nothing;
    ssize_t size = recv(fd, &nothing, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return NULL;
    if (size == 0 || (size < 0 && errno == ECONNRESET)) {
        *end = TRUE;
        return NULL;
    }
    if (size < 0) {
        gp_set_errno(error, errno, "reading a message");
        return NULL;
    }
    if ((gsize) size > GP_UNIT_MESSAGE) {
        (void) recv(fd, &nothing, 0, MSG_DONTWAIT); /* unread, it would turn our answer into a reset */
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "a message of %zd bytes", size);
        return NULL;
    }
    g_autofree char *text = g_malloc((gsize) size);
    ssize_t got = recv(fd, text, (gsize) size, MSG_DONTWAIT);
    if (got != size) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "reading a message: %s", got < 0 ? g_strerror(errno) : "short");
        return NULL;
    }
    g_autoptr(json_t) message = gp_json_parse(text, (gsize) size, GP_UNIT_MESSAGE, "a message", error);
    if (message && !json_is_object(message)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "a message that is no object");
        return NULL;
    }
    return g_steal_pointer(&message);
}

gboolean gp_unit_send(int fd, json_t *message, int wait_ms, GError **error)
{
    g_autoptr(json_t) owned = message;
    g_autofree char *text = gp_json_to_text(owned, FALSE);
    gint64 end = g_get_monotonic_time() + (gint64) wait_ms * 1000;
    for (;;) {
        if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return TRUE;
        int err = errno;
        gint64 left = (end - g_get_monotonic_time()) / 1000;
        if (err == EINTR)
            continue;
        if (err != EAGAIN || left <= 0) {
            gp_set_errno(error, err, "sending a message");
            return FALSE;
        }
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        (void) poll(&room, 1, (int) left);
    }
}

json_t *gp_unit_error(const GError *why)
{
    g_autofree char *valid = g_utf8_make_valid(why->message, -1);
    return json_pack(
        "{s:{s:s, s:s}}", "error", "code", gp_error_info((int) gp_error_code(why))->name, "message", valid);
}

GError *gp_unit_read_error(json_t *failure)
{
    json_t *name, *message;
    const GpJsonField fields[] = {{"code", GP_JSON_STRING, GP_JSON_MANDATORY, &name},
        {"message", GP_JSON_STRING, GP_JSON_MANDATORY, &message}, {0}};
    GpErrorCode code = GP_ERROR_INTERNAL;
    g_autoptr(GError) error = NULL;
    if (!gp_json_fields(failure, "$.error", fields, TRUE, &error))
        return g_steal_pointer(&error);
    (void) gp_error_code_from_name(json_string_value(name), &code);
    return g_error_new_literal(GP_ERROR, (int) code, json_string_value(message));
}
