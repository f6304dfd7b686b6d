/* sigstoreSigned: cosign's signatures by keys that the policy names. */
#include "base/error.h"
#include "puller/verify_evaluator.h"
#include "sigstore/cosign.h"

static gboolean reads(const GpRequirement *requirement, const GpFoundSignature *found)
{
    return found->type == GP_FOUND_COSIGN;
}

static gpointer prepare(const GpRequirement *requirement, GpPolicySources *sources, GError **error)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_public_key_free);
    for (guint i = 0; i < requirement->keys->len; i++) {
        const GpKeySource *source = requirement->keys->pdata[i];
        GpPublicKey *key = gp_public_key_parse(
            gp_policy_source_bytes(sources, source), source->location ? source->location : "keyData", error);
        if (!key) {
            g_prefix_error(error, "%s: ", requirement->path);
            return NULL;
        }
        g_ptr_array_add(keys, key);
    }
    return g_steal_pointer(&keys);
}

static void release(gpointer material)
{
    g_ptr_array_unref(material);
}

static GpSignatureFacts *verify(
    const GpRequirement *requirement, gpointer material, const GpCandidate *candidate, GError **error)
{
    const GpFoundSignature *found = candidate->found;
    const json_t *signature = json_object_get(found->annotations, GP_COSIGN_SIGNATURE_ANNOTATION);
    if (g_strcmp0(found->media_type, GP_COSIGN_PAYLOAD_TYPE) != 0 || !json_is_string(signature)) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "signature-format: no cosign signature");
        return NULL;
    }
    return gp_cosign_verify(found->blob, json_string_value(signature), material, error);
}

const GpEvaluator gp_evaluator_sigstore = {.what = "cosign signature",
    .attached = TRUE,
    .reads = reads,
    .prepare = prepare,
    .release = release,
    .verify = verify};
