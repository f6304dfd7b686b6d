/* The volume as the configuration wants it, its key from the KBS. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "puller/options.h"
#include "puller/resource.h"

/* Opens options->volume on options->store; see gp_volume_open(). The key of a persistent volume is fetched from
 * @resources, unless the volume is open already. *@report (may be NULL) is a new reference. Errors: as gp_volume_open()
 * and gp_resource_fetch(). */
gboolean gp_puller_open_volume(
    const GpPullOptions *options, GpResources *resources, gboolean discard, json_t **report, GError **error);
