/* volume.eager: the encrypted volume is opened when the service starts, not by the first pull. The program that does it
 * is the puller's ("guest-pull volume open"); if it fails, the first pull tries again and says why. */
#pragma once

#include "service/run.h"

/* Starts it and returns; what comes of it is logged. Under a supervisor whose units pull for us (config->pull_socket)
 * it is a unit's job: guest-pull-volume.service. */
void gp_eager_open_volume(const GpRunConfig *config);
