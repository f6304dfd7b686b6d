#include "policy/requirement.h"

#include "base/error.h"
#include "base/json.h"
#include "policy/requirement_parse.h"

typedef gboolean (*Parser)(GpRequirement *requirement, json_t *value, const char *place, GError **error);

static const struct {
    const char *name;
    Parser parse;
} types[] = {
    [GP_REQUIREMENT_REJECT] = {"reject", gp_requirement_parse_bare},
    [GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING] = {"insecureAcceptAnything", gp_requirement_parse_bare},
    [GP_REQUIREMENT_SIGNED_BY] = {"signedBy", gp_requirement_parse_signed_by},
    [GP_REQUIREMENT_SIGSTORE_SIGNED] = {"sigstoreSigned", gp_requirement_parse_sigstore},
    [GP_REQUIREMENT_SIGNED_BASE_LAYER] = {"signedBaseLayer", gp_requirement_parse_base_layer},
    [GP_REQUIREMENT_DIGESTS] = {"guest-pull/digests", gp_requirement_parse_digests},
    [GP_REQUIREMENT_KEYLESS] = {"guest-pull/keyless", gp_requirement_parse_keyless},
    [GP_REQUIREMENT_THRESHOLD] = {"guest-pull/threshold", gp_requirement_parse_threshold},
    [GP_REQUIREMENT_ENCRYPTED] = {"guest-pull/encrypted", gp_requirement_parse_bare},
};

static const char *const covers_names[] = {
    [GP_COVERS_ANY] = "any", [GP_COVERS_INDEX] = "index", [GP_COVERS_INSTANCE] = "instance"};

const char *gp_requirement_type_name(GpRequirementType type)
{
    return (gsize) type < G_N_ELEMENTS(types) ? types[type].name : "unknown";
}

const char *gp_covers_name(GpCovers covers)
{
    return (gsize) covers < G_N_ELEMENTS(covers_names) ? covers_names[covers] : "unknown";
}

static void pki_free(GpPkiRule *pki)
{
    if (!pki)
        return;
    gp_key_source_free(pki->roots);
    gp_key_source_free(pki->intermediates);
    g_free(pki->email);
    g_free(pki->hostname);
    g_free(pki);
}

void gp_requirement_free(GpRequirement *requirement)
{
    if (!requirement)
        return;
    g_free(requirement->path);
    g_ptr_array_unref(requirement->keys);
    gp_identity_rule_free(requirement->identity);
    gp_key_source_free(requirement->fulcio);
    pki_free(requirement->pki);
    g_ptr_array_unref(requirement->rekor_keys);
    gp_key_source_free(requirement->trusted_root);
    g_ptr_array_unref(requirement->signers);
    g_array_unref(requirement->digests);
    g_ptr_array_unref(requirement->children);
    g_free(requirement->unsupported);
    g_free(requirement);
}

static GpRequirement *requirement_new(const char *place)
{
    GpRequirement *requirement = g_new0(GpRequirement, 1);
    requirement->path = g_strdup(place);
    requirement->keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_key_source_free);
    requirement->rekor_keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_key_source_free);
    requirement->signers = g_ptr_array_new_with_free_func((GDestroyNotify) gp_signer_rule_free);
    requirement->children = g_ptr_array_new_with_free_func((GDestroyNotify) gp_requirement_free);
    requirement->digests = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    return requirement;
}

gboolean gp_requirement_refuse(GError **error, const char *place, const char *reason)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %s", place, reason);
    return FALSE;
}

gboolean gp_requirement_take_identity(
    GpRequirement *requirement, json_t *value, const char *place, const char *key, GError **error)
{
    if (!value)
        return TRUE;
    g_autofree char *inner = gp_json_path_key(place, key);
    requirement->identity = gp_identity_rule_parse(value, inner, error);
    return requirement->identity != NULL;
}

gboolean gp_requirement_take_covers(
    GpRequirement *requirement, json_t *value, const char *place, const char *key, GError **error)
{
    if (!value)
        return TRUE;
    for (gsize i = 0; i < G_N_ELEMENTS(covers_names); i++) {
        if (!strcmp(json_string_value(value), covers_names[i])) {
            requirement->covers = (GpCovers) i;
            return TRUE;
        }
    }
    g_autofree char *inner = gp_json_path_key(place, key);
    return gp_requirement_refuse(error, inner, "must be \"any\", \"index\" or \"instance\"");
}

