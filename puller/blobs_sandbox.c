#include "puller/blobs_sandbox.h"

#include "base/limits.h"
#include "base/sandbox.h"

/* The one file that it reads is open by then: it opens no other, also none of the directory's. */
static const GpSandboxProfile profile = {
    .name = "guest-pull-blobs",
    .max_memory = 64 * GP_MIB,
    .max_files = 16,
};

gboolean gp_blobs_worker_confine(GError **error)
{
    return gp_sandbox_enter(&profile, error);
}
