/* Progress on standard error while a pull runs: a line per layer, redrawn on a terminal, plain lines otherwise. */
#pragma once

#include "puller/pull.h"

typedef struct _GpProgress GpProgress;

/* Starts a thread that looks at @pull ten times a second. It must be stopped before @pull is freed. */
GpProgress *gp_progress_start(GpPull *pull);
/* Draws the last state and ends the thread. */
void gp_progress_stop(GpProgress *progress);
