/* ref: a reference as the policy will see it. */
#include "base/digest.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "policy/reference.h"

static json_t *describe(const GpReference *reference)
{
    g_autofree char *canonical = gp_reference_to_string(reference);
    g_autofree char *digest = reference->has_digest ? gp_digest_to_string(&reference->digest) : NULL;
    g_auto(GStrv) scopes = gp_reference_scopes(reference);
    json_t *list = json_array();
    for (char **scope = scopes; *scope; scope++)
        json_array_append_new(list, json_string(*scope));
    return json_pack("{s:s, s:s, s:s?, s:s?, s:s, s:o}", "domain", reference->domain, "path", reference->path, "tag",
        reference->tag, "digest", digest, "canonical", canonical, "scopes", list);
}

gboolean gp_command_ref(GpContext *context, int *status, GError **error)
{
    g_autoptr(GpReference) reference = gp_reference_parse(context->words[0], error);
    if (!reference)
        return FALSE;
    *status = 0;
    if (context->json) {
        gp_print_json(describe(reference));
        return TRUE;
    }
    g_autofree char *canonical = gp_reference_to_string(reference);
    g_autofree char *digest = reference->has_digest ? gp_digest_to_string(&reference->digest) : NULL;
    g_auto(GStrv) scopes = gp_reference_scopes(reference);
    gp_print("canonical  %s\ndomain     %s\npath       %s\n", canonical, reference->domain, reference->path);
    if (reference->tag)
        gp_print("tag        %s%s\n", reference->tag, reference->tag_defaulted ? " (not written)" : "");
    if (digest)
        gp_print("digest     %s\n", digest);
    for (char **scope = scopes; *scope; scope++)
        gp_print("%s%s\n", scope == scopes ? "scopes     " : "           ", *scope);
    return TRUE;
}
