/* sigstoreSigned and guest-pull/keyless: signatures of cosign, in its tag's form and as bundles, by keys, by identities
 * that a Sigstore instance vouches for, or by certificates of a private PKI. */
#include "base/error.h"
#include "base/limits.h"
#include "puller/verify_evaluator.h"
#include "sigstore/bundle_verify.h"
#include "sigstore/cosign.h"
#include "sigstore/cosign_evidence.h"
#include "sigstore/payload.h"
#include "sigstore/refusal.h"
#include "sigstore/statement.h"

/* What a requirement names, parsed. */
typedef struct {
    GPtrArray *keys;     /* GpPublicKey*; NULL: certificates say who signed */
    GpTrustedRoot *root; /* NULL: keys alone count, no log is asked for */
} Material;

static void release(gpointer data)
{
    Material *material = data;
    g_clear_pointer(&material->keys, g_ptr_array_unref);
    g_clear_pointer(&material->root, gp_trusted_root_free);
    g_free(material);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Material, release)

/* ---- what the policy names */

static const char *name_of(const GpKeySource *source)
{
    return source->location ? source->location : "inline data";
}

static GPtrArray *parse_keys(GPtrArray *named, GpPolicySources *sources, GError **error)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_public_key_free);
    for (guint i = 0; i < named->len; i++) {
        const GpKeySource *source = named->pdata[i];
        GpPublicKey *key = gp_public_key_parse(gp_policy_source_bytes(sources, source), name_of(source), error);
        if (!key)
            return NULL;
        g_ptr_array_add(keys, key);
    }
    return g_steal_pointer(&keys);
}

/* Every certificate of @source as a root of its own, with all of @between to lead there: what the reference means by a
 * file of CAs, in whose order it sees nothing. */
static gboolean add_roots(GpTrustedRoot *root, const GpKeySource *source, const GpKeySource *between,
    GpPolicySources *sources, GError **error)
{
    g_autoptr(GPtrArray) roots =
        gp_certificates_from_pem(gp_policy_source_bytes(sources, source), name_of(source), error);
    g_autoptr(GPtrArray) more =
        roots && between ? gp_certificates_from_pem(gp_policy_source_bytes(sources, between), name_of(between), error)
                         : NULL;
    if (!roots || (between && !more))
        return FALSE;
    for (guint i = 0; i < roots->len; i++) {
        GpTrustedAuthority *authority = g_new0(GpTrustedAuthority, 1);
        authority->certificates = g_ptr_array_new_with_free_func((GDestroyNotify) X509_free);
        authority->start = G_MININT64;
        authority->end = G_MAXINT64;
        for (guint k = 0; more && k < more->len; k++)
            g_ptr_array_add(authority->certificates, X509_dup(more->pdata[k]));
        g_ptr_array_add(authority->certificates, X509_dup(roots->pdata[i]));
        g_ptr_array_add(root->authorities, authority);
    }
    return TRUE;
}

static GpTrustedRoot *make_root(const GpRequirement *requirement, GpPolicySources *sources, GError **error)
{
    if (requirement->trusted_root)
        return gp_trusted_root_parse(
            gp_policy_source_bytes(sources, requirement->trusted_root), name_of(requirement->trusted_root), error);
    g_autoptr(GPtrArray) logs = parse_keys(requirement->rekor_keys, sources, error);
    g_autoptr(GpTrustedRoot) root = logs ? gp_trusted_root_assemble(NULL, logs, "Rekor keys", error) : NULL;
    if (!root || (requirement->fulcio && !add_roots(root, requirement->fulcio, NULL, sources, error)) ||
        (requirement->pki &&
            !add_roots(root, requirement->pki->roots, requirement->pki->intermediates, sources, error)))
        return NULL;
    return g_steal_pointer(&root);
}

static gpointer prepare(const GpRequirement *requirement, GpPolicySources *sources, GError **error)
{
    g_autoptr(Material) material = g_new0(Material, 1);
    gboolean good = TRUE;
    if (requirement->keys->len > 0)
        good = (material->keys = parse_keys(requirement->keys, sources, error)) != NULL;
    if (good && (!material->keys || requirement->rekor_keys->len > 0))
        good = (material->root = make_root(requirement, sources, error)) != NULL;
    if (good)
        return g_steal_pointer(&material);
    g_prefix_error(error, "%s: ", requirement->path);
    return NULL;
}

/* ---- who may sign */

static gboolean admits(const GpCertificateIdentity *identity, gpointer data)
{
    return gp_requirement_admits(data, identity);
}

static GpBundleRequest make_request(const GpRequirement *requirement, const Material *material)
{
    gboolean keyless = requirement->type == GP_REQUIREMENT_KEYLESS;
    return (GpBundleRequest){.keys = material->keys,
        .root = material->root,
        .admits = admits,
        .admits_data = (gpointer) (guintptr) requirement,
        /* sigstoreSigned has no thresholds: whoever names a Rekor key wants an entry. */
        .logs = keyless          ? requirement->logs
                : material->root ? 1
                                 : 0,
        .scts = keyless ? requirement->scts : 0,
        .timestamps = keyless ? requirement->timestamps : 0};
}

/* Evidence of a kind that sigstoreSigned cannot name anybody to trust for is passed over, as the reference does. */
static void drop_unasked(const GpRequirement *requirement, const Material *material, GpBundle *bundle)
{
    if (requirement->type == GP_REQUIREMENT_KEYLESS)
        return;
    g_ptr_array_set_size(bundle->timestamps, 0);
    if (material->keys && requirement->rekor_keys->len == 0)
        g_ptr_array_set_size(bundle->entries, 0);
}

