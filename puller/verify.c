#include "puller/verify.h"

#include "base/error.h"
#include "puller/verify_distinct.h"
#include "puller/verify_evaluator.h"

/* What has been fetched or parsed once and serves several requirements. */
typedef struct {
    const GpVerifyRequest *request;
    GpSignatureSearch *search;
} Evaluation;

gboolean gp_verify_rejects_outright(GPtrArray *requirements)
{
    for (guint i = 0; i < requirements->len; i++)
        if (((GpRequirement *) requirements->pdata[i])->type == GP_REQUIREMENT_REJECT)
            return TRUE;
    return FALSE;
}

static void note_wants(const GpRequirement *requirement, GpSignatureSearchRequest *wants)
{
    wants->want_simple = wants->want_simple || requirement->type == GP_REQUIREMENT_SIGNED_BY;
    wants->want_attached = wants->want_attached || requirement->type == GP_REQUIREMENT_SIGSTORE_SIGNED ||
                           requirement->type == GP_REQUIREMENT_KEYLESS;
    for (guint i = 0; i < requirement->children->len; i++)
        note_wants(requirement->children->pdata[i], wants);
}

/* Asks for all signatures that some requirement can use. @digests: memory of the caller that outlives the search. */
static GpSignatureSearch *start_search(const GpVerifyRequest *request, GpDigest digests[2])
{
    digests[0] = request->subject->manifest;
    digests[1] = request->subject->index;
    GpSignatureSearchRequest search = {.source = request->source,
        .identity = request->identity,
        .lookaside = request->lookaside,
        .digests = digests,
        .n_digests = request->subject->has_index ? 2 : 1};
    for (guint i = 0; i < request->requirements->len; i++)
        note_wants(request->requirements->pdata[i], &search);
    return gp_signature_search_start(&search);
}

/* ---- what the facts must say, whatever established them */

/* The documents that @covers admits and @digest is one of. */
static gboolean is_covered(const GpVerifySubject *subject, GpCovers covers, const GpDigest *digest)
{
    gboolean instance = gp_digest_equal(digest, &subject->manifest);
    gboolean index = subject->has_index && gp_digest_equal(digest, &subject->index);
    switch (covers) {
    case GP_COVERS_ANY:
        return instance || index;
    case GP_COVERS_INDEX:
        return index;
    case GP_COVERS_INSTANCE:
        return instance;
    }
    return FALSE;
}

static gboolean check_coverage(
    const GpVerifySubject *subject, const GpRequirement *requirement, const GpDigest *digest, GError **error)
{
    if (is_covered(subject, requirement->covers, digest))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "covers-mismatch: it signs the %s, wanted is the %s%s",
        requirement->covers == GP_COVERS_INDEX ? "manifest" : "index", gp_covers_name(requirement->covers),
        requirement->covers == GP_COVERS_INDEX && !subject->has_index ? ", and this image has none" : "");
    return FALSE;
}

gboolean gp_requirement_admits(const GpRequirement *requirement, const GpCertificateIdentity *identity)
{
    static const GpSubjectType types[] = {
        [GP_SAN_URI] = GP_SUBJECT_URI, [GP_SAN_EMAIL] = GP_SUBJECT_EMAIL, [GP_SAN_OTHER_NAME] = GP_SUBJECT_OTHER_NAME};
    for (guint i = 0; identity && i < requirement->signers->len; i++)
        if (gp_signer_rule_match(
                requirement->signers->pdata[i], identity->issuer, types[identity->type], identity->san))
            return TRUE;
    return FALSE;
}

