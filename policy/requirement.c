#include "policy/requirement.h"

#include "base/error.h"
#include "base/json.h"

#define TEXT (GP_JSON_MANDATORY | GP_JSON_NON_EMPTY)

static const char *const type_names[] = {
    [GP_REQUIREMENT_REJECT] = "reject",
    [GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING] = "insecureAcceptAnything",
    [GP_REQUIREMENT_SIGNED_BY] = "signedBy",
    [GP_REQUIREMENT_SIGSTORE_SIGNED] = "sigstoreSigned",
    [GP_REQUIREMENT_SIGNED_BASE_LAYER] = "signedBaseLayer",
};

const char *gp_requirement_type_name(GpRequirementType type)
{
    return (gsize) type < G_N_ELEMENTS(type_names) ? type_names[type] : "unknown";
}

void gp_requirement_free(GpRequirement *requirement)
{
    if (!requirement)
        return;
    g_free(requirement->path);
    g_ptr_array_unref(requirement->keys);
    gp_identity_rule_free(requirement->identity);
    g_free(requirement->unsupported);
    g_free(requirement);
}

static gboolean refuse(GError **error, const char *place, const char *reason)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %s", place, reason);
    return FALSE;
}

/* Without a type nothing says which keys are allowed, but a misspelt "type" must be found: so all keys of all types. */
static gboolean explain_missing_type(json_t *value, const char *place, GError **error)
{
    static const char *const keys[] = {"type", "keyType", "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki",
        "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas", "signedIdentity",
        "baseLayerIdentity"};
    GpJsonField fields[G_N_ELEMENTS(keys) + 1] = {{NULL}};
    json_t *ignored = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++)
        fields[i] = (GpJsonField){keys[i], GP_JSON_ANY, GP_JSON_OPTIONAL, &ignored};
    return gp_json_fields(value, place, fields, TRUE, error) && refuse(error, place, "\"type\" is missing");
}

static gboolean parse_type(json_t *value, const char *place, GpRequirementType *type, GError **error)
{
    if (json_is_object(value) && !json_object_get(value, "type"))
        return explain_missing_type(value, place, error);
    json_t *name = NULL;
    const GpJsonField fields[] = {{"type", GP_JSON_STRING, GP_JSON_MANDATORY, &name}, {NULL}};
    if (!gp_json_fields(value, place, fields, FALSE, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(type_names); i++) {
        if (!strcmp(json_string_value(name), type_names[i])) {
            *type = (GpRequirementType) i;
            return TRUE;
        }
    }
    g_autofree char *shown = gp_escape(json_string_value(name), -1, 100);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "%s.type: unknown type \"%s\"\nKnown are reject, insecureAcceptAnything, signedBy, sigstoreSigned and "
        "signedBaseLayer.",
        place, shown);
    return FALSE;
}

/* The identity rule at @key of @place; absent leaves the requirement without one. */
static gboolean parse_identity(
    GpRequirement *requirement, json_t *value, const char *place, const char *key, GError **error)
{
    if (!value)
        return TRUE;
    g_autofree char *inner = gp_json_path_key(place, key);
    requirement->identity = gp_identity_rule_parse(value, inner, error);
    return requirement->identity != NULL;
}

static gboolean take_keys(
    GpRequirement *requirement, const GpKeyForms *forms, const char *place, gboolean mandatory, GError **error)
{
    GPtrArray *keys = NULL;
    if (!gp_key_forms_read(forms, place, &keys, error))
        return FALSE;
    if (!keys)
        return !mandatory || refuse(error, place, "there is no key\nWrite one of keyPath, keyPaths and keyData.");
    g_ptr_array_unref(requirement->keys);
    requirement->keys = keys;
    return TRUE;
}

/* Checks @forms, whose contents no evaluator reads; *@present (may be NULL) says whether a spelling was there. */
static gboolean check_forms(const GpKeyForms *forms, const char *place, gboolean *present, GError **error)
{
    g_autoptr(GPtrArray) sources = NULL;
    if (!gp_key_forms_read(forms, place, &sources, error))
        return FALSE;
    if (present)
        *present = sources != NULL;
    return TRUE;
}

