/* What the program says: results on standard output, everything else on standard error. */
#pragma once

#include <glib.h>
#include <jansson.h>

/* Prints @value as one line of JSON; consumes it. */
void gp_print_json(json_t *value);

/* printf() to standard output. */
void gp_print(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Reports a failure: with @json {"error":{"code","message","retryable","detail"}} on standard output, for people
 * "guest-pull: message" and the hint on standard error. @extra (may be NULL, consumed) is merged into the JSON object
 * beside "error". Returns the exit status. */
int gp_report_error(const GError *error, gboolean json, json_t *extra);

/* "12.3 MB"; owned by the caller. */
char *gp_format_bytes(guint64 bytes);