/* Without a type nothing says which keys are allowed, but a misspelt "type" must be found: so all keys of all types. */
static gboolean explain_missing_type(json_t *value, const char *place, GError **error)
{
    static const char *const keys[] = {"type", "keyType", "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki",
        "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas", "signedIdentity",
        "baseLayerIdentity", "guest-pull/covers", "covers", "digests", "threshold", "of", "trustedRootPath",
        "trustedRootData", "signers", "logs", "scts", "timestamps"};
    GpJsonField fields[G_N_ELEMENTS(keys) + 1] = {{NULL}};
    json_t *ignored = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++)
        fields[i] = (GpJsonField){keys[i], GP_JSON_ANY, GP_JSON_OPTIONAL, &ignored};
    return gp_json_fields(value, place, fields, TRUE, error) &&
           gp_requirement_refuse(error, place, "\"type\" is missing");
}

static gboolean refuse_type(const char *name, const char *place, GError **error)
{
    const char *names[G_N_ELEMENTS(types) + 1] = {NULL};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        names[i] = types[i].name;
    g_autofree char *shown = gp_escape(name, -1, 100);
    g_autofree char *known = g_strjoinv(", ", (char **) (guintptr) names);
    const char *nearest = gp_json_nearest(name, names);
    g_autofree char *guess = nearest ? g_strdup_printf(" (did you mean \"%s\"?)", nearest) : g_strdup("");
    g_set_error(
        error, GP_ERROR, GP_ERROR_INVALID, "%s.type: unknown type \"%s\"%s\nKnown are %s.", place, shown, guess, known);
    return FALSE;
}

static gboolean parse_type(json_t *value, const char *place, GpRequirementType *type, GError **error)
{
    if (json_is_object(value) && !json_object_get(value, "type"))
        return explain_missing_type(value, place, error);
    json_t *name = NULL;
    const GpJsonField fields[] = {{"type", GP_JSON_STRING, GP_JSON_MANDATORY, &name}, {NULL}};
    if (!gp_json_fields(value, place, fields, FALSE, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        if (!strcmp(json_string_value(name), types[i].name)) {
            *type = (GpRequirementType) i;
            return TRUE;
        }
    }
    return refuse_type(json_string_value(name), place, error);
}

/* What the policy says and no evaluator of puller/verify*.c can judge. */
static const char *find_unsupported(const GpRequirement *requirement)
{
    return requirement->type == GP_REQUIREMENT_SIGNED_BASE_LAYER ? "signedBaseLayer" : NULL;
}

GpRequirement *gp_requirement_parse(json_t *value, const char *place, GError **error)
{
    g_autoptr(GpRequirement) requirement = requirement_new(place);
    if (!parse_type(value, place, &requirement->type, error) ||
        !types[requirement->type].parse(requirement, value, place, error))
        return NULL;
    if (!requirement->unsupported)
        requirement->unsupported = g_strdup(find_unsupported(requirement));
    return g_steal_pointer(&requirement);
}

static void visit_one(
    const GpRequirement *requirement, const GpKeySource *source, GpRequirementVisit visit, gpointer data)
{
    if (source)
        visit(requirement, source, data);
}

void gp_requirement_visit_sources(const GpRequirement *requirement, GpRequirementVisit visit, gpointer data)
{
    for (guint i = 0; i < requirement->keys->len; i++)
        visit_one(requirement, requirement->keys->pdata[i], visit, data);
    for (guint i = 0; i < requirement->rekor_keys->len; i++)
        visit_one(requirement, requirement->rekor_keys->pdata[i], visit, data);
    visit_one(requirement, requirement->fulcio, visit, data);
    visit_one(requirement, requirement->pki ? requirement->pki->roots : NULL, visit, data);
    visit_one(requirement, requirement->pki ? requirement->pki->intermediates : NULL, visit, data);
    visit_one(requirement, requirement->trusted_root, visit, data);
    for (guint i = 0; i < requirement->children->len; i++)
        gp_requirement_visit_sources(requirement->children->pdata[i], visit, data);
}