/* reject and insecureAcceptAnything: a key more would be a requirement that somebody believes in. */
static gboolean parse_bare(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL;
    const GpJsonField fields[] = {{"type", GP_JSON_STRING, TEXT, &type}, {NULL}};
    return gp_json_fields(value, place, fields, TRUE, error);
}

static gboolean parse_key_type(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    static const char *const known[] = {"GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs", NULL};
    const char *name = json_string_value(value);
    if (!g_strv_contains(known, name)) {
        g_autofree char *shown = gp_escape(name, -1, 100);
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "%s.keyType: unknown key type \"%s\"\nWrite GPGKeys.", place, shown);
        return FALSE;
    }
    if (strcmp(name, known[0]) != 0)
        requirement->unsupported = g_strconcat("keyType ", name, NULL);
    return TRUE;
}

static gboolean parse_signed_by(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL, *key_type = NULL, *identity = NULL;
    GpKeyForms forms = {.path_key = "keyPath", .paths_key = "keyPaths", .data_key = "keyData"};
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"keyType", GP_JSON_STRING, TEXT, &key_type},
        {"keyPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &forms.path},
        {"keyPaths", GP_JSON_ANY, GP_JSON_OPTIONAL, &forms.paths},
        {"keyData", GP_JSON_ANY, GP_JSON_OPTIONAL, &forms.data},
        {"signedIdentity", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &identity},
        {NULL},
    };
    return gp_json_fields(value, place, fields, TRUE, error) && parse_key_type(requirement, key_type, place, error) &&
           take_keys(requirement, &forms, place, TRUE, error) &&
           parse_identity(requirement, identity, place, "signedIdentity", error);
}

static gboolean check_fulcio(json_t *value, const char *place, GError **error)
{
    json_t *issuer = NULL, *email = NULL;
    gboolean present = FALSE;
    GpKeyForms ca = {.path_key = "caPath", .data_key = "caData"};
    const GpJsonField fields[] = {
        {"caPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &ca.path},
        {"caData", GP_JSON_ANY, GP_JSON_OPTIONAL, &ca.data},
        {"oidcIssuer", GP_JSON_STRING, TEXT, &issuer},
        {"subjectEmail", GP_JSON_STRING, TEXT, &email},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error) || !check_forms(&ca, place, &present, error))
        return FALSE;
    return present || refuse(error, place, "there is no CA\nWrite one of caPath and caData.");
}