static gboolean check_facts(const Evaluation *evaluation, const GpRequirement *requirement,
    const GpCandidate *candidate, const GpSignatureFacts *facts, GError **error)
{
    if (!gp_digest_equal(&facts->manifest_digest, &candidate->digest)) {
        g_autofree char *stated = gp_digest_to_string(&facts->manifest_digest);
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "digest-mismatch: it signs %s", stated);
        return FALSE;
    }
    if (requirement->signers->len > 0 && !gp_requirement_admits(requirement, facts->identity)) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "identity-mismatch: %s is none of those who may sign",
            facts->signer ? facts->signer : "nobody");
        return FALSE;
    }
    if (!check_coverage(evaluation->request->subject, requirement, &facts->manifest_digest, error))
        return FALSE;
    if (!evaluation->request->identity) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "identity-unknown: a local image has no name to compare with (give it one: --as REFERENCE)");
        return FALSE;
    }
    static const GpIdentityKind kinds[] = {[GP_SIGNATURE_SIMPLE] = GP_IDENTITY_SIMPLE_SIGNING,
        [GP_SIGNATURE_COSIGN] = GP_IDENTITY_COSIGN,
        [GP_SIGNATURE_BUNDLE] = GP_IDENTITY_BUNDLE};
    return gp_identity_match(
        requirement->identity, kinds[facts->kind], evaluation->request->identity, facts->docker_reference, error);
}

/* ---- requirements about signers */

/* One signature for one requirement: its signer (caller's) if it satisfies. Only errors that are about the signature
 * count as "no"; anything else (a key, a limit, cancellation) is @error. */
