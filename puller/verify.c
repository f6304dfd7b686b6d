#include "puller/verify.h"

#include "base/error.h"
#include "base/limits.h"
#include "puller/resource.h"
#include "sigstore/cosign.h"
#include "sigstore/simple_signing.h"

/* What has been fetched or parsed once and serves several requirements. */
typedef struct {
    const GpVerifyRequest *request;
    GPtrArray *simple; /* Candidate*; NULL: not asked yet */
    GPtrArray *cosign;
    GHashTable *keys; /* location (of the policy) → GBytes: the scope's keys that are not inline */
} Evaluation;

/* A signature and the digest under which it was found. */
typedef struct {
    GpFoundSignature *found;
    GpDigest digest;
} Candidate;

static void candidate_free(gpointer data)
{
    Candidate *candidate = data;
    gp_found_signature_free(candidate->found);
    g_free(candidate);
}

gboolean gp_verify_rejects_outright(GPtrArray *requirements)
{
    for (guint i = 0; i < requirements->len; i++)
        if (((GpRequirement *) requirements->pdata[i])->type == GP_REQUIREMENT_REJECT)
            return TRUE;
    return FALSE;
}

static GPtrArray *find_signatures(
    const GpVerifyRequest *request, gboolean cosign, const GpDigest *digest, GError **error)
{
    if (!cosign) {
        g_autofree char *base = request->identity ? gp_lookaside_base(request->lookaside, request->identity) : NULL;
        return gp_source_simple_signatures(request->source, request->identity, base, digest, error);
    }
    /* Unlike the reference, attachments are asked for unless configuration says no: guests seldom have a registries.d.
     */
    if (request->identity && !gp_lookaside_use_attachments(request->lookaside, request->identity, TRUE))
        return g_ptr_array_new();
    return gp_source_cosign_signatures(request->source, digest, error);
}

/* Signatures of the manifest first, then of the index that it was chosen from. */
static GPtrArray *gather(const GpVerifyRequest *request, gboolean cosign, GError **error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(candidate_free);
    const GpDigest *digests[2] = {&request->subject->manifest, &request->subject->index};
    for (int i = 0; i < (request->subject->has_index ? 2 : 1); i++) {
        g_autoptr(GPtrArray) found = find_signatures(request, cosign, digests[i], error);
        if (!found) {
            g_prefix_error(error, "looking for signatures: ");
            return NULL;
        }
        while (found->len > 0) {
            Candidate *candidate = g_new0(Candidate, 1);
            candidate->digest = *digests[i];
            candidate->found = g_ptr_array_steal_index(found, 0);
            g_ptr_array_add(all, candidate);
        }
    }
    if (all->len > GP_LIMIT_TAG_SIGNATURES) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%u signatures, at most %d are looked at", all->len,
            GP_LIMIT_TAG_SIGNATURES);
        return NULL;
    }
    return g_steal_pointer(&all);
}

/* One key by location, and the requirement that is the first to name it. */
typedef struct {
    const char *location, *place;
} KeyName;

static GArray *name_keys(GPtrArray *requirements)
{
    GArray *names = g_array_new(FALSE, FALSE, sizeof(KeyName));
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < requirements->len; i++) {
        const GpRequirement *requirement = requirements->pdata[i];
        for (guint k = 0; k < requirement->keys->len; k++) {
            KeyName name = {((GpKeySource *) requirement->keys->pdata[k])->location, requirement->path};
            if (name.location && g_hash_table_add(seen, (gpointer) (guintptr) name.location))
                g_array_append_val(names, name);
        }
    }
    return names;
}

/* All keys of the scope at the same time: each may be a question to a remote KBS. */
static gboolean fetch_keys(Evaluation *evaluation, GError **error)
{
    g_autoptr(GArray) names = name_keys(evaluation->request->requirements);
    g_autofree GpResourceRequest *wanted = g_new0(GpResourceRequest, names->len);
    for (guint i = 0; i < names->len; i++)
        wanted[i] = (GpResourceRequest){
            .location = g_array_index(names, KeyName, i).location, .max = GP_LIMIT_KEY, .what = "key"};
    gp_resources_fetch(evaluation->request->resources, wanted, names->len);
    gboolean ok = TRUE;
    for (guint i = 0; i < names->len; i++) {
        GpResourceRequest *got = &wanted[i];
        const char *place = g_array_index(names, KeyName, i).place;
        if (got->bytes)
            g_hash_table_insert(evaluation->keys, (gpointer) (guintptr) got->location, g_steal_pointer(&got->bytes));
        else if (ok)
            g_propagate_prefixed_error(error, g_steal_pointer(&got->error), "%s: ", place);
        ok = ok && g_hash_table_contains(evaluation->keys, got->location);
        gp_resource_request_clear(got);
    }
    return ok;
}

static GBytes *find_key(const Evaluation *evaluation, const GpKeySource *source)
{
    return source->data ? source->data : g_hash_table_lookup(evaluation->keys, source->location);
}

