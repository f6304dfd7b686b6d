#include "policy/identity.h"

#include "base/error.h"

static gboolean same_repository(const GpReference *a, const GpReference *b)
{
    return !strcmp(a->domain, b->domain) && !strcmp(a->path, b->path);
}

static gboolean equal(const GpReference *a, const GpReference *b)
{
    return same_repository(a, b) && g_strcmp0(a->tag, b->tag) == 0 && a->has_digest == b->has_digest &&
           (!a->has_digest || gp_digest_equal(&a->digest, &b->digest));
}

static gboolean match_exact(const GpReference *intended, const GpReference *stated)
{
    return !gp_reference_is_name_only(intended) && !gp_reference_is_name_only(stated) && equal(intended, stated);
}

static gboolean match_repo_digest_or_exact(const GpReference *intended, const GpReference *stated)
{
    if (gp_reference_is_name_only(stated))
        return FALSE;
    if (intended->tag)
        return equal(intended, stated);
    return intended->has_digest && same_repository(intended, stated);
}

/* @intended with the rule's prefix replaced by its signed prefix; @intended itself, copied, when the prefix is not its
 * own. NULL when the result is no normalized reference ("docker.io/app" lacks "library/", "vendor.example" lacks a
 * repository). */
static GpReference *remap(const GpIdentityRule *rule, const GpReference *intended)
{
    g_autofree char *name = gp_reference_name(intended);
    g_autofree char *whole = gp_reference_to_string(intended);
    gsize length = strlen(rule->prefix);
    if (strncmp(name, rule->prefix, length) != 0 || (name[length] != '\0' && name[length] != '/'))
        return gp_reference_parse_named(whole, NULL);
    g_autofree char *replaced = g_strconcat(rule->signed_prefix, whole + length, NULL);
    g_autoptr(GpReference) result = gp_reference_parse_named(replaced, NULL);
    g_autofree char *again = result ? gp_reference_to_string(result) : NULL;
    return g_strcmp0(again, replaced) == 0 ? g_steal_pointer(&result) : NULL;
}

static gboolean match_remapped(const GpIdentityRule *rule, const GpReference *intended, const GpReference *stated)
{
    g_autoptr(GpReference) remapped = remap(rule, intended);
    return remapped && match_repo_digest_or_exact(remapped, stated);
}

static gboolean match_text(const char *wanted, gboolean whole, const GpReference *stated)
{
    g_autofree char *text = whole ? gp_reference_to_string(stated) : gp_reference_name(stated);
    return g_strcmp0(wanted, text) == 0;
}

static gboolean match(
    const GpIdentityRule *rule, GpIdentityKind kind, const GpReference *intended, const GpReference *stated)
{
    if (!rule && kind == GP_IDENTITY_COSIGN && gp_reference_is_name_only(stated))
        return same_repository(intended, stated);
    switch (rule ? rule->type : GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT) {
    case GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT:
        return match_repo_digest_or_exact(intended, stated);
    case GP_IDENTITY_MATCH_EXACT:
        return match_exact(intended, stated);
    case GP_IDENTITY_MATCH_REPOSITORY:
        return same_repository(intended, stated);
    case GP_IDENTITY_EXACT_REFERENCE:
        return !gp_reference_is_name_only(stated) && match_text(rule->reference, TRUE, stated);
    case GP_IDENTITY_EXACT_REPOSITORY:
        return match_text(rule->reference, FALSE, stated);
    case GP_IDENTITY_REMAP:
        return match_remapped(rule, intended, stated);
    }
    return FALSE;
}

gboolean gp_identity_match(
    const GpIdentityRule *rule, GpIdentityKind kind, const GpReference *intended, const char *stated, GError **error)
{
    const char *name = gp_identity_type_name(rule ? rule->type : GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT);
    if (!rule && kind == GP_IDENTITY_BUNDLE && !stated)
        return TRUE;
    if (!stated || !*stated) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "identity-not-stated: the signature names no image, %s%s cannot hold", name, rule ? "" : " (the default)");
        return FALSE;
    }
    g_autofree char *shown = gp_escape(stated, -1, 300);
    g_autoptr(GpReference) parsed = gp_reference_parse_named(stated, NULL);
    if (!parsed) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "identity-mismatch: the signature is for \"%s\", which is no image reference", shown);
        return FALSE;
    }
    if (match(rule, kind, intended, parsed))
        return TRUE;
    g_autofree char *wanted = gp_reference_to_string(intended);
    g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
        "identity-mismatch: the signature is for \"%s\", asked for is \"%s\" (%s%s)", shown, wanted, name,
        rule ? "" : ", the default");
    return FALSE;
}