static char *try_candidate(const Evaluation *evaluation, const GpRequirement *requirement, const GpEvaluator *evaluator,
    gpointer material, const GpCandidate *candidate, GpVerdictRequirement *judged, GError **error)
{
    g_autoptr(GError) refusal = NULL;
    g_autoptr(GpSignatureFacts) facts = evaluator->verify(requirement, material, candidate, &refusal);
    const char *source = candidate->found->source;
    if (facts && check_facts(evaluation, requirement, candidate, facts, &refusal)) {
        gp_verdict_attempt(judged, source, TRUE, facts->signer, "accepted");
        return g_strdup(facts->signer);
    }
    if (gp_error_code(refusal) != GP_ERROR_SIGNATURE) {
        g_propagate_prefixed_error(error, g_steal_pointer(&refusal), "%s: ", source);
        return NULL;
    }
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(refusal, &message, &hint);
    gp_verdict_attempt(judged, source, FALSE, facts ? facts->signer : NULL, message);
    return NULL;
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

const GpEvaluator *gp_evaluator_for(const GpRequirement *requirement)
{
    return requirement->type == GP_REQUIREMENT_SIGNED_BY ? &gp_evaluator_simple : &gp_evaluator_sigstore;
}

/* Tries the signatures of one place until one satisfies; all of them if @want_all. Signers (char*) that satisfied are
 * added to @signers. */
static gboolean try_place(Evaluation *evaluation, const GpRequirement *requirement, gpointer material,
    GpSignaturePlace place, gboolean want_all, GpVerdictRequirement *judged, GPtrArray *signers, GError **error)
{
    const GpEvaluator *evaluator = gp_evaluator_for(requirement);
    GPtrArray *candidates = gp_signature_search_take(evaluation->search, place, error);
    for (guint i = 0; candidates && i < candidates->len && (want_all || signers->len == 0); i++) {
        const GpCandidate *candidate = candidates->pdata[i];
        if (!evaluator->reads(requirement, candidate->found))
            continue;
        g_autoptr(GError) problem = NULL;
        char *signer = try_candidate(evaluation, requirement, evaluator, material, candidate, judged, &problem);
        if (signer)
            g_ptr_array_add(signers, signer);
        if (problem) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
    }
    return candidates != NULL;
}

/* Place after place. That one of them cannot be looked at matters only if the others do not have enough: a signature
 * more cannot make worse what is signed well. FALSE only on an error that ends the evaluation. */
static gboolean try_candidates(Evaluation *evaluation, const GpRequirement *requirement, gpointer material,
    gboolean want_all, GpVerdictRequirement *judged, GPtrArray *signers, GError **error)
{
    gboolean attached = gp_evaluator_for(requirement)->attached;
    GpSignaturePlace first = attached ? GP_PLACE_TAG : GP_PLACE_SIMPLE, last = attached ? GP_PLACE_BUNDLES : first;
    g_autoptr(GError) problem = NULL;
    for (GpSignaturePlace place = first; place <= last && (want_all || signers->len == 0); place++) {
        g_autoptr(GError) here = NULL;
        if (!try_place(evaluation, requirement, material, place, want_all, judged, signers, &here) && !problem)
            problem = g_steal_pointer(&here);
    }
    if (!problem || (!want_all && signers->len > 0))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

/* signedBy, sigstoreSigned and guest-pull/keyless. */
static gboolean evaluate_signed(Evaluation *evaluation, const GpRequirement *requirement, gboolean want_all,
    GpVerdictRequirement *judged, GPtrArray *signers, GError **error)
{
    const GpEvaluator *evaluator = gp_evaluator_for(requirement);
    gpointer material = gp_verify_material_of(evaluation->request->material, requirement, error);
    if (!material || !try_candidates(evaluation, requirement, material, want_all, judged, signers, error))
        return FALSE;
    if (signers->len > 0) {
        const GpVerdictAttempt *last = judged->attempts->pdata[judged->attempts->len - 1];
        g_autofree char *reason = g_strdup_printf("%s is good", last->source);
        gp_verdict_settle(judged, GP_VERDICT_ACCEPT, signers->pdata[0], want_all ? "signed" : reason);
        return TRUE;
    }
    g_autofree char *reason = judged->attempts->len > 0
                                  ? summarize(judged)
                                  : g_strdup_printf("no-signature: no %s was found", evaluator->what);
    gp_verdict_settle(judged, GP_VERDICT_REJECT, NULL, reason);
    return TRUE;
}

/* guest-pull/threshold: so many children, each satisfied by a signer of its own. A key that two children name is one
 * signer, and one that signed twice is too. */
static gboolean evaluate_threshold(
    Evaluation *evaluation, const GpRequirement *requirement, GpVerdictRequirement *judged, GError **error)
{
    g_autoptr(GPtrArray) sets = g_ptr_array_new_with_free_func((GDestroyNotify) g_ptr_array_unref);
    g_autoptr(GString) by = g_string_new(NULL);
    for (guint i = 0; i < requirement->children->len; i++) {
        const GpRequirement *child = requirement->children->pdata[i];
        GPtrArray *signers = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(sets, signers);
        GpVerdictRequirement *part = gp_verdict_add_part(judged, gp_requirement_type_name(child->type), child->path);
        if (!evaluate_signed(evaluation, child, TRUE, part, signers, error))
            return FALSE;
        if (part->by && !strstr(by->str, part->by))
            g_string_append_printf(by, "%s%s", by->len ? ", " : "", part->by);
    }
    guint distinct = gp_verify_count_distinct(sets);
    gboolean enough = distinct >= requirement->threshold;
    g_autofree char *reason = g_strdup_printf("%s%u of %u signers, wanted are %u",
        enough ? "" : "threshold: ", distinct, requirement->children->len, requirement->threshold);
    gp_verdict_settle(judged, enough ? GP_VERDICT_ACCEPT : GP_VERDICT_REJECT, enough ? by->str : NULL, reason);
    return TRUE;
}

/* ---- requirements about the image */

static void evaluate_digests(
    const GpVerifySubject *subject, const GpRequirement *requirement, GpVerdictRequirement *judged)
{
    g_autofree char *manifest = gp_digest_to_string(&subject->manifest);
    for (guint i = 0; i < requirement->digests->len; i++) {
        const GpDigest *digest = &g_array_index(requirement->digests, GpDigest, i);
        if (!is_covered(subject, requirement->covers, digest))
            continue;
        g_autofree char *by = gp_digest_to_string(digest);
        gp_verdict_settle(judged, GP_VERDICT_ACCEPT, by, "the policy lists this digest");
        return;
    }
    g_autofree char *reason = g_strdup_printf("digest-not-listed: %s%s is none of the %u that the policy lists",
        manifest, subject->has_index ? " (or the index that it came from)" : "", requirement->digests->len);
    gp_verdict_settle(judged, GP_VERDICT_REJECT, NULL, reason);
}

static void evaluate_encrypted(const GpManifest *manifest, GpVerdictRequirement *judged)
{
    guint layers = manifest ? manifest->layers->len : 0, encrypted = 0;
    for (guint i = 0; i < layers; i++)
        encrypted += g_str_has_suffix(((const GpDescriptor *) manifest->layers->pdata[i])->media_type, "+encrypted");
    if (layers > 0 && encrypted == layers) {
        gp_verdict_settle(judged, GP_VERDICT_ACCEPT, "encryption", "every layer is encrypted");
        return;
    }
    g_autofree char *reason =
        g_strdup_printf("not-encrypted: %u of %u layers are in the clear", layers - encrypted, layers);
    gp_verdict_settle(judged, GP_VERDICT_REJECT, NULL, reason);
}

/* ---- the frame */

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

/* FALSE only on an error that ends the evaluation. */
static gboolean evaluate(Evaluation *evaluation, const GpRequirement *requirement, GpVerdict *verdict, GError **error)
{
    const GpVerifyRequest *request = evaluation->request;
    GpVerdictRequirement *judged =
        gp_verdict_add(verdict, gp_requirement_type_name(requirement->type), requirement->path);
    if (requirement->type != GP_REQUIREMENT_REJECT && gp_verify_rejects_outright(request->requirements)) {
        gp_verdict_settle(judged, GP_VERDICT_REJECT, NULL, "not evaluated: another requirement rejects everything");
        return TRUE;
    }
    g_autoptr(GPtrArray) signers = g_ptr_array_new_with_free_func(g_free);
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
    case GP_REQUIREMENT_KEYLESS:
        return evaluate_signed(evaluation, requirement, FALSE, judged, signers, error);
    case GP_REQUIREMENT_THRESHOLD:
        return evaluate_threshold(evaluation, requirement, judged, error);
    case GP_REQUIREMENT_DIGESTS:
        evaluate_digests(request->subject, requirement, judged);
        return TRUE;
    case GP_REQUIREMENT_ENCRYPTED:
        evaluate_encrypted(request->manifest, judged);
        return TRUE;
    case GP_REQUIREMENT_SIGNED_BASE_LAYER:
        break; /* always unsupported, see above; and a requirement that nobody settles rejects */
    }
    return TRUE;
}

/* Whether a signature could have helped. */
static gboolean is_about_signers(GpRequirementType type)
{
    return type == GP_REQUIREMENT_SIGNED_BY || type == GP_REQUIREMENT_SIGSTORE_SIGNED ||
           type == GP_REQUIREMENT_KEYLESS || type == GP_REQUIREMENT_THRESHOLD;
}

static void set_refusal(const GpVerifyRequest *request, const GpVerdict *verdict, GError **error)
{
    const GpVerdictRequirement *first = NULL;
    GpErrorCode code = GP_ERROR_POLICY;
    for (guint i = 0; i < verdict->requirements->len && !first; i++) {
        const GpRequirement *requirement = request->requirements->pdata[i];
        const GpVerdictRequirement *judged = verdict->requirements->pdata[i];
        if (judged->result == GP_VERDICT_ACCEPT)
            continue;
        first = judged;
        if (is_about_signers(requirement->type) && !gp_verify_rejects_outright(request->requirements))
            code = GP_ERROR_SIGNATURE;
    }
    g_set_error(error, GP_ERROR, code, "denied by policy (scope %s): %s: %s\n%s", request->scope,
        first ? first->type : "policy", first ? first->reason : "nothing was required",
        code == GP_ERROR_POLICY ? "See what the policy says of this image: guest-pull policy explain IMAGE."
                                : "See which signatures were looked at: guest-pull verify --verbose IMAGE.");
}

gboolean gp_verify_image(const GpVerifyRequest *request, GpVerdict **verdict, GError **error)
{
    Evaluation evaluation = {.request = request};
    g_autoptr(GpVerdict) result = gp_verdict_new(request->scope, request->policy_digest);
    GpDigest digests[2];
    gboolean ended = TRUE;
    if (!gp_verify_rejects_outright(request->requirements)) {
        ended = check_supported(request->requirements, error);
        evaluation.search = ended ? start_search(request, digests) : NULL;
        ended = ended && gp_verify_material_wait(request->material, error);
    }
    for (guint i = 0; i < request->requirements->len && ended; i++)
        ended = evaluate(&evaluation, request->requirements->pdata[i], result, error);
    gp_signature_search_free(evaluation.search);
    if (!ended)
        return FALSE;

    gp_verdict_conclude(result);
    gboolean accepted = result->result == GP_VERDICT_ACCEPT;
    if (!accepted)
        set_refusal(request, result, error);
    *verdict = g_steal_pointer(&result);
    return accepted;
}