/* The requirement's keys as the verifier of its kind wants them: GBytes* or GpPublicKey*. */
static GPtrArray *load_keys(const Evaluation *evaluation, const GpRequirement *requirement, GError **error)
{
    gboolean cosign = requirement->type == GP_REQUIREMENT_SIGSTORE_SIGNED;
    g_autoptr(GPtrArray) keys =
        g_ptr_array_new_with_free_func(cosign ? (GDestroyNotify) gp_public_key_free : (GDestroyNotify) g_bytes_unref);
    for (guint i = 0; i < requirement->keys->len; i++) {
        const GpKeySource *source = requirement->keys->pdata[i];
        GBytes *bytes = find_key(evaluation, source);
        gpointer key =
            cosign ? (gpointer) gp_public_key_parse(bytes, source->location ? source->location : "keyData", error)
                   : g_bytes_ref(bytes);
        if (!key) {
            g_prefix_error(error, "%s: ", requirement->path);
            return NULL;
        }
        g_ptr_array_add(keys, key);
    }
    return g_steal_pointer(&keys);
}

static GpSignatureFacts *verify_candidate(const Candidate *candidate, GPtrArray *keys, GError **error)
{
    const GpFoundSignature *found = candidate->found;
    if (found->type == GP_FOUND_SIMPLE)
        return gp_simple_signing_verify(found->blob, keys, error);
    const json_t *signature = json_object_get(found->annotations, GP_COSIGN_SIGNATURE_ANNOTATION);
    if (g_strcmp0(found->media_type, GP_COSIGN_PAYLOAD_TYPE) != 0 || !json_is_string(signature)) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "signature-format: no cosign signature");
        return NULL;
    }
    return gp_cosign_verify(found->blob, json_string_value(signature), keys, error);
}

static gboolean check_facts(const Evaluation *evaluation, const GpRequirement *requirement, const Candidate *candidate,
    const GpSignatureFacts *facts, GError **error)
{
    if (!gp_digest_equal(&facts->manifest_digest, &candidate->digest)) {
        g_autofree char *stated = gp_digest_to_string(&facts->manifest_digest);
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "digest-mismatch: it signs %s", stated);
        return FALSE;
    }
    if (!evaluation->request->identity) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "identity-unknown: a local image has no name to compare with (give it one: --as REFERENCE)");
        return FALSE;
    }
    GpIdentityKind kind =
        requirement->type == GP_REQUIREMENT_SIGSTORE_SIGNED ? GP_IDENTITY_COSIGN : GP_IDENTITY_SIMPLE_SIGNING;
    return gp_identity_match(
        requirement->identity, kind, evaluation->request->identity, facts->docker_reference, error);
}

/* One signature for one requirement: TRUE if it satisfies. Only errors that are about the signature count as "no";
 * anything else (a key, a limit, cancellation) is @error. */
static gboolean try_candidate(const Evaluation *evaluation, const GpRequirement *requirement,
    const Candidate *candidate, GPtrArray *keys, GpVerdictRequirement *judged, GError **error)
{
    g_autoptr(GError) refusal = NULL;
    g_autoptr(GpSignatureFacts) facts = verify_candidate(candidate, keys, &refusal);
    gboolean good = facts && check_facts(evaluation, requirement, candidate, facts, &refusal);
    const char *source = candidate->found->source;
    if (good) {
        g_autofree char *reason = g_strdup_printf("%s is good", source);
        gp_verdict_attempt(judged, source, TRUE, facts->signer, "accepted");
        gp_verdict_settle(judged, GP_VERDICT_ACCEPT, facts->signer, reason);
        return TRUE;
    }
    if (gp_error_code(refusal) != GP_ERROR_SIGNATURE) {
        g_propagate_prefixed_error(error, g_steal_pointer(&refusal), "%s: ", source);
        return FALSE;
    }
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(refusal, &message, &hint);
    gp_verdict_attempt(judged, source, FALSE, facts ? facts->signer : NULL, message);
    return FALSE;
}

/* "none of 2 signatures is accepted: unknown-key: …": the reasons of all, the same one once. */
static char *summarize(const GpVerdictRequirement *judged)
{
    GString *text = g_string_new(NULL);
    g_string_printf(
        text, "none of %u signature%s is accepted", judged->attempts->len, judged->attempts->len == 1 ? "" : "s");
    for (guint i = 0; i < judged->attempts->len && i < 5; i++) {
        const GpVerdictAttempt *attempt = judged->attempts->pdata[i];
        if (!strstr(text->str, attempt->reason))
            g_string_append_printf(text, "%s%s", i ? "; " : ": ", attempt->reason);
    }
    return g_string_free(text, FALSE);
}