static gboolean check_pki(json_t *value, const char *place, GError **error)
{
    json_t *email = NULL, *hostname = NULL;
    gboolean present = FALSE;
    GpKeyForms roots = {.path_key = "caRootsPath", .data_key = "caRootsData"};
    GpKeyForms intermediates = {.path_key = "caIntermediatesPath", .data_key = "caIntermediatesData"};
    const GpJsonField fields[] = {
        {"caRootsPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &roots.path},
        {"caRootsData", GP_JSON_ANY, GP_JSON_OPTIONAL, &roots.data},
        {"caIntermediatesPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &intermediates.path},
        {"caIntermediatesData", GP_JSON_ANY, GP_JSON_OPTIONAL, &intermediates.data},
        {"subjectEmail", GP_JSON_STRING, GP_JSON_NON_EMPTY, &email},
        {"subjectHostname", GP_JSON_STRING, GP_JSON_NON_EMPTY, &hostname},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error) || !check_forms(&roots, place, &present, error) ||
        !check_forms(&intermediates, place, NULL, error))
        return FALSE;
    if (!present)
        return refuse(error, place, "there is no root CA\nWrite one of caRootsPath and caRootsData.");
    return email || hostname ||
           refuse(error, place, "anyone under these CAs could sign\nWrite subjectEmail, subjectHostname or both.");
}

typedef struct {
    GpKeyForms keys, rekor;
    json_t *fulcio, *pki, *identity;
} SigstoreParts;

static gboolean find_sigstore_parts(json_t *value, const char *place, SigstoreParts *parts, GError **error)
{
    json_t *type = NULL;
    *parts = (SigstoreParts){
        .keys = {.path_key = "keyPath", .paths_key = "keyPaths", .data_key = "keyData", .datas_key = "keyDatas"},
        .rekor = {.path_key = "rekorPublicKeyPath",
            .paths_key = "rekorPublicKeyPaths",
            .data_key = "rekorPublicKeyData",
            .datas_key = "rekorPublicKeyDatas"},
    };
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"keyPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->keys.path},
        {"keyPaths", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->keys.paths},
        {"keyData", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->keys.data},
        {"keyDatas", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->keys.datas},
        {"fulcio", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &parts->fulcio},
        {"pki", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &parts->pki},
        {"rekorPublicKeyPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->rekor.path},
        {"rekorPublicKeyPaths", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->rekor.paths},
        {"rekorPublicKeyData", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->rekor.data},
        {"rekorPublicKeyDatas", GP_JSON_ANY, GP_JSON_OPTIONAL, &parts->rekor.datas},
        {"signedIdentity", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &parts->identity},
        {NULL},
    };
    return gp_json_fields(value, place, fields, TRUE, error);
}

/* Who may sign: keys, a Fulcio identity or a private PKI, one of them. */
static gboolean parse_signers(GpRequirement *requirement, const SigstoreParts *parts, const char *place, GError **error)
{
    if (!take_keys(requirement, &parts->keys, place, FALSE, error))
        return FALSE;
    guint kinds = (requirement->keys->len > 0) + (parts->fulcio != NULL) + (parts->pki != NULL);
    if (kinds != 1)
        return refuse(error, place,
            kinds ? "keys, \"fulcio\" and \"pki\" exclude each other"
                  : "nothing says who may sign\nWrite one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki.");
    g_autofree char *fulcio_place = gp_json_path_key(place, "fulcio");
    g_autofree char *pki_place = gp_json_path_key(place, "pki");
    if (parts->fulcio && !check_fulcio(parts->fulcio, fulcio_place, error))
        return FALSE;
    return !parts->pki || check_pki(parts->pki, pki_place, error);
}

/* The reference implementation takes "rekorPublicKeyPath":"" for absent and so drops the requirement silently; here a
 * Rekor key that is written is a Rekor key that is required. */
static gboolean parse_sigstore_signed(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    SigstoreParts parts;
    gboolean rekor = FALSE;
    if (!find_sigstore_parts(value, place, &parts, error) || !parse_signers(requirement, &parts, place, error) ||
        !check_forms(&parts.rekor, place, &rekor, error))
        return FALSE;
    if (parts.fulcio && !rekor)
        return refuse(error, place,
            "\"fulcio\" needs a Rekor key\nIts certificates live for minutes; only a log entry "
            "says when they were used.");
    if (parts.pki && rekor)
        return refuse(error, place, "\"pki\" and Rekor keys exclude each other");
    if (parts.fulcio || parts.pki || rekor)
        requirement->unsupported = g_strdup(parts.fulcio ? "fulcio" : parts.pki ? "pki" : "rekorPublicKey");
    return parse_identity(requirement, parts.identity, place, "signedIdentity", error);
}

static gboolean parse_signed_base_layer(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL, *identity = NULL;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"baseLayerIdentity", GP_JSON_OBJECT, GP_JSON_MANDATORY, &identity},
        {NULL},
    };
    requirement->unsupported = g_strdup("signedBaseLayer");
    return gp_json_fields(value, place, fields, TRUE, error) &&
           parse_identity(requirement, identity, place, "baseLayerIdentity", error);
}

GpRequirement *gp_requirement_parse(json_t *value, const char *place, GError **error)
{
    g_autoptr(GpRequirement) requirement = g_new0(GpRequirement, 1);
    requirement->path = g_strdup(place);
    requirement->keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_key_source_free);
    if (!parse_type(value, place, &requirement->type, error))
        return NULL;
    gboolean good = FALSE;
    switch (requirement->type) {
    case GP_REQUIREMENT_REJECT:
    case GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING:
        good = parse_bare(requirement, value, place, error);
        break;
    case GP_REQUIREMENT_SIGNED_BY:
        good = parse_signed_by(requirement, value, place, error);
        break;
    case GP_REQUIREMENT_SIGSTORE_SIGNED:
        good = parse_sigstore_signed(requirement, value, place, error);
        break;
    case GP_REQUIREMENT_SIGNED_BASE_LAYER:
        good = parse_signed_base_layer(requirement, value, place, error);
        break;
    }
    return good ? g_steal_pointer(&requirement) : NULL;
}
