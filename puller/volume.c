#include "puller/volume.h"

#include "base/limits.h"

gboolean gp_puller_open_volume(
    const GpPullOptions *options, GpResources *resources, gboolean discard, json_t **report, GError **error)
{
    g_autoptr(GBytes) key = NULL;
    const char *location = options->volume.key;
    if (location && !(key = gp_resource_fetch(resources, location, GP_LIMIT_VOLUME_KEY, "volume key", error)))
        return FALSE;
    return gp_volume_open(&options->volume, options->store, options->runtime_dir, key, discard, report, error);
}
