/* [guest_pull.limits]: ceilings of layers and images, lower than those of base/limits.h. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "storage/layer_limits.h"

/* Sets @limits to the members of @section, whole numbers or texts like "512M"; what it does not name gets its ceiling.
 * @place names it in errors. Errors: USAGE (unknown name, no number, 0, above the ceiling). */
gboolean gp_limits_set(GpLayerLimits *limits, json_t *section, const char *place, GError **error);

/* All of them, {"layer_bytes":…}. New reference. */
json_t *gp_limits_describe(const GpLayerLimits *limits);
