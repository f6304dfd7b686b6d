/* signedIdentity: the six rules, with what a policy may write and what a signature may state. */
#include "policy/identity.h"

#include "base/json.h"
#include "tests/unit/policy/refusal.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define D "@sha256:" HEX
#define OTHER "@sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define D512 "@sha512:" HEX HEX

/* Rules as JSON, ' in place of ". */
#define DEFAULT NULL
#define WRITTEN_DEFAULT "{'type':'matchRepoDigestOrExact'}"
#define EXACT "{'type':'matchExact'}"
#define REPOSITORY "{'type':'matchRepository'}"
#define EXACT_REFERENCE(r) "{'type':'exactReference','dockerReference':'" r "'}"
#define EXACT_REPOSITORY(r) "{'type':'exactRepository','dockerRepository':'" r "'}"
#define REMAP(p, s) "{'type':'remapIdentity','prefix':'" p "','signedPrefix':'" s "'}"

static GpIdentityRule *parse_rule(const char *text, GError **error)
{
    g_autofree char *json = rows_json(text);
    g_autoptr(json_t) value = gp_json_parse(json, strlen(json), 4096, "rule", error);
    return value ? gp_identity_rule_parse(value, "$.rule", error) : NULL;
}

typedef enum { MATCH, MISMATCH, NOT_STATED } Outcome;

typedef struct {
    const char *rule, *intended, *stated;
    Outcome outcome;
} Row;

static void check_row(const Row *row, GpIdentityKind kind)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *label = g_strdup_printf("%s: asked for %s, stated %s", row->rule ? row->rule : "no rule",
        row->intended, row->stated ? row->stated : "nothing");
    g_autoptr(GpIdentityRule) rule = row->rule ? parse_rule(row->rule, &error) : NULL;
    expect_success(error, label);
    g_autoptr(GpReference) intended = gp_reference_parse(row->intended, &error);
    expect_success(error, label);
    gboolean matched = gp_identity_match(rule, kind, intended, row->stated, &error);
    if (row->outcome == MATCH) {
        expect_success(error, label);
        g_assert_true(matched);
        return;
    }
    g_assert_false(matched);
    const char *reason = row->outcome == MISMATCH ? "identity-mismatch: " : "identity-not-stated: ";
    if (error && !g_str_has_prefix(error->message, reason))
        g_error("%s: expected \"%s…\", got \"%s\"", label, reason, error->message);
    expect_refusal(&error, GP_ERROR_SIGNATURE, reason, label);
}

