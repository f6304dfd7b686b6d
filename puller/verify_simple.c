/* signedBy: GPG signatures in the form of simple signing. */
#include "puller/verify_evaluator.h"
#include "sigstore/simple_signing.h"

static gboolean reads(const GpRequirement *requirement, const GpFoundSignature *found)
{
    return found->type == GP_FOUND_SIMPLE;
}

/* Keys that cannot be used matter only if there is a signature to verify with them. */
typedef struct {
    GpGpgHome *home; /* NULL: see error */
    GError *error;
} Keys;

static gpointer prepare(const GpRequirement *requirement, GpPolicySources *sources, GError **error)
{
    g_autoptr(GPtrArray) keyrings = g_ptr_array_new();
    for (guint i = 0; i < requirement->keys->len; i++)
        g_ptr_array_add(keyrings, gp_policy_source_bytes(sources, requirement->keys->pdata[i]));
    Keys *keys = g_new0(Keys, 1);
    keys->home = gp_simple_signing_import(keyrings, &keys->error);
    return keys;
}

static void release(gpointer material)
{
    Keys *keys = material;
    gp_gpg_home_free(keys->home);
    g_clear_error(&keys->error);
    g_free(keys);
}

static GpSignatureFacts *verify(
    const GpRequirement *requirement, gpointer material, const GpCandidate *candidate, GError **error)
{
    const Keys *keys = material;
    if (keys->home)
        return gp_simple_signing_verify(candidate->found->blob, keys->home, error);
    g_propagate_error(error, g_error_copy(keys->error));
    return NULL;
}

const GpEvaluator gp_evaluator_simple = {.what = "simple-signing signature",
    .attached = FALSE,
    .reads = reads,
    .prepare = prepare,
    .release = release,
    .verify = verify};
