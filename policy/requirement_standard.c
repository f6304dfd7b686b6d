/* The requirements of containers-policy.json(5). */
#include "base/error.h"
#include "base/json.h"
#include "policy/requirement_parse.h"

#define TEXT (GP_JSON_MANDATORY | GP_JSON_NON_EMPTY)
#define COVERS "guest-pull/covers"

static gboolean take_keys(
    GpRequirement *requirement, const GpKeyForms *forms, const char *place, gboolean mandatory, GError **error)
{
    GPtrArray *keys = NULL;
    if (!gp_key_forms_read(forms, place, &keys, error))
        return FALSE;
    if (!keys)
        return !mandatory ||
               gp_requirement_refuse(error, place, "there is no key\nWrite one of keyPath, keyPaths and keyData.");
    g_ptr_array_unref(requirement->keys);
    requirement->keys = keys;
    return TRUE;
}

/* A key more would be a requirement that somebody believes in. */
gboolean gp_requirement_parse_bare(GpRequirement *requirement, json_t *value, const char *place, GError **error)
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

gboolean gp_requirement_parse_signed_by(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL, *key_type = NULL, *identity = NULL, *covers = NULL;
    GpKeyForms forms = {.path_key = "keyPath", .paths_key = "keyPaths", .data_key = "keyData"};
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"keyType", GP_JSON_STRING, TEXT, &key_type},
        {"keyPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &forms.path},
        {"keyPaths", GP_JSON_ANY, GP_JSON_OPTIONAL, &forms.paths},
        {"keyData", GP_JSON_ANY, GP_JSON_OPTIONAL, &forms.data},
        {"signedIdentity", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &identity},
        {COVERS, GP_JSON_STRING, GP_JSON_OPTIONAL, &covers},
        {NULL},
    };
    return gp_json_fields(value, place, fields, TRUE, error) && parse_key_type(requirement, key_type, place, error) &&
           take_keys(requirement, &forms, place, TRUE, error) &&
           gp_requirement_take_identity(requirement, identity, place, "signedIdentity", error) &&
           gp_requirement_take_covers(requirement, covers, place, COVERS, error);
}

static gboolean parse_fulcio(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *issuer = NULL, *email = NULL;
    GpKeyForms ca = {.path_key = "caPath", .data_key = "caData"};
    const GpJsonField fields[] = {
        {"caPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &ca.path},
        {"caData", GP_JSON_ANY, GP_JSON_OPTIONAL, &ca.data},
        {"oidcIssuer", GP_JSON_STRING, TEXT, &issuer},
        {"subjectEmail", GP_JSON_STRING, TEXT, &email},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error) ||
        !gp_key_forms_read_one(&ca, place, &requirement->fulcio, error))
        return FALSE;
    if (!requirement->fulcio)
        return gp_requirement_refuse(error, place, "there is no CA\nWrite one of caPath and caData.");
    g_ptr_array_add(
        requirement->signers, gp_signer_rule_new_email(json_string_value(issuer), json_string_value(email)));
    return TRUE;
}

static gboolean parse_pki(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *email = NULL, *hostname = NULL;
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
    GpPkiRule *pki = requirement->pki = g_new0(GpPkiRule, 1);
    if (!gp_json_fields(value, place, fields, TRUE, error) ||
        !gp_key_forms_read_one(&roots, place, &pki->roots, error) ||
        !gp_key_forms_read_one(&intermediates, place, &pki->intermediates, error))
        return FALSE;
    if (!pki->roots)
        return gp_requirement_refuse(error, place, "there is no root CA\nWrite one of caRootsPath and caRootsData.");
    pki->email = g_strdup(json_string_value(email));
    pki->hostname = g_strdup(json_string_value(hostname));
    return email || hostname ||
           gp_requirement_refuse(
               error, place, "anyone under these CAs could sign\nWrite subjectEmail, subjectHostname or both.");
}

typedef struct {
    GpKeyForms keys, rekor;
    json_t *fulcio, *pki, *identity, *covers;
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
        {COVERS, GP_JSON_STRING, GP_JSON_OPTIONAL, &parts->covers},
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
        return gp_requirement_refuse(error, place,
            kinds ? "keys, \"fulcio\" and \"pki\" exclude each other"
                  : "nothing says who may sign\nWrite one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki.");
    g_autofree char *fulcio_place = gp_json_path_key(place, "fulcio");
    g_autofree char *pki_place = gp_json_path_key(place, "pki");
    if (parts->fulcio && !parse_fulcio(requirement, parts->fulcio, fulcio_place, error))
        return FALSE;
    return !parts->pki || parse_pki(requirement, parts->pki, pki_place, error);
}

/* The reference implementation takes "rekorPublicKeyPath":"" for absent and so drops the requirement silently; here a
 * Rekor key that is written is a Rekor key that is required. */
static gboolean take_rekor_keys(GpRequirement *requirement, const GpKeyForms *forms, const char *place, GError **error)
{
    GPtrArray *keys = NULL;
    if (!gp_key_forms_read(forms, place, &keys, error))
        return FALSE;
    if (!keys)
        return TRUE;
    g_ptr_array_unref(requirement->rekor_keys);
    requirement->rekor_keys = keys;
    return TRUE;
}

gboolean gp_requirement_parse_sigstore(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    SigstoreParts parts;
    if (!find_sigstore_parts(value, place, &parts, error) || !parse_signers(requirement, &parts, place, error) ||
        !take_rekor_keys(requirement, &parts.rekor, place, error))
        return FALSE;
    if (requirement->fulcio && requirement->rekor_keys->len == 0)
        return gp_requirement_refuse(error, place,
            "\"fulcio\" needs a Rekor key\nIts certificates live for minutes; only a log entry "
            "says when they were used.");
    if (requirement->pki && requirement->rekor_keys->len > 0)
        return gp_requirement_refuse(error, place, "\"pki\" and Rekor keys exclude each other");
    return gp_requirement_take_identity(requirement, parts.identity, place, "signedIdentity", error) &&
           gp_requirement_take_covers(requirement, parts.covers, place, COVERS, error);
}

gboolean gp_requirement_parse_base_layer(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL, *identity = NULL;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"baseLayerIdentity", GP_JSON_OBJECT, GP_JSON_MANDATORY, &identity},
        {NULL},
    };
    return gp_json_fields(value, place, fields, TRUE, error) &&
           gp_requirement_take_identity(requirement, identity, place, "baseLayerIdentity", error);
}
