#include "puller/volume.h"

#include <fcntl.h>

#include "base/io.h"
#include "base/limits.h"
#include "storage/in_memory.h"

gboolean gp_puller_open_volume(
    const GpPullOptions *options, GpResources *resources, gboolean discard, json_t **report, GError **error)
{
    g_autoptr(GBytes) key = NULL;
    const char *location = options->volume.key;
    if (location && !(key = gp_resource_fetch(resources, location, GP_LIMIT_VOLUME_KEY, "volume key", error)))
        return FALSE;
    return gp_volume_open(&options->volume, options->store, options->runtime_dir, key, discard, report, error);
}

gboolean gp_puller_prepare_storage(const GpPullOptions *options, GpResources *resources, GError **error)
{
    if (options->volume.device && !gp_puller_open_volume(options, resources, FALSE, NULL, error))
        return FALSE;
    return options->allow_unencrypted_store ||
           (gp_mkdir_p(options->runtime_dir, 0700, error) &&
               gp_in_memory_check(options->runtime_dir, "the runtime directory", error) &&
               gp_in_memory_check_swap("/proc/swaps", "/sys", error));
}

void gp_puller_distrust_store(const GpPullOptions *options)
{
    g_autofree char *verified = g_build_filename(options->runtime_dir, "verified", NULL);
    (void) gp_remove_tree(AT_FDCWD, verified, NULL);
}
