/* Issuer and subject of keyless signers: what a policy may write, and whom it admits. */
#include "policy/signer_rule.h"

#include "base/json.h"
#include "tests/unit/policy/refusal.h"

#define ISSUER "https://token.actions.githubusercontent.com"
#define REPO "https://github.com/org/app/"
#define FLOW REPO ".github/workflows/release.yml"

typedef struct {
    const char *name, *pattern, *text;
    gboolean matches;
} PatternRow;

static const PatternRow patterns[] = {
    {"tag", FLOW "@refs/tags/v*", FLOW "@refs/tags/v1.2.3", TRUE},
    {"anchored-at-the-end", FLOW "@refs/tags/v*", FLOW "@refs/tags/v1/evil", FALSE},
    {"anchored-at-the-start", FLOW "@refs/tags/v*", "x" FLOW "@refs/tags/v1", FALSE},
    {"star-is-not-empty", FLOW "@refs/tags/v*", FLOW "@refs/tags/v", FALSE},
    {"star-stops-at-slash", FLOW "@refs/heads/*", FLOW "@refs/heads/feature/x", FALSE},
    {"star-stops-at-at", FLOW "@refs/heads/*", FLOW "@refs/heads/a@refs", FALSE},
    {"other-kind-of-ref", FLOW "@refs/tags/*", FLOW "@refs/heads/v1", FALSE},
    {"any-workflow", REPO ".github/workflows/*@refs/tags/v1", FLOW "@refs/tags/v1", TRUE},
    /* whoever may name a branch must not be able to play another workflow's tag */
    {"branch-named-like-a-tag", REPO ".github/workflows/*@refs/tags/v1",
        REPO ".github/workflows/evil.yml@refs/heads/x@refs/tags/v1", FALSE},
    {"prefix-and-suffix", REPO ".github/workflows/build-*.yml@refs/heads/main",
        REPO ".github/workflows/build-arm.yml@refs/heads/main", TRUE},
    {"prefix-and-suffix-may-not-overlap", REPO "aba*aba", REPO "aba", FALSE},
    {"prefix-and-suffix-touch", REPO "aba*aba", REPO "abaaba", FALSE},
    {"prefix-and-suffix-one-between", REPO "aba*aba", REPO "abaXaba", TRUE},
    {"other-repository", REPO "*", "https://github.com/org/app2/x", FALSE},
    {"any-repository-of-an-owner", "https://github.com/org/*/x@main", REPO "x@main", TRUE},
    {"owner-is-whole", "https://github.com/org/*/x@main", "https://github.com/org2/app/x@main", FALSE},
    {"empty-part", "https://github.com/org/*/x@main", "https://github.com/org//x@main", FALSE},
    {"deeper", "https://github.com/org/*/x@main", "https://github.com/org/a/b/x@main", FALSE},
    {"shallower", "https://github.com/org/*/x@main", "https://github.com/org/x@main", FALSE},
    {"rest", FLOW "@refs/heads/**", FLOW "@refs/heads/feature/x@y", TRUE},
    {"rest-of-one", FLOW "@**", FLOW "@1", TRUE},
    {"rest-is-not-empty", FLOW "@refs/heads/**", FLOW "@refs/heads/", FALSE},
    {"rest-needs-its-cut", FLOW "@refs/heads/**", FLOW "@refs/heads", FALSE},
    {"case-counts", REPO "*", "https://github.com/Org/app/x", FALSE},
    {"dot-is-a-dot", "https://github.com/org/*", "https://githubXcom/org/x", FALSE},
    {"question-mark-is-itself", REPO "?*", REPO "?x", TRUE},
    {"question-mark-is-no-wildcard", REPO "?*", REPO "ax", FALSE},
    {"other-scheme", REPO "*", "http://github.com/org/app/x", FALSE},
    {"user-in-front-of-the-host", REPO "*", "https://github.com@evil.example/org/app/x", FALSE},
    {"empty-text", REPO "*", "", FALSE},
    {"spiffe", "spiffe://trust.example/ns/*/sa/build", "spiffe://trust.example/ns/team-a/sa/build", TRUE},
};

static void check_pattern(gconstpointer data)
{
    const PatternRow *row = data;
    g_autoptr(GError) error = NULL;
    gp_subject_pattern_check(row->pattern, GP_SUBJECT_URI, &error);
    expect_success(error, row->pattern);
    g_assert_cmpint(gp_subject_pattern_match(row->pattern, row->text), ==, row->matches);
}

