/* The volume as the configuration wants it, its key from the KBS. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "puller/options.h"
#include "puller/resource.h"

/* What must hold before the first byte is written: the configured volume is open, and, unless options say that an
 * unencrypted store will do, the runtime directory is in memory and nothing is swapped in the clear. (That the store
 * lies on dm-crypt is gp_store_open()'s to see.) Errors: as gp_puller_open_volume(), UNSUPPORTED. */
gboolean gp_puller_prepare_storage(const GpPullOptions *options, GpResources *resources, GError **error);

/* After an error of the disk: forgets which layers were verified in this boot, so that the next pull looks at each of
 * its layers anew and replaces what is damaged. */
void gp_puller_distrust_store(const GpPullOptions *options);

/* Opens options->volume on options->store; see gp_volume_open(). The key of a persistent volume is fetched from
 * @resources, unless the volume is open already. *@report (may be NULL) is a new reference. Errors: as gp_volume_open()
 * and gp_resource_fetch(). */
gboolean gp_puller_open_volume(
    const GpPullOptions *options, GpResources *resources, gboolean discard, json_t **report, GError **error);
