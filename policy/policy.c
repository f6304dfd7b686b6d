#include "policy/policy.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/scope.h"

/* A scope's requirements and its name for people. */
typedef struct {
    char *shown;
    GPtrArray *requirements; /* GpRequirement* */
} Scope;

struct _GpPolicy {
    Scope *fallback;
    GHashTable *transports; /* name → (GHashTable*: scope as looked up → Scope*) */
};

static void scope_free(gpointer data)
{
    Scope *scope = data;
    if (!scope)
        return;
    g_free(scope->shown);
    g_ptr_array_unref(scope->requirements);
    g_free(scope);
}

void gp_policy_free(GpPolicy *policy)
{
    if (!policy)
        return;
    scope_free(policy->fallback);
    g_hash_table_unref(policy->transports);
    g_free(policy);
}

/* Anybody can encrypt for the key broker's public key, so that would be a policy for nothing that looks like one. */
static gboolean says_only_encrypted(GPtrArray *requirements)
{
    for (guint i = 0; i < requirements->len; i++)
        if (((const GpRequirement *) requirements->pdata[i])->type != GP_REQUIREMENT_ENCRYPTED)
            return FALSE;
    return TRUE;
}

/* The list @value at @place; @shown is taken. */
static Scope *parse_scope(json_t *value, const char *place, char *shown, GError **error)
{
    Scope *scope = g_new0(Scope, 1);
    scope->shown = shown;
    scope->requirements = g_ptr_array_new_with_free_func((GDestroyNotify) gp_requirement_free);
    gboolean good = json_is_array(value) && json_array_size(value) > 0;
    if (!good)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "%s: must be a list of at least one requirement\nTo refuse everything write [{\"type\":\"reject\"}].",
            place);
    for (gsize i = 0; good && i < json_array_size(value); i++) {
        g_autofree char *element = gp_json_path_index(place, i);
        GpRequirement *requirement = gp_requirement_parse(json_array_get(value, i), element, error);
        good = requirement != NULL;
        if (good)
            g_ptr_array_add(scope->requirements, requirement);
    }
    if (good && says_only_encrypted(scope->requirements)) {
        good = FALSE;
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "%s: guest-pull/encrypted alone says nothing about who made the image\nAdd a requirement that does, or "
            "insecureAcceptAnything.",
            place);
    }
    if (good)
        return scope;
    scope_free(scope);
    return NULL;
}

/* The key under which @scope is looked up. Scopes of transports that this program does not have are kept as they are.
 */
static char *normalize_scope(const char *transport, const char *scope, const char *place, GError **error)
{
    g_autofree char *key = NULL;
    g_autoptr(GError) cause = NULL;
    if (!*scope)
        key = g_strdup("");
    else if (!strcmp(transport, "docker"))
        key = gp_scope_check_docker(scope, &cause);
    else if ((!strcmp(transport, "dir") || !strcmp(transport, "oci")) && !gp_scope_check_path(scope, &cause))
        key = NULL;
    else
        key = g_strdup(scope);
    if (!key)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: this scope could never match: %s", place, cause->message);
    return g_steal_pointer(&key);
}

static gboolean parse_transport(
    json_t *value, const char *transport, const char *place, GHashTable *scopes, GError **error)
{
    if (!json_is_object(value)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must be an object", place);
        return FALSE;
    }
    const char *name;
    json_t *list;
    json_object_foreach(value, name, list)
    {
        g_autofree char *scope_place = gp_json_path_key(place, name);
        g_autofree char *key = normalize_scope(transport, name, scope_place, error);
        if (!key)
            return FALSE;
        if (g_hash_table_contains(scopes, key)) {
            g_set_error(
                error, GP_ERROR, GP_ERROR_INVALID, "%s: the same scope as another one, in other letters", scope_place);
            return FALSE;
        }
        char *shown = g_strconcat(transport, ": ", *key ? key : "(all)", NULL);
        Scope *scope = parse_scope(list, scope_place, shown, error);
        if (!scope)
            return FALSE;
        g_hash_table_insert(scopes, g_steal_pointer(&key), scope);
    }
    return TRUE;
}

/* containers-transports(5). A name outside this list is a spelling mistake that would leave its rules without effect.
 */
