/* One deadline and one "stop now" for the whole process: a signal or the clock sets it, everybody who works looks at
 * it. */
#pragma once

#include <glib.h>

/* Starts the guard: SIGINT, SIGTERM and SIGHUP, or @seconds (0: none), cancel. To be called once, before any thread is
 * started: it blocks these signals for the whole process and gives them to a thread of its own. */
void gp_cancel_guard(guint seconds);

/* TRUE once cancelled; then @error (unless NULL) says why: CANCELLED. */
gboolean gp_cancelled(GError **error);
