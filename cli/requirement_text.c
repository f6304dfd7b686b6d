#include "cli/requirement_text.h"

#include "cli/output.h"
#include "policy/identity.h"

static const char *shown(const GpKeySource *source)
{
    return source->location ? source->location : "(inline)";
}

static gboolean is_about_signers(const GpRequirement *requirement)
{
    return requirement->type == GP_REQUIREMENT_SIGNED_BY || requirement->type == GP_REQUIREMENT_SIGSTORE_SIGNED ||
           requirement->type == GP_REQUIREMENT_KEYLESS;
}

static json_t *sources_to_json(GPtrArray *sources)
{
    json_t *list = json_array();
    for (guint i = 0; i < sources->len; i++)
        json_array_append_new(list, json_string(shown(sources->pdata[i])));
    return list;
}

static json_t *signers_to_json(GPtrArray *signers)
{
    json_t *list = json_array();
    for (guint i = 0; i < signers->len; i++) {
        g_autofree char *text = gp_signer_rule_to_string(signers->pdata[i]);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *digests_to_json(const GArray *digests)
{
    json_t *list = json_array();
    for (guint i = 0; i < digests->len; i++) {
        g_autofree char *text = gp_digest_to_string(&g_array_index(digests, GpDigest, i));
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static void add_keyless(json_t *object, const GpRequirement *requirement)
{
    json_object_set_new(object, "trustedRoot", json_string(shown(requirement->trusted_root)));
    json_object_set_new(object, "logs", json_integer(requirement->logs));
    json_object_set_new(object, "scts", json_integer(requirement->scts));
    json_object_set_new(object, "timestamps", json_integer(requirement->timestamps));
}

json_t *gp_requirement_to_json(const GpRequirement *requirement)
{
    const GpPkiRule *pki = requirement->pki;
    json_t *object = json_pack("{s:s, s:s, s:o, s:s?, s:s?}", "type", gp_requirement_type_name(requirement->type),
        "place", requirement->path, "keys", sources_to_json(requirement->keys), "signedIdentity",
        requirement->identity ? gp_identity_type_name(requirement->identity->type) : NULL, "unsupported",
        requirement->unsupported);
    if (is_about_signers(requirement) || requirement->type == GP_REQUIREMENT_DIGESTS)
        json_object_set_new(object, "covers", json_string(gp_covers_name(requirement->covers)));
    if (requirement->rekor_keys->len > 0)
        json_object_set_new(object, "rekorKeys", sources_to_json(requirement->rekor_keys));
    if (requirement->fulcio)
        json_object_set_new(object, "fulcio", json_string(shown(requirement->fulcio)));
    if (pki)
        json_object_set_new(object, "pki",
            json_pack("{s:s, s:s?, s:s?, s:s?}", "roots", shown(pki->roots), "intermediates",
                pki->intermediates ? shown(pki->intermediates) : NULL, "subjectEmail", pki->email, "subjectHostname",
                pki->hostname));
    if (requirement->trusted_root)
        add_keyless(object, requirement);
    if (requirement->signers->len > 0)
        json_object_set_new(object, "signers", signers_to_json(requirement->signers));
    if (requirement->digests->len > 0)
        json_object_set_new(object, "digests", digests_to_json(requirement->digests));
    if (requirement->threshold > 0) {
        json_t *of = json_array();
        for (guint i = 0; i < requirement->children->len; i++)
            json_array_append_new(of, gp_requirement_to_json(requirement->children->pdata[i]));
        json_object_set_new(object, "threshold", json_integer(requirement->threshold));
        json_object_set_new(object, "of", of);
    }
    return object;
}

static void print_row(int depth, const char *name, const char *value)
{
    gp_print("%*s%-10s%s\n", 4 + 2 * depth, "", name, value);
}

static void print_sources(int depth, const char *name, GPtrArray *sources)
{
    for (guint i = 0; i < sources->len; i++)
        print_row(depth, name, shown(sources->pdata[i]));
}

static void print_pki(const GpPkiRule *pki, int depth)
{
    print_row(depth, "roots", shown(pki->roots));
    if (pki->intermediates)
        print_row(depth, "below", shown(pki->intermediates));
    if (pki->email)
        print_row(depth, "email", pki->email);
    if (pki->hostname)
        print_row(depth, "hostname", pki->hostname);
}

/* What signedIdentity means when it is not written: policy/identity.h. */
static void print_identity(const GpRequirement *requirement, int depth)
{
    if (requirement->identity)
        print_row(depth, "identity", gp_identity_type_name(requirement->identity->type));
    else
        print_row(depth, "identity",
            requirement->type == GP_REQUIREMENT_SIGNED_BY
                ? "not written: the default"
                : "not written: the default; without a tag the repository, in a bundle the digest alone");
}

static void print_keyless(const GpRequirement *requirement, int depth)
{
    print_row(depth, "root", shown(requirement->trusted_root));
    gp_print("%*s%-10slog entries %u, certificate timestamps %u, timestamps %u\n", 4 + 2 * depth, "", "at least",
        requirement->logs, requirement->scts, requirement->timestamps);
}

static void print_signer(const GpRequirement *requirement, int depth)
{
    print_sources(depth, "key", requirement->keys);
    if (requirement->fulcio)
        print_row(depth, "fulcio", shown(requirement->fulcio));
    if (requirement->pki)
        print_pki(requirement->pki, depth);
    if (requirement->trusted_root)
        print_keyless(requirement, depth);
    for (guint i = 0; i < requirement->signers->len; i++) {
        g_autofree char *text = gp_signer_rule_to_string(requirement->signers->pdata[i]);
        print_row(depth, "signer", text);
    }
    print_sources(depth, "rekor", requirement->rekor_keys);
    print_identity(requirement, depth);
}

void gp_requirement_print(const GpRequirement *requirement, int depth)
{
    gp_print("%*s%s  (%s)\n", 2 + 2 * depth, "", gp_requirement_type_name(requirement->type), requirement->path);
    if (is_about_signers(requirement))
        print_signer(requirement, depth);
    for (guint i = 0; i < requirement->digests->len; i++) {
        g_autofree char *text = gp_digest_to_string(&g_array_index(requirement->digests, GpDigest, i));
        print_row(depth, "digest", text);
    }
    if (requirement->covers != GP_COVERS_ANY)
        print_row(depth, "covers", gp_covers_name(requirement->covers));
    if (requirement->threshold > 0)
        gp_print("%*s%u of these %u, each by a signer of its own:\n", 4 + 2 * depth, "", requirement->threshold,
            requirement->children->len);
    for (guint i = 0; i < requirement->children->len; i++)
        gp_requirement_print(requirement->children->pdata[i], depth + 1);
    if (requirement->unsupported)
        gp_print("%*srefuses: %s cannot be evaluated by this program\n", 4 + 2 * depth, "", requirement->unsupported);
}
