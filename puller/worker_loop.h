/* The fetch worker's single loop: the control socket, all transfers, all pipes. */
#pragma once

#include "puller/worker_job.h"

/* Takes requests from @control until the puller closes it. Returns when that has happened. */
void gp_worker_loop(GpWorkerContext *context, int control);
