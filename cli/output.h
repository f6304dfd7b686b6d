/* What the program says: results on standard output, everything else on standard error. */
#pragma once

#include <glib.h>
#include <jansson.h>

/* To be called first. A standard descriptor that whoever started us has closed would go to the next file, pipe or
 * socket that is opened, and what is printed would go there too: it is opened so that using it fails. */
void gp_output_init(void);

/* Writes out what was printed. FALSE if any of it was lost. */
gboolean gp_output_flush(void);

/* Prints @value as one line of JSON; consumes it. */
void gp_print_json(json_t *value);

/* printf() to standard output. */
void gp_print(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* The id that the service gave this process in GUEST_PULL_REQUEST_ID: a plain word, or NULL. */
const char *gp_request_id(void);

/* Reports a failure: with @json {"error":{"code","message","retryable","detail"}} on standard output, for people
 * "guest-pull: message" and the hint on standard error, in the form that --log-format names. @extra (may be NULL,
 * consumed) is merged into the JSON object beside "error". Either way with the request's id, if there is one. Returns
 * the exit status. */
int gp_report_error(const GError *error, gboolean json, json_t *extra);

/* A line on standard error that is no failure. */
void gp_print_warning(const char *text);

/* "12.3 MB"; owned by the caller. */
char *gp_format_bytes(guint64 bytes);
