/* "guest-pulld --serve-pull": the other end of run_unit.c. systemd starts it for one connection, as standard input; it
 * runs one pull as its child, outside any mount namespace of the service's, and says how it ended. */
#pragma once

#include <glib.h>

#include "service/run.h"

/* Serves the one request on standard input. What may be pulled into is decided by @config alone, never by the request.
 * Returns when the pull has ended and has been answered or undone. @unsettled: why @config is not known, which is all
 * that the request is answered with; or NULL. Errors: USAGE (standard input is no such connection), INVALID (a request
 * that makes no sense), @unsettled; a pull that failed is no error. */
gboolean gp_serve_pull(const GpRunConfig *config, const GError *unsettled, GError **error);