/* signedBy and sigstoreSigned with keys. FALSE only on an error that ends the evaluation. */
static gboolean evaluate_signed(
    Evaluation *evaluation, const GpRequirement *requirement, GpVerdictRequirement *judged, GError **error)
{
    gboolean cosign = requirement->type == GP_REQUIREMENT_SIGSTORE_SIGNED;
    GPtrArray **candidates = cosign ? &evaluation->cosign : &evaluation->simple;
    g_autoptr(GPtrArray) keys = load_keys(evaluation, requirement, error);
    if (!keys)
        return FALSE;
    if (!*candidates && !(*candidates = gather(evaluation->request, cosign, error)))
        return FALSE;

    guint tried = 0;
    for (guint i = 0; i < (*candidates)->len; i++) {
        const Candidate *candidate = (*candidates)->pdata[i];
        if ((candidate->found->type == GP_FOUND_COSIGN) != cosign)
            continue;
        tried++;
        g_autoptr(GError) problem = NULL;
        if (try_candidate(evaluation, requirement, candidate, keys, judged, &problem))
            return TRUE;
        if (problem) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
    }
    g_autofree char *reason = tried ? summarize(judged)
                                    : g_strdup(cosign ? "no-signature: no cosign signature was found"
                                                      : "no-signature: no simple-signing signature was found");
    gp_verdict_settle(judged, GP_VERDICT_REJECT, NULL, reason);
    return TRUE;
}

/* What the policy asks of an image and this program cannot evaluate never counts as satisfied. */
static gboolean check_supported(GPtrArray *requirements, GError **error)
{
    for (guint i = 0; i < requirements->len; i++) {
        const GpRequirement *requirement = requirements->pdata[i];
        if (!requirement->unsupported)
            continue;
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "%s: %s cannot be evaluated by this program",
            requirement->path, requirement->unsupported);
        return FALSE;
    }
    return TRUE;
}

static gboolean evaluate(Evaluation *evaluation, const GpRequirement *requirement, GpVerdict *verdict, GError **error)
{
    GpVerdictRequirement *judged =
        gp_verdict_add(verdict, gp_requirement_type_name(requirement->type), requirement->path);
    if (requirement->type != GP_REQUIREMENT_REJECT && gp_verify_rejects_outright(evaluation->request->requirements)) {
        gp_verdict_settle(judged, GP_VERDICT_REJECT, NULL, "not evaluated: another requirement rejects everything");
        return TRUE;
    }
    switch (requirement->type) {
    case GP_REQUIREMENT_REJECT:
        gp_verdict_settle(judged, GP_VERDICT_REJECT, NULL, "rejected: the policy rejects everything in this scope");
        return TRUE;
    case GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING:
        gp_verdict_settle(
            judged, GP_VERDICT_ACCEPT, "anyone", "the policy accepts anything in this scope, nothing was verified");
        return TRUE;
    case GP_REQUIREMENT_SIGNED_BY:
    case GP_REQUIREMENT_SIGSTORE_SIGNED:
        return evaluate_signed(evaluation, requirement, judged, error);
    case GP_REQUIREMENT_SIGNED_BASE_LAYER:
        break; /* always unsupported, see above; and a requirement that nobody settles rejects */
    }
    return TRUE;
}

static void set_refusal(const GpVerifyRequest *request, const GpVerdict *verdict, GError **error)
{
    GpErrorCode code = gp_verify_rejects_outright(request->requirements) ? GP_ERROR_POLICY : GP_ERROR_SIGNATURE;
    const GpVerdictRequirement *first = NULL;
    for (guint i = 0; i < verdict->requirements->len && !first; i++) {
        const GpVerdictRequirement *judged = verdict->requirements->pdata[i];
        if (judged->result != GP_VERDICT_ACCEPT)
            first = judged;
    }
    g_set_error(error, GP_ERROR, code, "denied by policy (scope %s): %s: %s\n%s", request->scope,
        first ? first->type : "policy", first ? first->reason : "nothing was required",
        code == GP_ERROR_POLICY ? "The policy must name a scope that covers this image."
                                : "See which signatures were looked at: guest-pull verify --verbose IMAGE.");
}

gboolean gp_verify_image(const GpVerifyRequest *request, GpVerdict **verdict, GError **error)
{
    Evaluation evaluation = {.request = request};
    g_autoptr(GpVerdict) result = gp_verdict_new(request->scope, request->policy_digest);
    evaluation.keys = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) g_bytes_unref);
    gboolean ended = gp_verify_rejects_outright(request->requirements) ||
                     (check_supported(request->requirements, error) && fetch_keys(&evaluation, error));
    for (guint i = 0; i < request->requirements->len && ended; i++)
        ended = evaluate(&evaluation, request->requirements->pdata[i], result, error);
    g_clear_pointer(&evaluation.simple, g_ptr_array_unref);
    g_clear_pointer(&evaluation.cosign, g_ptr_array_unref);
    g_hash_table_unref(evaluation.keys);
    if (!ended)
        return FALSE;

    gp_verdict_conclude(result);
    gboolean accepted = result->result == GP_VERDICT_ACCEPT;
    if (!accepted)
        set_refusal(request, result, error);
    *verdict = g_steal_pointer(&result);
    return accepted;
}
