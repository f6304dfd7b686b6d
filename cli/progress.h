/* Progress while a pull runs: on standard error a line per layer, redrawn on a terminal, plain lines otherwise; and to
 * the service, which names a descriptor in GUEST_PULL_PROGRESS_FD, one line of JSON for each change, at most five a
 * second: {"state":"layers","layers":[{"digest":"0123456789ab","state":"pulling","size":N,"fetched":N}]}. */
#pragma once

#include "puller/pull.h"

typedef struct _GpProgress GpProgress;

/* Starts a thread that looks at @pull ten times a second; NULL when @quiet (nothing on standard error) and no service
 * wants to know. It must be stopped before @pull is freed. */
GpProgress *gp_progress_start(GpPull *pull, gboolean quiet);
/* Draws the last state and ends the thread. */
void gp_progress_stop(GpProgress *progress);