static const PatternRow email_patterns[] = {
    {"domain", "*@release.example", "ci@release.example", TRUE},
    {"other-domain", "*@release.example", "ci@evil.example", FALSE},
    {"sub-domain", "*@release.example", "ci@x.release.example", FALSE},
    {"two-ats", "*@release.example", "ci@evil.example@release.example", FALSE},
    {"nobody", "*@release.example", "@release.example", FALSE},
    {"longer", "*@release.example", "ci@release.example.evil", FALSE},
    {"begin", "ci-*@release.example", "ci-arm@release.example", TRUE},
};

static void check_email_pattern(gconstpointer data)
{
    const PatternRow *row = data;
    g_autoptr(GError) error = NULL;
    gp_subject_pattern_check(row->pattern, GP_SUBJECT_EMAIL, &error);
    expect_success(error, row->pattern);
    g_assert_cmpint(gp_subject_pattern_match(row->pattern, row->text), ==, row->matches);
}

/* 200 KB against a pattern with a star in every part: one pass, so it is over before anybody looks at a clock. */
static void test_no_backtracking(void)
{
    g_autoptr(GString) pattern = g_string_new("https://h.example/"), text = g_string_new("https://h.example/");
    for (int i = 0; i < 1000; i++) {
        g_string_append(pattern, "a*a/");
        for (int k = 0; k < 200; k++)
            g_string_append_c(text, 'a');
        g_string_append_c(text, '/');
    }
    g_string_append_c(pattern, 'b');
    g_string_append_c(text, 'a');
    gint64 start = g_get_monotonic_time();
    g_assert_false(gp_subject_pattern_match(pattern->str, text->str));
    g_assert_cmpint(g_get_monotonic_time() - start, <, G_USEC_PER_SEC);
}

typedef struct {
    const char *name, *json; /* ' in place of " */
    const char *reason;      /* NULL: accepted */
} RuleRow;

#define RULE(rest) "{'issuer':'" ISSUER "'," rest "}"

static const RuleRow rules[] = {
    {"uri", RULE("'uri':'" FLOW "@refs/heads/main'"), NULL},
    {"uri-pattern", RULE("'uriPattern':'" FLOW "@refs/tags/v*'"), NULL},
    {"email", RULE("'email':'a@b.example'"), NULL},
    {"email-pattern", RULE("'emailPattern':'*@b.example'"), NULL},
    {"other-name", RULE("'otherName':'builder'"), NULL},
    {"no-object", "[]", "$.s: must be an object"},
    {"no-issuer", "{'uri':'https://x.example/y'}", "$.s: \"issuer\" is missing"},
    {"issuer-empty", "{'issuer':'','uri':'https://x.example/y'}", "$.s.issuer: must not be empty"},
    {"issuer-null", "{'issuer':null,'uri':'https://x.example/y'}", "$.s.issuer: must be a string"},
    {"issuer-with-blank", "{'issuer':'https://a b','uri':'https://x.example/y'}",
        "$.s.issuer: must have neither blanks"},
    {"issuer-list", "{'issuer':['https://a'],'uri':'https://x.example/y'}", "$.s.issuer: must be a string"},
    {"nobody", "{'issuer':'" ISSUER "'}", "$.s: anyone of this issuer could sign"},
    {"two-subjects", RULE("'uri':'https://x.example/y','email':'a@b'"), "\"uri\" and \"email\" exclude each other"},
    {"exact-and-pattern", RULE("'uri':'https://x.example/y','uriPattern':'https://x.example/*'"),
        "\"uri\" and \"uriPattern\" exclude each other"},
    {"subject-empty", RULE("'uri':''"), "$.s.uri: must not be empty"},
    {"subject-null", RULE("'email':null"), "$.s.email: must be a string"},
    {"uri-with-star", RULE("'uri':'https://x.example/*'"), "$.s.uri: is compared as it is"},
    {"uri-without-scheme", RULE("'uri':'github.com/org/app'"), "$.s.uri: is no URI"},
    {"uri-with-blank", RULE("'uri':'https://x.example/ y'"), "$.s.uri: must have neither blanks"},
    {"email-without-at", RULE("'email':'nobody'"), "$.s.email: is no email address"},
    {"pattern-without-star", RULE("'uriPattern':'https://x.example/y'"),
        "$.s.uriPattern: without '*' it is no pattern"},
    {"pattern-star-alone", RULE("'uriPattern':'*'"), "$.s.uriPattern: it must begin with a scheme and a host"},
    {"pattern-rest-alone", RULE("'uriPattern':'**'"), "$.s.uriPattern: it must begin with a scheme and a host"},
    {"pattern-star-in-host", RULE("'uriPattern':'https://*.example/x'"), "it must begin with a scheme and a host"},
    {"pattern-star-behind-host", RULE("'uriPattern':'https://x.example*/y'"), "it must begin with a scheme and a host"},
    {"pattern-star-in-scheme", RULE("'uriPattern':'http*://x.example/y'"), "it must begin with a scheme and a host"},
    {"pattern-host-empty", RULE("'uriPattern':'https:///x*'"), "it must begin with a scheme and a host"},
    {"pattern-only-host", RULE("'uriPattern':'https://*'"), "it must begin with a scheme and a host"},
    {"pattern-two-stars-in-a-part", RULE("'uriPattern':'https://x.example/a*b*'"), "has at most one '*'"},
    {"pattern-rest-in-the-middle", RULE("'uriPattern':'https://x.example/**/y'"), "has at most one '*'"},
    {"pattern-rest-in-a-part", RULE("'uriPattern':'https://x.example/y**'"), "has at most one '*'"},
    {"pattern-three-stars", RULE("'uriPattern':'https://x.example/***'"), "has at most one '*'"},
    {"email-pattern-star-in-domain", RULE("'emailPattern':'a@*.example'"), "it must end with '@' and a domain"},
    {"email-pattern-no-domain", RULE("'emailPattern':'*@'"), "it must end with '@' and a domain"},
    {"email-pattern-no-at", RULE("'emailPattern':'*'"), "it must end with '@' and a domain"},
    {"email-pattern-rest", RULE("'emailPattern':'**@b.example'"), "has at most one '*'"},
    {"regexp", RULE("'uriRegexp':'.*'"), "$.s.uriRegexp: unknown key"},
    {"issuer-pattern", "{'issuerPattern':'*','uri':'https://x.example/y'}", "$.s.issuerPattern: unknown key"},
    {"in-other-case", RULE("'URI':'https://x.example/y'"), "$.s.URI: unknown key (did you mean \"uri\"?)"},
};

