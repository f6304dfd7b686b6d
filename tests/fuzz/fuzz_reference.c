/* FUZZ_LIBS: policy base
 * References and scopes: the canonical form of what is taken is taken again, as the same; its scopes are legal scope
 * keys; it matches itself by every rule. */
#include "base/error.h"
#include "policy/identity.h"
#include "policy/reference.h"
#include "policy/scope.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void check_scopes(const GpReference *reference)
{
    g_auto(GStrv) scopes = gp_reference_scopes(reference);
    for (char **scope = scopes; *scope; scope++) {
        g_autofree char *key = gp_scope_check_docker(*scope, NULL);
        g_assert_cmpstr(key, ==, *scope);
    }
}

static void check_reference(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpReference) reference = gp_reference_parse(text, &error);
    g_assert_true((reference == NULL) == (error != NULL));
    if (!reference)
        return;
    g_assert_true(reference->tag || reference->has_digest);
    g_autofree char *canonical = gp_reference_to_string(reference);
    g_autoptr(GpReference) again = gp_reference_parse(canonical, NULL);
    g_autofree char *twice = again ? gp_reference_to_string(again) : NULL;
    g_assert_cmpstr(canonical, ==, twice);
    check_scopes(reference);
    for (int type = GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT; type <= GP_IDENTITY_MATCH_REPOSITORY; type++) {
        GpIdentityRule rule = {.type = (GpIdentityType) type};
        g_assert_true(gp_identity_match(&rule, GP_IDENTITY_SIMPLE_SIGNING, reference, canonical, NULL));
    }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree char *text = g_strndup((const char *) data, size);
    check_reference(text);
    g_autoptr(GpReference) named = gp_reference_parse_named(text, NULL);
    g_autofree char *key = gp_scope_check_docker(text, NULL);
    g_autofree char *again = key ? gp_scope_check_docker(key, NULL) : NULL;
    g_assert_cmpstr(key, ==, again);
    (void) gp_scope_check_path(text, NULL);
    g_autoptr(GpReference) intended = gp_reference_parse("r.example/app:1", NULL);
    GpIdentityRule remap = {.type = GP_IDENTITY_REMAP, .prefix = key, .signed_prefix = key};
    (void) gp_identity_match(key ? &remap : NULL, GP_IDENTITY_COSIGN, intended, text, NULL);
    return 0;
}
