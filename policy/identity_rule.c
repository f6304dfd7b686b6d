#include "policy/identity_rule.h"

#include "base/error.h"
#include "base/json.h"
#include "policy/name_grammar.h"
#include "policy/reference.h"
#include "policy/scope.h"

static const char *const type_names[] = {
    [GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT] = "matchRepoDigestOrExact",
    [GP_IDENTITY_MATCH_EXACT] = "matchExact",
    [GP_IDENTITY_MATCH_REPOSITORY] = "matchRepository",
    [GP_IDENTITY_EXACT_REFERENCE] = "exactReference",
    [GP_IDENTITY_EXACT_REPOSITORY] = "exactRepository",
    [GP_IDENTITY_REMAP] = "remapIdentity",
};

const char *gp_identity_type_name(GpIdentityType type)
{
    return (gsize) type < G_N_ELEMENTS(type_names) ? type_names[type] : "unknown";
}

void gp_identity_rule_free(GpIdentityRule *rule)
{
    if (!rule)
        return;
    g_free(rule->reference);
    g_free(rule->prefix);
    g_free(rule->signed_prefix);
    g_free(rule);
}

static gboolean parse_type(json_t *value, const char *place, GpIdentityType *type, GError **error)
{
    json_t *name = NULL;
    const GpJsonField fields[] = {{"type", GP_JSON_STRING, GP_JSON_MANDATORY, &name}, {NULL}};
    if (!gp_json_fields(value, place, fields, FALSE, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(type_names); i++) {
        if (!strcmp(json_string_value(name), type_names[i])) {
            *type = (GpIdentityType) i;
            return TRUE;
        }
    }
    g_autofree char *shown = gp_escape(json_string_value(name), -1, 100);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "%s.type: unknown type \"%s\" of signedIdentity\nKnown are matchExact, matchRepoDigestOrExact, "
        "matchRepository, exactReference, exactRepository and remapIdentity.",
        place, shown);
    return FALSE;
}

static gboolean parse_plain(json_t *value, const char *place, GpIdentityRule *rule, GError **error)
{
    json_t *type = NULL;
    const GpJsonField fields[] = {{"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type}, {NULL}};
    return gp_json_fields(value, place, fields, TRUE, error);
}

static gboolean parse_exact(json_t *value, const char *place, GpIdentityRule *rule, GError **error)
{
    gboolean whole = rule->type == GP_IDENTITY_EXACT_REFERENCE;
    const char *key = whole ? "dockerReference" : "dockerRepository";
    json_t *type = NULL, *text = NULL;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {key, GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &text},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error))
        return FALSE;
    g_autoptr(GpReference) reference = gp_reference_parse_named(json_string_value(text), error);
    if (!reference) {
        g_prefix_error(error, "%s.%s: ", place, key);
        return FALSE;
    }
    if (whole == gp_reference_is_name_only(reference)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.%s: %s", place, key,
            whole ? "needs a tag or a digest\nFor a whole repository write exactRepository."
                  : "must have neither tag nor digest\nFor one tag or digest write exactReference.");
        return FALSE;
    }
    rule->reference = whole ? gp_reference_to_string(reference) : gp_reference_name(reference);
    return TRUE;
}

/* A prefix is what a normalized name can begin with; anything else would never match and so silently never remap. */
static char *parse_prefix(json_t *value, const char *place, const char *key, GError **error)
{
    const char *text = json_string_value(value);
    g_autoptr(GError) cause = NULL;
    g_autofree char *scope = gp_scope_check_docker(text, &cause);
    const char *reason = NULL;
    gsize domain = strcspn(text, "/");
    if (!scope)
        reason = cause->message;
    else if (text[0] == '*' || strchr(text, '@') || (text[domain] == '/' && strchr(text + domain, ':')))
        reason = "a prefix has no wildcard, tag or digest";
    else if (!gp_names_a_domain(text, domain))
        reason = "it must begin with a host that has a '.' or a port, or is localhost";
    if (!reason)
        return g_strdup(text);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.%s: %s", place, key, reason);
    return NULL;
}

static gboolean parse_remap(json_t *value, const char *place, GpIdentityRule *rule, GError **error)
{
    json_t *type = NULL, *prefix = NULL, *signed_prefix = NULL;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"prefix", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &prefix},
        {"signedPrefix", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &signed_prefix},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, TRUE, error))
        return FALSE;
    rule->prefix = parse_prefix(prefix, place, "prefix", error);
    if (!rule->prefix)
        return FALSE;
    rule->signed_prefix = parse_prefix(signed_prefix, place, "signedPrefix", error);
    return rule->signed_prefix != NULL;
}

GpIdentityRule *gp_identity_rule_parse(json_t *value, const char *place, GError **error)
{
    g_autoptr(GpIdentityRule) rule = g_new0(GpIdentityRule, 1);
    if (!parse_type(value, place, &rule->type, error))
        return NULL;
    gboolean good = FALSE;
    switch (rule->type) {
    case GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT:
    case GP_IDENTITY_MATCH_EXACT:
    case GP_IDENTITY_MATCH_REPOSITORY:
        good = parse_plain(value, place, rule, error);
        break;
    case GP_IDENTITY_EXACT_REFERENCE:
    case GP_IDENTITY_EXACT_REPOSITORY:
        good = parse_exact(value, place, rule, error);
        break;
    case GP_IDENTITY_REMAP:
        good = parse_remap(value, place, rule, error);
        break;
    }
    return good ? g_steal_pointer(&rule) : NULL;
}