/* Rules that are written, and simple signing without one: the kind of signature makes no difference to the former. */
static const Row rows[] = {
    /* the default: strings equal for a tag, the repository for a digest, never a name alone */
    {DEFAULT, "quay.io/app:1", "quay.io/app:1", MATCH},
    {DEFAULT, "quay.io/app:1", "quay.io/app:2", MISMATCH},
    {DEFAULT, "quay.io/app:1", "quay.io/app", MISMATCH},
    {DEFAULT, "quay.io/app:1", "quay.io/other:1", MISMATCH},
    {DEFAULT, "quay.io/app:1", "ghcr.io/app:1", MISMATCH},
    {DEFAULT, "quay.io/app:1", "quay.io/app" D, MISMATCH},
    {DEFAULT, "quay.io/app:1", "quay.io/app:1" D, MISMATCH},
    {DEFAULT, "quay.io/app" D, "quay.io/app:1", MATCH},
    {DEFAULT, "quay.io/app" D, "quay.io/app" D, MATCH},
    {DEFAULT, "quay.io/app" D, "quay.io/app" OTHER, MATCH},
    {DEFAULT, "quay.io/app" D, "quay.io/app", MISMATCH},
    {DEFAULT, "quay.io/app" D, "quay.io/other:1", MISMATCH},
    {DEFAULT, "quay.io/app:1" D, "quay.io/app:1" D, MATCH},
    {DEFAULT, "quay.io/app:1" D, "quay.io/app:1", MISMATCH},
    {DEFAULT, "quay.io/app:1" D, "quay.io/app" D, MISMATCH},
    {DEFAULT, "quay.io/app:1" D, "quay.io/app:1" OTHER, MISMATCH},
    {DEFAULT, "quay.io/app:1" D, "quay.io/app:1" D512, MISMATCH},
    {DEFAULT, "quay.io/app", "quay.io/app:latest", MATCH},
    {DEFAULT, "quay.io/app", "quay.io/app", MISMATCH},
    {DEFAULT, "quay.io/app:1", "quay.io/app:1.0", MISMATCH},
    {DEFAULT, "quay.io/app:V1", "quay.io/app:v1", MISMATCH},
    {DEFAULT, "quay.io/app:1", "quay.io/app/sub:1", MISMATCH},
    {DEFAULT, "quay.io/app/sub:1", "quay.io/app:1", MISMATCH},
    {DEFAULT, "quay.io:443/app:1", "quay.io/app:1", MISMATCH},
    {WRITTEN_DEFAULT, "quay.io/app:1", "quay.io/app:1", MATCH},
    {WRITTEN_DEFAULT, "quay.io/app:1", "quay.io/app", MISMATCH},
    {WRITTEN_DEFAULT, "quay.io/app" D, "quay.io/app:1", MATCH},
    /* both sides are normalized */
    {DEFAULT, "debian:12", "docker.io/library/debian:12", MATCH},
    {DEFAULT, "docker.io/library/debian:12", "debian:12", MATCH},
    {DEFAULT, "debian:12", "index.docker.io/debian:12", MATCH},
    {DEFAULT, "docker://user/app:1", "docker.io/user/app:1", MATCH},
    {DEFAULT, "debian:12", "quay.io/library/debian:12", MISMATCH},
    {EXACT, "debian:12", "library/debian:12", MATCH},
    {REPOSITORY, "debian:12", "index.docker.io/library/debian", MATCH},
    /* matchExact */
    {EXACT, "quay.io/app:1", "quay.io/app:1", MATCH},
    {EXACT, "quay.io/app:1", "quay.io/app:2", MISMATCH},
    {EXACT, "quay.io/app:1", "quay.io/app", MISMATCH},
    {EXACT, "quay.io/app" D, "quay.io/app" D, MATCH},
    {EXACT, "quay.io/app" D, "quay.io/app" OTHER, MISMATCH},
    {EXACT, "quay.io/app" D, "quay.io/app:1", MISMATCH},
    {EXACT, "quay.io/app:1" D, "quay.io/app:1" D, MATCH},
    {EXACT, "quay.io/app:1" D, "quay.io/app:1", MISMATCH},
    {EXACT, "quay.io/app:1" D, "quay.io/app" D, MISMATCH},
    {EXACT, "quay.io/app", "quay.io/app:latest", MATCH},
    /* matchRepository */
    {REPOSITORY, "quay.io/app:1", "quay.io/app:2", MATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/app", MATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/app" OTHER, MATCH},
    {REPOSITORY, "quay.io/app" D, "quay.io/app:1", MATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/other:1", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/app/sub", MISMATCH},
    {REPOSITORY, "quay.io/app/sub:1", "quay.io/app", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "ghcr.io/app:1", MISMATCH},
    /* exactReference: whatever was asked for */
    {EXACT_REFERENCE("quay.io/app:1"), "registry.example/mirror:7", "quay.io/app:1", MATCH},
    {EXACT_REFERENCE("quay.io/app:1"), "quay.io/app:2", "quay.io/app:2", MISMATCH},
    {EXACT_REFERENCE("quay.io/app:1"), "quay.io/app:1", "quay.io/app", MISMATCH},
    {EXACT_REFERENCE("quay.io/app:1"), "quay.io/app:1", "quay.io/app:1" D, MISMATCH},
    {EXACT_REFERENCE("quay.io/app" D), "quay.io/x:1", "quay.io/app" D, MATCH},
    {EXACT_REFERENCE("quay.io/app" D), "quay.io/x:1", "quay.io/app" OTHER, MISMATCH},
    {EXACT_REFERENCE("debian:12"), "quay.io/x:1", "docker.io/library/debian:12", MATCH},
    {EXACT_REFERENCE("docker.io/library/debian:12"), "quay.io/x:1", "debian:12", MATCH},
    /* exactRepository: whatever was asked for */
    {EXACT_REPOSITORY("quay.io/app"), "registry.example/mirror:7", "quay.io/app:1", MATCH},
    {EXACT_REPOSITORY("quay.io/app"), "registry.example/mirror:7", "quay.io/app", MATCH},
    {EXACT_REPOSITORY("quay.io/app"), "registry.example/mirror:7", "quay.io/app" D, MATCH},
    {EXACT_REPOSITORY("quay.io/app"), "registry.example/mirror:7", "registry.example/mirror:7", MISMATCH},
    {EXACT_REPOSITORY("quay.io/app"), "quay.io/app:1", "quay.io/app2:1", MISMATCH},
    {EXACT_REPOSITORY("quay.io/app"), "quay.io/app:1", "quay.io/app/sub:1", MISMATCH},
    {EXACT_REPOSITORY("debian"), "quay.io/x:1", "docker.io/library/debian:12", MATCH},
    /* remapIdentity: the prefix is a whole number of components, replaced once; then as the default */
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v/app:1", "vendor.example/app:1", MATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v/app:1", "vendor.example/app:2", MISMATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v/app:1", "vendor.example/app", MISMATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v/app:1", "mirror:5000/v/app:1", MISMATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v/app" D, "vendor.example/app:1", MATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v/app" D, "vendor.example/other:1", MISMATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v2/app:1", "vendor.example2/app:1", MISMATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v2/app:1", "mirror:5000/v2/app:1", MATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "quay.io/app:1", "quay.io/app:1", MATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "quay.io/app:1", "vendor.example/app:1", MISMATCH},
    {REMAP("mirror:5000/v", "vendor.example/x"), "mirror:5000/v:1", "vendor.example/x:1", MATCH},
    {REMAP("mirror:5000/v", "vendor.example"), "mirror:5000/v:1", "vendor.example:1", MISMATCH},
    {REMAP("mirror:5000", "vendor.example"), "mirror:5000/a/b:1", "vendor.example/a/b:1", MATCH},
    {REMAP("mirror.example", "vendor.example"), "mirror.example:5000/a:1", "vendor.example:5000/a:1", MISMATCH},
    {REMAP("mirror.example", "vendor.example"), "mirror.example/mirror.example/a:1",
        "vendor.example/mirror.example/a:1", MATCH},
    {REMAP("mirror.example", "vendor.example"), "mirror.example/mirror.example/a:1",
        "vendor.example/vendor.example/a:1", MISMATCH},
    {REMAP("mirror.example", "docker.io"), "mirror.example/library/debian:12", "debian:12", MATCH},
    {REMAP("mirror.example", "docker.io"), "mirror.example/debian:12", "debian:12", MISMATCH},
    {REMAP("mirror.example/a", "vendor.example/b"), "mirror.example/a:1" D, "vendor.example/b:1" D, MATCH},
    {REMAP("docker.io/library", "vendor.example/hub"), "debian:12", "vendor.example/hub/debian:12", MATCH},
    /* what is stated is hostile text */
    {DEFAULT, "quay.io/app:1", NULL, NOT_STATED},
    {DEFAULT, "quay.io/app:1", "", NOT_STATED},
    {EXACT_REPOSITORY("quay.io/app"), "quay.io/app:1", NULL, NOT_STATED},
    {REPOSITORY, "quay.io/app:1", "", NOT_STATED},
    {REPOSITORY, "quay.io/app:1", "quay.io/App", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "docker://quay.io/app", MISMATCH},
    {REPOSITORY, "quay.io/app:1", " quay.io/app", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/app\n", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/./app", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/app:", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "quay.io/app@sha256:0", MISMATCH},
    {REPOSITORY, "quay.io/app:1", "\033[2J", MISMATCH},
};

