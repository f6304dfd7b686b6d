#include "base/log.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"

static const char *log_program = "guest-pull";
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

static gboolean find_format(const char *name, GpLogFormat *format, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(format_names); i++)
        if (g_str_equal(name, format_names[i])) {
            *format = (GpLogFormat) i;
            return TRUE;
        }
    g_autofree char *shown = gp_escape(name, -1, 40);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--log-format %s: not one of text, json, journald", shown);
    return FALSE;
}

/* What libraries say. */
static GLogWriterOutput on_glib(GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer user_data)
{
    const char *domain = NULL, *message = "";
    for (gsize i = 0; i < n_fields; i++) {
        if (g_str_equal(fields[i].key, "GLIB_DOMAIN"))
            domain = fields[i].value;
        else if (g_str_equal(fields[i].key, "MESSAGE"))
            message = fields[i].value;
    }
    if (!g_log_writer_default_would_drop(level, domain))
        gp_log(level & G_LOG_LEVEL_DEBUG ? G_LOG_LEVEL_INFO : level, NULL, "%s", message);
    return G_LOG_WRITER_HANDLED;
}

gboolean gp_log_open(const char *program, const char *format, gboolean verbose, GError **error)
{
    log_program = program;
    log_debug = verbose;
    if (format) {
        if (!find_format(format, &log_format, error))
            return FALSE;
    } else if (g_log_writer_is_journald(STDERR_FILENO)) {
        log_format = GP_LOG_JOURNALD;
    } else {
        log_format = isatty(STDERR_FILENO) ? GP_LOG_TEXT : GP_LOG_JSON;
    }
    if (log_format != GP_LOG_TEXT)
        g_log_set_writer_func(on_glib, NULL, NULL);
    return TRUE;
}

GpLogFormat gp_log_format(void)
{
    return log_format;
}

static void write_journald(GLogLevelFlags level, const char *priority, const char *request, const char *message)
{
    const GLogField fields[] = {{"MESSAGE", message, -1}, {"PRIORITY", priority, -1},
        {"SYSLOG_IDENTIFIER", log_program, -1}, {"GUEST_PULL_REQUEST_ID", request, -1}};
    gsize count = G_N_ELEMENTS(fields) - (request ? 0 : 1);
    (void) g_log_writer_journald(level, fields, count, NULL);
}

static char *json_line(const char *name, const char *request, const char *message)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ");
    g_autoptr(json_t) line = json_pack("{s:s, s:s, s:s, s:s, s:s*}", "time", time, "program", log_program, "level",
        name, "message", message, "request", request);
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
                                : g_strdup_printf("%s: %s: %s%s%s%s\n", log_program, name, request ? "[" : "",
                                      request ? request : "", request ? "] " : "", message);
    (void) gp_write_all(STDERR_FILENO, line, strlen(line), NULL); /* a log that cannot be written stops nothing */
}
