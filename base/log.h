/* The log of a program: one line an event, structured, with the id of the request that it belongs to. Payloads of
 * requests are never given to it. */
#pragma once

#include <glib.h>

typedef enum {
    GP_LOG_TEXT,
    GP_LOG_JSON,     /* a JSON object a line on standard error */
    GP_LOG_JOURNALD, /* fields MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, GUEST_PULL_REQUEST_ID */
} GpLogFormat;

/* @program (borrowed for ever): what its lines begin with. @format: "text", "json", "journald", or NULL: journald where
 * standard error is the journal, text on a terminal, JSON elsewhere. What GLib logs takes the same way unless it is
 * text. To be called once. Errors: USAGE. */
gboolean gp_log_open(const char *program, const char *format, gboolean verbose, GError **error);
GpLogFormat gp_log_format(void); /* GP_LOG_TEXT until then */

/* @request: an id, or NULL. @level: G_LOG_LEVEL_DEBUG (only when verbose), INFO, WARNING or CRITICAL. Text from outside
 * is escaped by the caller. */
void gp_log(GLogLevelFlags level, const char *request, const char *format, ...) G_GNUC_PRINTF(3, 4);