static void test_rows(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        check_row(&rows[i], GP_IDENTITY_SIMPLE_SIGNING);
}

static void test_written_rules_do_not_look_at_the_kind(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].rule)
            check_row(&rows[i], GP_IDENTITY_COSIGN);
}

/* cosign states a repository without a tag; kata's policies have no signedIdentity and must work with it. That never
 * means "identity unchecked". */
static void test_cosign_without_a_rule(void)
{
    static const Row cosign[] = {
        {DEFAULT, "quay.io/app:1", "quay.io/app", MATCH},
        {DEFAULT, "quay.io/app" D, "quay.io/app", MATCH},
        {DEFAULT, "quay.io/app:1" D, "quay.io/app", MATCH},
        {DEFAULT, "quay.io/app", "quay.io/app", MATCH},
        {DEFAULT, "debian:12", "index.docker.io/library/debian", MATCH},
        {DEFAULT, "quay.io/app:1", "quay.io/other", MISMATCH},
        {DEFAULT, "quay.io/app:1", "ghcr.io/app", MISMATCH},
        {DEFAULT, "quay.io/app:1", "quay.io/app/sub", MISMATCH},
        {DEFAULT, "quay.io/app/sub:1", "quay.io/app", MISMATCH},
        {DEFAULT, "quay.io/app:1", "quay.io/app:1", MATCH},
        {DEFAULT, "quay.io/app:1", "quay.io/app:2", MISMATCH},
        {DEFAULT, "quay.io/app:1", "quay.io/app" D, MISMATCH},
        {DEFAULT, "quay.io/app" D, "quay.io/app:2", MATCH},
        {DEFAULT, "quay.io/app:1", NULL, NOT_STATED},
        {DEFAULT, "quay.io/app:1", "", NOT_STATED},
        {DEFAULT, "quay.io/app:1", "Not A Name", MISMATCH},
        {WRITTEN_DEFAULT, "quay.io/app:1", "quay.io/app", MISMATCH},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cosign); i++)
        check_row(&cosign[i], GP_IDENTITY_COSIGN);
}

