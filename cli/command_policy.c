/* policy check, policy explain, policy match: what a policy says, without any network. */
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/requirement_text.h"
#include "policy/identity.h"
#include "policy/policy.h"
#include "puller/resource.h"
#include "puller/source.h"

static GpPolicy *load(const GpContext *context, const char *location, GError **error)
{
    g_autofree char *absolute = strstr(location, ":/") ? g_strdup(location) : g_canonicalize_filename(location, NULL);
    const GpPullOptions *options = context->pull;
    g_autoptr(GpResources) resources = gp_resources_new(options->cdh_socket, options->resource_endpoint);
    if (gp_resource_is_remote(absolute) && !gp_resources_connect(resources, options->verbose, error))
        return NULL;
    g_autoptr(GBytes) text = gp_resource_fetch(resources, absolute, GP_LIMIT_POLICY, "policy", error);
    return text ? gp_policy_parse(text, location, error) : NULL;
}

/* The one that pulls would use. */
static GpPolicy *load_configured(const GpContext *context, GError **error)
{
    const GpPullOptions *options = context->pull;
    if (options->policy)
        return load(context, options->policy, error);
    if (options->policy_text) {
        g_autoptr(GBytes) text = g_bytes_new(options->policy_text, strlen(options->policy_text));
        return gp_policy_parse(text, "inline policy", error);
    }
    g_set_error(error, GP_ERROR, GP_ERROR_POLICY,
        "there is no policy, and without one every image is refused\nName one: --policy FILE.");
    return NULL;
}

gboolean gp_command_policy_check(GpContext *context, int *status, GError **error)
{
    g_autoptr(GpPolicy) policy = load(context, context->words[0], error);
    if (!policy)
        return FALSE;
    if (context->json)
        gp_print_json(json_pack("{s:b, s:s}", "valid", 1, "policy", context->words[0]));
    else if (!context->quiet)
        gp_print("%s: a valid policy\n", context->words[0]);
    *status = 0;
    return TRUE;
}

/* The directory, for oci with its tag first, and its parents. */
static void add_local_scopes(json_t *list, const GpImageName *name)
{
    g_autofree char *scope = gp_image_name_scope(name);
    json_array_append_new(list, json_string(scope));
    if (name->tag)
        json_array_append_new(list, json_string(name->directory));
    g_autofree char *path = g_strdup(name->directory);
    for (char *slash = strrchr(path, '/'); slash && slash != path; slash = strrchr(path, '/')) {
        *slash = '\0';
        json_array_append_new(list, json_string(path));
    }
}

static json_t *scopes_tried(const GpReference *reference, const GpImageName *name)
{
    json_t *list = json_array();
    g_auto(GStrv) scopes = reference ? gp_reference_scopes(reference) : NULL;
    for (char **scope = scopes; scope && *scope; scope++)
        json_array_append_new(list, json_string(*scope));
    if (!reference)
        add_local_scopes(list, name);
    json_array_append_new(list, json_string(""));
    json_array_append_new(list, json_string("default"));
    return list;
}

static void explain(
    const GpContext *context, const GpPolicy *policy, const GpImageName *name, const GpReference *reference)
{
    const char *scope;
    const char *transport = reference ? "docker" : gp_source_type_name(name->type);
    g_autofree char *local = reference ? NULL : gp_image_name_scope(name);
    GPtrArray *requirements = gp_policy_lookup(policy, transport, reference, local, &scope);
    g_autoptr(json_t) tried = scopes_tried(reference, name);
    g_autoptr(json_t) list = json_array();
    g_autofree char *image = reference ? gp_reference_to_string(reference) : g_strdup(context->words[0]);
    if (!context->json) {
        gp_print("image   %s\ntried   (transport %s)\n", image, transport);
        for (size_t i = 0; i < json_array_size(tried); i++)
            gp_print("  %s\n",
                json_string_length(json_array_get(tried, i)) ? json_string_value(json_array_get(tried, i)) : "\"\"");
        gp_print("matched %s\n", scope);
    }
    for (guint i = 0; i < requirements->len; i++) {
        if (!context->json)
            gp_requirement_print(requirements->pdata[i], 0);
        json_array_append_new(list, gp_requirement_to_json(requirements->pdata[i]));
    }
    if (context->json)
        gp_print_json(json_pack("{s:s, s:s, s:O, s:s, s:O}", "image", image, "transport", transport, "scopes", tried,
            "scope", scope, "requirements", list));
}

gboolean gp_command_policy_explain(GpContext *context, int *status, GError **error)
{
    g_autoptr(GpImageName) name = gp_image_name_parse(context->words[0], error);
    g_autoptr(GpReference) as = NULL;
    if (!name || (context->pull->as && !(as = gp_reference_parse(context->pull->as, error))))
        return FALSE;
    g_autoptr(GpPolicy) policy = load_configured(context, error);
    if (!policy)
        return FALSE;
    explain(context, policy, name, as ? as : name->reference);
    *status = 0;
    return TRUE;
}

gboolean gp_command_policy_match(GpContext *context, int *status, GError **error)
{
    g_autoptr(GpIdentityRule) rule = NULL;
    if (context->identity) {
        g_autoptr(json_t) json =
            gp_json_parse(context->identity, strlen(context->identity), GP_LIMIT_POLICY, "--identity", error);
        if (!json || !(rule = gp_identity_rule_parse(json, "$", error)))
            return FALSE;
    }
    g_autoptr(GpReference) intended = gp_reference_parse(context->words[0], error);
    if (!intended)
        return FALSE;
    g_autoptr(GError) refusal = NULL;
    gboolean matches = gp_identity_match(rule, GP_IDENTITY_SIMPLE_SIGNING, intended, context->words[1], &refusal);
    if (context->json)
        gp_print_json(json_pack("{s:b, s:s}", "matches", matches, "reason", matches ? "matches" : refusal->message));
    else if (!context->quiet)
        gp_print("%s\n", matches ? "matches" : refusal->message);
    *status = matches ? 0 : gp_error_info(GP_ERROR_POLICY)->exit_status;
    return TRUE;
}
