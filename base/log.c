#include "service/log.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"

#define IDENTIFIER "guest-pulld"

static GpLogFormat log_format = GP_LOG_TEXT;
static gboolean log_debug;

static const char *const format_names[] = {
    [GP_LOG_TEXT] = "text", [GP_LOG_JSON] = "json", [GP_LOG_JOURNALD] = "journald"};

/* Name and syslog priority of a level. */
static const char *level_name(GLogLevelFlags level, const char **priority)
{
    if (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR)) {
        *priority = "3";
        return "error";
    }
    if (level & G_LOG_LEVEL_WARNING) {
        *priority = "4";
        return "warning";
    }
    *priority = level & G_LOG_LEVEL_DEBUG ? "7" : "6";
    return level & G_LOG_LEVEL_DEBUG ? "debug" : "info";
}

gboolean gp_log_open(const char *format, gboolean verbose, GError **error)
{
    log_debug = verbose;
    if (!format) {
        if (g_log_writer_is_journald(STDERR_FILENO))
            log_format = GP_LOG_JOURNALD;
        else
            log_format = isatty(STDERR_FILENO) ? GP_LOG_TEXT : GP_LOG_JSON;
        return TRUE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(format_names); i++)
        if (g_str_equal(format, format_names[i])) {
            log_format = (GpLogFormat) i;
            return TRUE;
        }
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--log-format %s: not one of text, json, journald", format);
    return FALSE;
}

static void write_journald(GLogLevelFlags level, const char *priority, const char *request, const char *message)
{
    const GLogField fields[] = {{"MESSAGE", message, -1}, {"PRIORITY", priority, -1},
        {"SYSLOG_IDENTIFIER", IDENTIFIER, -1}, {"GUEST_PULL_REQUEST_ID", request, -1}};
    gsize count = G_N_ELEMENTS(fields) - (request ? 0 : 1);
    (void) g_log_writer_journald(level, fields, count, NULL);
}

static char *json_line(const char *name, const char *request, const char *message)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ");
    g_autoptr(json_t) line = json_pack("{s:s, s:s, s:s, s:s, s:s*}", "time", time, "program", IDENTIFIER, "level", name,
        "message", message, "request", request);
    g_autofree char *text = line ? gp_json_to_text(line, FALSE) : NULL;
    return g_strconcat(text ? text : "{}", "\n", NULL);
}

void gp_log(GLogLevelFlags level, const char *request, const char *format, ...)
{
    if ((level & G_LOG_LEVEL_DEBUG) && !log_debug)
        return;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    const char *priority;
    const char *name = level_name(level, &priority);

    if (log_format == GP_LOG_JOURNALD) {
        write_journald(level, priority, request, message);
        return;
    }
    g_autofree char *line = log_format == GP_LOG_JSON
                                ? json_line(name, request, message)
                                : g_strdup_printf(IDENTIFIER ": %s: %s%s%s%s\n", name, request ? "[" : "",
                                      request ? request : "", request ? "] " : "", message);
    (void) gp_write_all(STDERR_FILENO, line, strlen(line), NULL); /* a log that cannot be written stops nothing */
}