/* A bundle can state no name. Without a rule its digest binds it; a rule that is written still wants a name. */
static void test_bundle_without_a_rule(void)
{
    static const Row bundle[] = {
        {DEFAULT, "quay.io/app:1", NULL, MATCH},
        {DEFAULT, "quay.io/app" D, NULL, MATCH},
        {DEFAULT, "quay.io/app:1", "", NOT_STATED},
        {DEFAULT, "quay.io/app:1", "quay.io/other:1", MISMATCH},
        {WRITTEN_DEFAULT, "quay.io/app:1", NULL, NOT_STATED},
        {REPOSITORY, "quay.io/app:1", NULL, NOT_STATED},
        {EXACT, "quay.io/app:1", NULL, NOT_STATED},
        {EXACT_REFERENCE("quay.io/app:1"), "quay.io/app:1", NULL, NOT_STATED},
        {REMAP("quay.io", "r.example"), "quay.io/app:1", NULL, NOT_STATED},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bundle); i++)
        check_row(&bundle[i], GP_IDENTITY_BUNDLE);
}

static void test_message_names_both_sides(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpReference) intended = gp_reference_parse("app:1", NULL);
    g_assert_false(gp_identity_match(NULL, GP_IDENTITY_SIMPLE_SIGNING, intended, "evil.example/\033[2Japp:1", &error));
    g_assert_null(strchr(error->message, '\033'));
    g_assert_nonnull(strstr(error->message, "evil.example/\\x1b[2Japp:1"));
    g_clear_error(&error);
    g_assert_false(gp_identity_match(NULL, GP_IDENTITY_SIMPLE_SIGNING, intended, "evil.example/app:1", &error));
    g_assert_nonnull(strstr(error->message, "docker.io/library/app:1"));
    g_assert_nonnull(strstr(error->message, "matchRepoDigestOrExact"));
}

/* gp_reference_parse() never gives a name alone, but another caller may: two bare names are no exact match. */
static void test_name_only_on_both_sides(void)
{
    static const struct {
        const char *rule;
        gboolean matches;
    } cases[] = {{DEFAULT, FALSE}, {WRITTEN_DEFAULT, FALSE}, {EXACT, FALSE}, {REPOSITORY, TRUE}};
    g_autoptr(GpReference) intended = gp_reference_parse_named("quay.io/app", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpIdentityRule) rule = cases[i].rule ? parse_rule(cases[i].rule, NULL) : NULL;
        gboolean matched = gp_identity_match(rule, GP_IDENTITY_SIMPLE_SIGNING, intended, "quay.io/app", &error);
        g_assert_cmpint(matched, ==, cases[i].matches);
        if (!matched)
            expect_refusal(&error, GP_ERROR_SIGNATURE, "identity-mismatch: ", "two names");
    }
    /* nor is it satisfied by a signature that says more than was asked for */
    g_autoptr(GError) error = NULL;
    g_assert_false(gp_identity_match(NULL, GP_IDENTITY_SIMPLE_SIGNING, intended, "quay.io/app:1", &error));
    expect_refusal(&error, GP_ERROR_SIGNATURE, "identity-mismatch: ", "a name and a tag");
}