static const char *const transport_names[] = {"docker", "oci", "dir", "atomic", "containers-storage", "docker-archive",
    "docker-daemon", "oci-archive", "ostree", "sif", "tarball"};

static gboolean parse_transports(json_t *value, GHashTable *transports, GError **error)
{
    json_t *values[G_N_ELEMENTS(transport_names)] = {NULL};
    GpJsonField fields[G_N_ELEMENTS(transport_names) + 1] = {{NULL}};
    for (gsize i = 0; i < G_N_ELEMENTS(transport_names); i++)
        fields[i] = (GpJsonField){transport_names[i], GP_JSON_OBJECT, GP_JSON_OPTIONAL, &values[i]};
    if (!gp_json_fields(value, "$.transports", fields, TRUE, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(transport_names); i++) {
        if (!values[i])
            continue;
        g_autofree char *place = gp_json_path_key("$.transports", transport_names[i]);
        GHashTable *scopes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, scope_free);
        g_hash_table_insert(transports, g_strdup(transport_names[i]), scopes);
        if (!parse_transport(values[i], transport_names[i], place, scopes, error))
            return FALSE;
    }
    return TRUE;
}

static GpPolicy *parse_document(json_t *document, GError **error)
{
    json_t *fallback = NULL, *transports = NULL;
    const GpJsonField fields[] = {
        {"default", GP_JSON_ARRAY, GP_JSON_MANDATORY, &fallback},
        {"transports", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &transports},
        {NULL},
    };
    if (!gp_json_fields(document, "$", fields, TRUE, error))
        return NULL;
    g_autoptr(GpPolicy) policy = g_new0(GpPolicy, 1);
    policy->transports = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) g_hash_table_unref);
    policy->fallback = parse_scope(fallback, "$.default", g_strdup("default"), error);
    if (!policy->fallback || (transports && !parse_transports(transports, policy->transports, error)))
        return NULL;
    return g_steal_pointer(&policy);
}

GpPolicy *gp_policy_parse(GBytes *text, const char *what, GError **error)
{
    gsize length = 0;
    const void *data = g_bytes_get_data(text, &length);
    g_autoptr(json_t) document = gp_json_parse(data ? data : "", length, GP_LIMIT_POLICY, what, error);
    if (!document)
        return NULL;
    GpPolicy *policy = parse_document(document, error);
    if (!policy)
        g_prefix_error(error, "%s: ", what);
    return policy;
}

static const Scope *find_reference(GHashTable *scopes, const GpReference *reference)
{
    g_auto(GStrv) names = gp_reference_scopes(reference);
    const Scope *found = NULL;
    for (char **name = names; *name && !found; name++)
        found = g_hash_table_lookup(scopes, *name);
    return found;
}

/* "/a/b:name", "/a/b", "/a"; "/" is the same as the transport's scope "". */
static const Scope *find_path(GHashTable *scopes, const char *transport, const char *local_scope)
{
    g_autofree char *path = g_strdup(local_scope);
    const Scope *found = g_hash_table_lookup(scopes, path);
    char *name = strcmp(transport, "oci") == 0 ? strchr(strrchr(path, '/'), ':') : NULL;
    if (name && !found) {
        *name = '\0';
        found = g_hash_table_lookup(scopes, path);
    }
    char *slash;
    while (!found && (slash = strrchr(path, '/')) && slash != path) {
        *slash = '\0';
        found = g_hash_table_lookup(scopes, path);
    }
    return found;
}

GPtrArray *gp_policy_lookup(const GpPolicy *policy, const char *transport, const GpReference *reference,
    const char *local_scope, const char **scope)
{
    GHashTable *scopes = g_hash_table_lookup(policy->transports, transport);
    const Scope *found = NULL;
    if (scopes && reference && !strcmp(transport, "docker"))
        found = find_reference(scopes, reference);
    else if (scopes && local_scope && local_scope[0] == '/')
        found = find_path(scopes, transport, local_scope);
    if (scopes && !found)
        found = g_hash_table_lookup(scopes, "");
    if (!found)
        found = policy->fallback;
    *scope = found->shown;
    return found->requirements;
}
