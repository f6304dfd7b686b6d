#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"

#define MAX_REQUEST_ID 64

void gp_output_init(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* open(2) takes the lowest free number: this one. */
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(gp_error_info(GP_ERROR_INTERNAL)->exit_status);
    }
}

gboolean gp_output_flush(void)
{
    return fflush(stdout) == 0 && !ferror(stdout);
}

void gp_print_json(json_t *value)
{
    g_autofree char *text = gp_json_to_text(value, FALSE);
    json_decref(value);
    (void) printf("%s\n", text);
}

void gp_print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    (void) fputs(text, stdout);
}

const char *gp_request_id(void)
{
    const char *id = g_getenv("GUEST_PULL_REQUEST_ID");
    gsize length = id ? strlen(id) : 0;
    for (const char *p = id; p && *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr("-._", *p))
            return NULL;
    return length > 0 && length <= MAX_REQUEST_ID ? id : NULL;
}

void gp_print_warning(const char *text)
{
    if (gp_log_format() != GP_LOG_TEXT)
        gp_log(G_LOG_LEVEL_WARNING, gp_request_id(), "%s", text);
    else
        (void) fprintf(stderr, "guest-pull: warning: %s\n", text);
}

int gp_report_error(const GError *error, gboolean json, json_t *extra)
{
    const GpErrorInfo *info = gp_error_info((int) gp_error_code(error));
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(error, &message, &hint);
    const char *request = gp_request_id();
    if (json) {
        /* A message may quote what is not UTF-8 in spite of every gp_escape(); JSON must not break on it. */
        g_autofree char *valid = g_utf8_make_valid(message, -1);
        g_autofree char *detail = hint ? g_utf8_make_valid(hint, -1) : NULL;
        json_t *report = extra ? extra : json_object();
        json_object_set_new(report, "error",
            json_pack("{s:s, s:s, s:b, s:s?}", "code", info->name, "message", valid, "retryable", info->retryable,
                "detail", detail));
        if (request)
            json_object_set_new(report, "requestId", json_string(request));
        gp_print_json(report);
    } else if (gp_log_format() != GP_LOG_TEXT) {
        json_decref(extra);
        gp_log(G_LOG_LEVEL_CRITICAL, request, "%s%s%s", message, hint ? "; " : "", hint ? hint : "");
    } else {
        json_decref(extra);
        (void) fprintf(
            stderr, "guest-pull: %s%s%s%s\n", request ? "[" : "", request ? request : "", request ? "] " : "", message);
        if (hint)
            (void) fprintf(stderr, "  %s\n", hint);
    }
    return info->exit_status;
}

char *gp_format_bytes(guint64 bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double) bytes;
    guint unit = 0;
    while (value >= 1000 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1000;
        unit++;
    }
    return g_strdup_printf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}
