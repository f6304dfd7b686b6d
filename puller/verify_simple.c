/* signedBy: GPG signatures in the form of simple signing. */
#include "puller/verify_evaluator.h"
#include "sigstore/simple_signing.h"

static gboolean reads(const GpRequirement *requirement, const GpFoundSignature *found)
{
    return found->type == GP_FOUND_SIMPLE;
}

static gpointer prepare(const GpRequirement *requirement, GpPolicySources *sources, GError **error)
{
    GPtrArray *keyrings = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    for (guint i = 0; i < requirement->keys->len; i++)
        g_ptr_array_add(keyrings, g_bytes_ref(gp_policy_source_bytes(sources, requirement->keys->pdata[i])));
    return keyrings;
}

static void release(gpointer material)
{
    g_ptr_array_unref(material);
}

static GpSignatureFacts *verify(
    const GpRequirement *requirement, gpointer material, const GpCandidate *candidate, GError **error)
{
    return gp_simple_signing_verify(candidate->found->blob, material, error);
}

const GpEvaluator gp_evaluator_simple = {.what = "simple-signing signature",
    .attached = FALSE,
    .reads = reads,
    .prepare = prepare,
    .release = release,
    .verify = verify};
