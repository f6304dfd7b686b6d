/* Our own requirements, "guest-pull/…": what a confidential guest needs and containers-policy.json(5) cannot say. */
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/requirement_parse.h"

#define TEXT (GP_JSON_MANDATORY | GP_JSON_NON_EMPTY)
#define LIST (GP_JSON_MANDATORY | GP_JSON_NON_EMPTY)

static gboolean refuse_element(GError **error, const char *place, const char *key, gsize index, const char *reason)
{
    g_autofree char *list = gp_json_path_key(place, key);
    g_autofree char *element = gp_json_path_index(list, index);
    return gp_requirement_refuse(error, element, reason);
}

/* ---- guest-pull/digests */

static gboolean take_digest(GpRequirement *requirement, json_t *value, const char *place, gsize index, GError **error)
{
    GpDigest digest;
    g_autoptr(GError) cause = NULL;
    if (!json_is_string(value))
        return refuse_element(error, place, "digests", index, "must be a string");
    if (!gp_digest_parse(json_string_value(value), &digest, &cause))
        return refuse_element(error, place, "digests", index, cause->message);
    for (guint i = 0; i < requirement->digests->len; i++)
        if (gp_digest_equal(&g_array_index(requirement->digests, GpDigest, i), &digest))
            return refuse_element(error, place, "digests", index, "is listed twice");
    g_array_append_val(requirement->digests, digest);
    return TRUE;
}

gboolean gp_requirement_parse_digests(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL, *digests = NULL, *covers = NULL;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"digests", GP_JSON_ARRAY, LIST, &digests},
        {"covers", GP_JSON_STRING, GP_JSON_OPTIONAL, &covers},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error) ||
        !gp_requirement_take_covers(requirement, covers, place, "covers", error))
        return FALSE;
    for (gsize i = 0; i < json_array_size(digests); i++)
        if (!take_digest(requirement, json_array_get(digests, i), place, i, error))
            return FALSE;
    return TRUE;
}

/* ---- guest-pull/keyless */

/* A number of @key; absent is @otherwise. */
static gboolean take_count(
    json_t *value, guint otherwise, const char *place, const char *key, guint *count, GError **error)
{
    json_int_t number = value ? json_integer_value(value) : (json_int_t) otherwise;
    *count = (guint) CLAMP(number, 0, GP_LIMIT_POLICY_COUNT);
    if (number >= 0 && number <= GP_LIMIT_POLICY_COUNT)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.%s: must be from 0 to %d", place, key, GP_LIMIT_POLICY_COUNT);
    return FALSE;
}

static gboolean take_signers(GpRequirement *requirement, json_t *list, const char *place, GError **error)
{
    g_autofree char *list_place = gp_json_path_key(place, "signers");
    for (gsize i = 0; i < json_array_size(list); i++) {
        g_autofree char *element = gp_json_path_index(list_place, i);
        GpSignerRule *rule = gp_signer_rule_parse(json_array_get(list, i), element, error);
        if (!rule)
            return FALSE;
        g_ptr_array_add(requirement->signers, rule);
    }
    return TRUE;
}

gboolean gp_requirement_parse_keyless(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL, *signers = NULL, *logs = NULL, *scts = NULL, *timestamps = NULL, *identity = NULL;
    json_t *covers = NULL;
    GpKeyForms root = {.path_key = "trustedRootPath", .data_key = "trustedRootData"};
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"trustedRootPath", GP_JSON_ANY, GP_JSON_OPTIONAL, &root.path},
        {"trustedRootData", GP_JSON_ANY, GP_JSON_OPTIONAL, &root.data},
        {"signers", GP_JSON_ARRAY, LIST, &signers},
        {"logs", GP_JSON_INTEGER, GP_JSON_OPTIONAL, &logs},
        {"scts", GP_JSON_INTEGER, GP_JSON_OPTIONAL, &scts},
        {"timestamps", GP_JSON_INTEGER, GP_JSON_OPTIONAL, &timestamps},
        {"signedIdentity", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &identity},
        {"covers", GP_JSON_STRING, GP_JSON_OPTIONAL, &covers},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error) ||
        !gp_key_forms_read_one(&root, place, &requirement->trusted_root, error))
        return FALSE;
    if (!requirement->trusted_root)
        return gp_requirement_refuse(error, place,
            "there is no trusted root\nWrite one of trustedRootPath and trustedRootData (base64 of "
            "trusted_root.json).");
    if (!take_signers(requirement, signers, place, error) ||
        !take_count(logs, 1, place, "logs", &requirement->logs, error) ||
        !take_count(scts, 1, place, "scts", &requirement->scts, error) ||
        !take_count(timestamps, 0, place, "timestamps", &requirement->timestamps, error))
        return FALSE;
    if (requirement->logs + requirement->timestamps == 0)
        return gp_requirement_refuse(error, place,
            "\"logs\" and \"timestamps\" are both 0\nCertificates live for minutes; one of the two must say when the "
            "signature was made.");
    return gp_requirement_take_identity(requirement, identity, place, "signedIdentity", error) &&
           gp_requirement_take_covers(requirement, covers, place, "covers", error);
}

/* ---- guest-pull/threshold */

/* What a signer can satisfy. Anything else would let one of the "several signers" be nobody. */
static gboolean may_be_child(GpRequirementType type)
{
    return type == GP_REQUIREMENT_SIGNED_BY || type == GP_REQUIREMENT_SIGSTORE_SIGNED || type == GP_REQUIREMENT_KEYLESS;
}

static gboolean take_children(GpRequirement *requirement, json_t *list, const char *place, GError **error)
{
    g_autofree char *list_place = gp_json_path_key(place, "of");
    for (gsize i = 0; i < json_array_size(list); i++) {
        json_t *type = json_object_get(json_array_get(list, i), "type");
        /* Looked at before it is parsed, so that thresholds do not nest. */
        if (g_strcmp0(json_string_value(type), gp_requirement_type_name(GP_REQUIREMENT_THRESHOLD)) == 0)
            return refuse_element(error, place, "of", i, "a threshold cannot be inside of another");
        g_autofree char *element = gp_json_path_index(list_place, i);
        GpRequirement *child = gp_requirement_parse(json_array_get(list, i), element, error);
        if (!child)
            return FALSE;
        g_ptr_array_add(requirement->children, child);
        if (!may_be_child(child->type))
            return refuse_element(error, place, "of", i,
                "is not about a signer\nA threshold counts signedBy, sigstoreSigned and guest-pull/keyless.");
        if (child->unsupported && !requirement->unsupported)
            requirement->unsupported = g_strdup(child->unsupported);
    }
    return TRUE;
}

gboolean gp_requirement_parse_threshold(GpRequirement *requirement, json_t *value, const char *place, GError **error)
{
    json_t *type = NULL, *threshold = NULL, *list = NULL;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, TEXT, &type},
        {"threshold", GP_JSON_INTEGER, GP_JSON_MANDATORY, &threshold},
        {"of", GP_JSON_ARRAY, LIST, &list},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error))
        return FALSE;
    gsize size = json_array_size(list);
    json_int_t number = json_integer_value(threshold);
    if (size > GP_LIMIT_POLICY_COUNT) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "%s.of: must have at most %d elements", place, GP_LIMIT_POLICY_COUNT);
        return FALSE;
    }
    if (number < 1 || number > (json_int_t) size) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "%s.threshold: must be from 1 to %zu, the number of elements of \"of\"", place, size);
        return FALSE;
    }
    requirement->threshold = (guint) number;
    return take_children(requirement, list, place, error);
}