/* ---- signatures of all forms */

static GpSignatureFacts *verify_bundle(
    const GpRequirement *requirement, const Material *material, const GpCandidate *candidate, GError **error)
{
    if (candidate->found->problem) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "%s", candidate->found->problem);
        return NULL;
    }
    g_autoptr(GpBundle) bundle = gp_bundle_parse(candidate->found->blob, error);
    if (!bundle)
        return NULL;
    drop_unasked(requirement, material, bundle);
    GpBundleRequest request = make_request(requirement, material);
    request.digest = candidate->digest;
    request.predicate_type = GP_PREDICATE_COSIGN_SIGN;
    return gp_bundle_verify(bundle, &request, error);
}

/* A certificate of a private PKI: no log says when it was used, so the chain must be valid now. The clock is the
 * host's word: it can make an expired certificate count again, never one that these CAs did not issue. */
static GpSignatureFacts *verify_pki(
    const GpRequirement *requirement, const Material *material, GBytes *payload, const GpBundle *bundle, GError **error)
{
    const GpPkiRule *rule = requirement->pki;
    g_autoptr(X509) leaf = bundle->certificate ? gp_certificate_from_der(bundle->certificate) : NULL;
    g_autoptr(GpPublicKey) key = leaf ? gp_public_key_of_certificate(leaf, "the certificate", NULL) : NULL;
    if (!key) {
        gp_refuse(error, "no-certificate", "a certificate is asked for");
        return NULL;
    }
    if (!gp_public_key_verifies(key, payload, bundle->signature)) {
        gp_refuse(error, "bad-signature", "not by the certificate's key");
        return NULL;
    }
    g_autoptr(GPtrArray) untrusted = g_ptr_array_new_with_free_func((GDestroyNotify) X509_free);
    for (guint i = 0; i < bundle->untrusted->len; i++)
        g_ptr_array_add(untrusted, gp_certificate_from_der(bundle->untrusted->pdata[i]));
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    if (!gp_certificate_verify(
            leaf, material->root->authorities, untrusted, now, GP_CERTIFICATE_UNRESTRICTED, NULL, error))
        return NULL;
    if ((rule->email && !gp_certificate_has_email(leaf, rule->email)) ||
        (rule->hostname && !gp_certificate_has_hostname(leaf, rule->hostname))) {
        gp_refuse(error, "identity-mismatch", "the certificate does not name %s",
            rule->email && !gp_certificate_has_email(leaf, rule->email) ? rule->email : rule->hostname);
        return NULL;
    }
    g_autofree char *signer = g_strdup_printf("%s%s%s", rule->email ? rule->email : "",
        rule->email && rule->hostname ? " and " : "", rule->hostname ? rule->hostname : "");
    return gp_payload_parse(payload, GP_PAYLOAD_COSIGN, signer, error);
}

/* cosign's annotations, verified as a bundle over the payload; then what the payload says. */
static GpSignatureFacts *verify_evidence(
    const GpRequirement *requirement, const Material *material, GBytes *payload, GpBundle *bundle, GError **error)
{
    drop_unasked(requirement, material, bundle);
    /* cosign puts the certificate of a key beside the signature too: here the key alone is what counts. */
    if (material->keys)
        g_clear_pointer(&bundle->certificate, g_bytes_unref);
    GpBundleRequest request = make_request(requirement, material);
    request.artifact = payload;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(payload, NULL), g_bytes_get_size(payload), &request.digest);
    g_autoptr(GpSignatureFacts) verified = gp_bundle_verify(bundle, &request, error);
    if (!verified)
        return NULL;
    GpSignatureFacts *facts = gp_payload_parse(payload, GP_PAYLOAD_COSIGN, verified->signer, error);
    if (facts) {
        facts->identity = g_steal_pointer(&verified->identity);
        facts->times = g_steal_pointer(&verified->times);
    }
    return facts;
}

static GpSignatureFacts *verify_attached(
    const GpRequirement *requirement, const Material *material, const GpFoundSignature *found, GError **error)
{
    const json_t *signature = json_object_get(found->annotations, GP_COSIGN_SIGNATURE_ANNOTATION);
    if (g_strcmp0(found->media_type, GP_COSIGN_PAYLOAD_TYPE) != 0 || !json_is_string(signature)) {
        gp_refuse(error, "signature-format", "no cosign signature");
        return NULL;
    }
    if (material->keys && !material->root)
        return gp_cosign_verify(found->blob, json_string_value(signature), material->keys, error);
    g_autoptr(GpBundle) bundle = gp_cosign_evidence_read(found->annotations, error);
    if (!bundle)
        return NULL;
    return requirement->pki ? verify_pki(requirement, material, found->blob, bundle, error)
                            : verify_evidence(requirement, material, found->blob, bundle, error);
}

static GpSignatureFacts *verify(
    const GpRequirement *requirement, gpointer material, const GpCandidate *candidate, GError **error)
{
    return candidate->found->type == GP_FOUND_BUNDLE ? verify_bundle(requirement, material, candidate, error)
                                                     : verify_attached(requirement, material, candidate->found, error);
}

/* Bundles have no form for a private PKI without a log or an authority that says when. */
static gboolean reads(const GpRequirement *requirement, const GpFoundSignature *found)
{
    return found->type == GP_FOUND_COSIGN || (found->type == GP_FOUND_BUNDLE && !requirement->pki);
}

const GpEvaluator gp_evaluator_sigstore = {.what = "cosign signature",
    .attached = TRUE,
    .reads = reads,
    .prepare = prepare,
    .release = release,
    .verify = verify};