static GpSignerRule *parse_rule(const char *text, GError **error)
{
    g_autofree char *json = rows_json(text);
    g_autoptr(json_t) value = gp_json_parse(json, strlen(json), 8192, "signer", error);
    return value ? gp_signer_rule_parse(value, "$.s", error) : NULL;
}

static void check_rule(gconstpointer data)
{
    const RuleRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSignerRule) rule = parse_rule(row->json, &error);
    g_assert_cmpint(rule != NULL, ==, row->reason == NULL);
    if (row->reason)
        expect_refusal(&error, GP_ERROR_INVALID, row->reason, row->json);
    else
        expect_success(error, row->json);
}

static void test_match_wants_everything(void)
{
    g_autoptr(GpSignerRule) rule = parse_rule(RULE("'uri':'" FLOW "@main'"), NULL);
    g_assert_true(gp_signer_rule_match(rule, ISSUER, GP_SUBJECT_URI, FLOW "@main"));
    g_assert_false(gp_signer_rule_match(rule, ISSUER "/", GP_SUBJECT_URI, FLOW "@main"));
    g_assert_false(gp_signer_rule_match(rule, NULL, GP_SUBJECT_URI, FLOW "@main"));
    g_assert_false(gp_signer_rule_match(rule, ISSUER, GP_SUBJECT_EMAIL, FLOW "@main"));
    g_assert_false(gp_signer_rule_match(rule, ISSUER, GP_SUBJECT_URI, FLOW "@main2"));
    g_assert_false(gp_signer_rule_match(rule, ISSUER, GP_SUBJECT_URI, NULL));
    g_autoptr(GpSignerRule) email = gp_signer_rule_new_email(ISSUER, "a@b.example");
    g_assert_true(gp_signer_rule_match(email, ISSUER, GP_SUBJECT_EMAIL, "a@b.example"));
    g_assert_false(gp_signer_rule_match(email, ISSUER, GP_SUBJECT_EMAIL, "A@b.example"));
    g_assert_false(gp_signer_rule_match(email, ISSUER, GP_SUBJECT_OTHER_NAME, "a@b.example"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ROWS_ADD("/policy/subject-pattern/", patterns, check_pattern);
    ROWS_ADD("/policy/subject-pattern/email-", email_patterns, check_email_pattern);
    ROWS_ADD("/policy/signer-rule/", rules, check_rule);
    g_test_add_func("/policy/subject-pattern/one-pass", test_no_backtracking);
    g_test_add_func("/policy/signer-rule/match-wants-everything", test_match_wants_everything);
    return g_test_run();
}
