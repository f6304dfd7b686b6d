#include "storage/worker_sandbox.h"

#include "base/limits.h"
#include "base/sandbox.h"

static const GpSandboxProfile profile = {
    .name = "guest-pull-unpack",
    /* libarchive with its libraries maps 100 MiB; a zstd window is 128 MiB and its context the same again. */
    .max_memory = 512 * GP_MIB,
    .max_files = 16,
};

gboolean gp_unpack_worker_confine(GError **error)
{
    return gp_sandbox_enter(&profile, error);
}