static void test_malformed_rules(void)
{
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"[]", "$.rule: must be an object"},
        {"{}", "$.rule: \"type\" is missing"},
        {"{'type':null}", "$.rule.type: must be a string"},
        {"{'type':7}", "$.rule.type: must be a string"},
        {"{'type':''}", "$.rule.type: unknown type \"\""},
        {"{'type':'matchexact'}", "$.rule.type: unknown type \"matchexact\""},
        {"{'type':'matchExact','dockerReference':'a:1'}", "$.rule.dockerReference: unknown key"},
        {"{'type':'matchRepository','extra':1}", "$.rule.extra: unknown key"},
        {"{'type':'matchRepoDigestOrExact','prefix':'a'}", "$.rule.prefix: unknown key"},
        {"{'type':'exactReference'}", "$.rule: \"dockerReference\" is missing"},
        {"{'type':'exactReference','dockerReference':null}", "$.rule.dockerReference: must be a string"},
        {EXACT_REFERENCE(""), "$.rule.dockerReference: must not be empty"},
        {EXACT_REFERENCE("quay.io/app"), "$.rule.dockerReference: needs a tag or a digest"},
        {EXACT_REFERENCE("quay.io/App:1"), "$.rule.dockerReference: reference \"quay.io/App:1\": the repository"},
        {EXACT_REFERENCE("docker://quay.io/app:1"), "$.rule.dockerReference: reference"},
        {"{'type':'exactReference','dockerReferences':'quay.io/app:1'}", "did you mean \"dockerReference\""},
        {"{'type':'exactReference','dockerReference':'a:1','dockerRepository':'a'}", "dockerRepository: unknown key"},
        {"{'type':'exactRepository'}", "$.rule: \"dockerRepository\" is missing"},
        {EXACT_REPOSITORY(""), "$.rule.dockerRepository: must not be empty"},
        {EXACT_REPOSITORY("quay.io/app:1"), "$.rule.dockerRepository: must have neither tag nor digest"},
        {EXACT_REPOSITORY("quay.io/app" D), "$.rule.dockerRepository: must have neither tag nor digest"},
        {"{'type':'remapIdentity','signedPrefix':'b.example'}", "$.rule: \"prefix\" is missing"},
        {"{'type':'remapIdentity','prefix':'b.example'}", "$.rule: \"signedPrefix\" is missing"},
        {REMAP("", "b.example"), "$.rule.prefix: must not be empty"},
        {REMAP("a.example", ""), "$.rule.signedPrefix: must not be empty"},
        {REMAP("a.example/x:1", "b.example"), "$.rule.prefix: a prefix has no wildcard, tag or digest"},
        {REMAP("a.example/x" D, "b.example"), "$.rule.prefix: a prefix has no wildcard, tag or digest"},
        {REMAP("*.example", "b.example"), "$.rule.prefix: a prefix has no wildcard, tag or digest"},
        {REMAP("a.example", "*.example"), "$.rule.signedPrefix: a prefix has no wildcard, tag or digest"},
        {REMAP("a.example/", "b.example"), "$.rule.prefix: behind the host"},
        {REMAP("a.example", "b.example/"), "$.rule.signedPrefix: behind the host"},
        {REMAP("a.example/X", "b.example"), "$.rule.prefix: behind the host"},
        {REMAP("library/debian", "b.example"), "$.rule.prefix: it must begin with a host"},
        {REMAP("a.example", "vendor"), "$.rule.signedPrefix: it must begin with a host"},
        {REMAP("index.docker.io", "b.example"), "$.rule.prefix: index.docker.io is normalized"},
        {REMAP("https://a.example", "b.example"), "$.rule.prefix: it does not begin with a host"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse_rule(bad[i].text, &error));
        expect_refusal(&error, GP_ERROR_INVALID, bad[i].reason, bad[i].text);
    }
}

static void test_type_names(void)
{
    for (int type = GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT; type <= GP_IDENTITY_MATCH_REPOSITORY; type++) {
        g_autofree char *text = g_strdup_printf("{'type':'%s'}", gp_identity_type_name((GpIdentityType) type));
        g_autoptr(GpIdentityRule) rule = parse_rule(text, NULL);
        g_assert_nonnull(rule);
        g_assert_cmpint((int) rule->type, ==, type);
    }
    g_assert_cmpstr(gp_identity_type_name(GP_IDENTITY_REMAP), ==, "remapIdentity");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/identity/six-rules", test_rows);
    g_test_add_func(
        "/policy/identity/written-rules-do-not-look-at-the-kind", test_written_rules_do_not_look_at_the_kind);
    g_test_add_func("/policy/identity/cosign-without-a-rule", test_cosign_without_a_rule);
    g_test_add_func("/policy/identity/bundle-without-a-rule", test_bundle_without_a_rule);
    g_test_add_func("/policy/identity/message-names-both-sides", test_message_names_both_sides);
    g_test_add_func("/policy/identity/name-only-on-both-sides", test_name_only_on_both_sides);
    g_test_add_func("/policy/identity/malformed-rules-are-refused", test_malformed_rules);
    g_test_add_func("/policy/identity/type-names", test_type_names);
    return g_test_run();
}
