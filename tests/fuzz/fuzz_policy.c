/* FUZZ_LIBS: policy base
 * policy.json: whatever is taken has at least one requirement for every image, the same twice, and survives being
 * looked up and visited. */
#include "base/error.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void visit(const GpRequirement *requirement, const GpKeySource *source, gpointer data)
{
    g_assert_true((source->location != NULL) != (source->data != NULL));
}

static void check(const GpPolicy *policy, const char *transport, const char *name, const char *local)
{
    g_autoptr(GpReference) reference = name ? gp_reference_parse(name, NULL) : NULL;
    const char *scope = NULL, *again = NULL;
    GPtrArray *requirements = gp_policy_lookup(policy, transport, reference, local, &scope);
    g_assert_true(scope && requirements && requirements->len > 0);
    g_assert_true(gp_policy_lookup(policy, transport, reference, local, &again) == requirements);
    for (guint i = 0; i < requirements->len; i++) {
        const GpRequirement *requirement = requirements->pdata[i];
        g_assert_cmpstr(gp_requirement_type_name(requirement->type), !=, "unknown");
        g_assert_true(requirement->type != GP_REQUIREMENT_SIGNED_BY || requirement->keys->len > 0);
        g_assert_cmpuint(requirement->threshold, <=, requirement->children->len);
        gp_requirement_visit_sources(requirement, visit, NULL);
    }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GBytes) bytes = g_bytes_new(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPolicy) policy = gp_policy_parse(bytes, "policy", &error);
    g_assert_true((policy == NULL) == (error != NULL));
    if (!policy) {
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        return 0;
    }
    check(policy, "docker", "r.example/ns/app:1", NULL);
    check(policy, "docker", "debian", NULL);
    check(policy, "oci", NULL, "/layouts/x:one");
    check(policy, "dir", NULL, "/images/a");
    check(policy, "nothing", NULL, NULL);
    return 0;
}
