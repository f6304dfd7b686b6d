/* References: grammar, normalization, scopes. */
#include "policy/reference.h"

#include "policy/scope.h"
#include "tests/unit/policy/refusal.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX
#define SHA512 "sha512:" HEX HEX

static void test_normalization(void)
{
    static const struct {
        const char *text, *canonical, *domain, *path, *tag;
    } rows[] = {
        {"debian", "docker.io/library/debian:latest", "docker.io", "library/debian", "latest"},
        {"debian:12", "docker.io/library/debian:12", "docker.io", "library/debian", "12"},
        {"docker://debian", "docker.io/library/debian:latest", "docker.io", "library/debian", "latest"},
        {"user/app", "docker.io/user/app:latest", "docker.io", "user/app", "latest"},
        {"docker.io/debian", "docker.io/library/debian:latest", "docker.io", "library/debian", "latest"},
        {"docker.io/user/app:1", "docker.io/user/app:1", "docker.io", "user/app", "1"},
        {"index.docker.io/debian", "docker.io/library/debian:latest", "docker.io", "library/debian", "latest"},
        {"index.docker.io/user/app", "docker.io/user/app:latest", "docker.io", "user/app", "latest"},
        {"localhost/app", "localhost/app:latest", "localhost", "app", "latest"},
        {"localhost:5000/app", "localhost:5000/app:latest", "localhost:5000", "app", "latest"},
        {"localhost:5000", "docker.io/library/localhost:5000", "docker.io", "library/localhost", "5000"},
        {"host:5000/a/b/c:t", "host:5000/a/b/c:t", "host:5000", "a/b/c", "t"},
        {"registry.example/app@" DIGEST, "registry.example/app@" DIGEST, "registry.example", "app", NULL},
        {"registry.example/app:1@" DIGEST, "registry.example/app:1@" DIGEST, "registry.example", "app", "1"},
        {"app@" SHA512, "docker.io/library/app@" SHA512, "docker.io", "library/app", NULL},
        {"[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000", "app", "latest"},
        {"[2001:db8::1]/app:1", "[2001:db8::1]/app:1", "[2001:db8::1]", "app", "1"},
        {"127.0.0.1:5000/app", "127.0.0.1:5000/app:latest", "127.0.0.1:5000", "app", "latest"},
        {"Registry.Example/app", "Registry.Example/app:latest", "Registry.Example", "app", "latest"},
        {"quay.io/a__b/c-d/e---f/g.h_i", "quay.io/a__b/c-d/e---f/g.h_i:latest", "quay.io", "a__b/c-d/e---f/g.h_i",
            "latest"},
        {"app:_A-1.x", "docker.io/library/app:_A-1.x", "docker.io", "library/app", "_A-1.x"},
        {"library/debian", "docker.io/library/debian:latest", "docker.io", "library/debian", "latest"},
        {"corp/docker.io/x", "docker.io/corp/docker.io/x:latest", "docker.io", "corp/docker.io/x", "latest"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpReference) reference = gp_reference_parse(rows[i].text, &error);
        expect_success(error, rows[i].text);
        g_autofree char *canonical = gp_reference_to_string(reference);
        g_assert_cmpstr(canonical, ==, rows[i].canonical);
        g_assert_cmpstr(reference->domain, ==, rows[i].domain);
        g_assert_cmpstr(reference->path, ==, rows[i].path);
        g_assert_cmpstr(reference->tag, ==, rows[i].tag);
        g_assert_cmpint(reference->has_digest, ==, strchr(rows[i].text, '@') != NULL);
        g_autoptr(GpReference) again = gp_reference_parse(canonical, NULL);
        g_autofree char *twice = gp_reference_to_string(again);
        g_assert_cmpstr(twice, ==, canonical);
    }
}

static void test_written_tag(void)
{
    g_autoptr(GpReference) defaulted = gp_reference_parse("app", NULL);
    g_autoptr(GpReference) written = gp_reference_parse("app:latest", NULL);
    g_assert_true(defaulted->tag_defaulted);
    g_assert_false(written->tag_defaulted);
}

static void test_bad(void)
{
    g_autofree char *long_tag = g_strnfill(129, 't');
    g_autofree char *with_long_tag = g_strconcat("app:", long_tag, NULL);
    g_autofree char *long_name = g_strnfill(250, 'n');
    g_autofree char *with_long_name = g_strconcat("registry.example/", long_name, NULL);
    const struct {
        const char *text, *reason;
    } rows[] = {
        {"", "reference is empty"},
        {"docker://", "reference is empty"},
        {HEX, "image id"},
        {"Docker.io/debian", "docker.io is written in lower case"},
        {"index.DOCKER.io/a/b:1", "docker.io is written in lower case"},
        {"App", "lower case"},
        {"Foo/bar", "lower case"},
        {"registry.example/App", "lower case"},
        {"registry.example/", "no repository name"},
        {"registry.example//app", "the repository is not made of"},
        {"registry.example/app/", "the repository is not made of"},
        {"/app", "the repository is not made of"},
        {"a..b", "the repository is not made of"},
        {"a___b", "the repository is not made of"},
        {"a._b", "the repository is not made of"},
        {"-a", "the repository is not made of"},
        {"a-", "the repository is not made of"},
        {"registry.example/../etc", "the repository is not made of"},
        {"registry.example/a/../b", "the repository is not made of"},
        {"a b", "the repository is not made of"},
        {"caf\303\251", "the repository is not made of"},
        {"app\n", "the repository is not made of"},
        {"registry.example/a%2fb", "the repository is not made of"},
        {"registry.example/a?x", "the repository is not made of"},
        {"docker://docker://app", "host name"},
        {"https://registry.example/app", "host name"},
        {"user@registry.example/app", "not a digest"},
        {"-registry.example/app", "host name"},
        {"registry..example/app", "host name"},
        {"registry.example./app", "host name"},
        {"regi_stry.example/app", "host name"},
        {"host:/app", "host name"},
        {"host:0/app", "host name"},
        {"host:0443/app", "host name"},
        {"host:65536/app", "host name"},
        {"host:99999999999999999999/app", "host name"},
        {"host:5x/app", "host name"},
        {"host:1:2/app", "host name"},
        {"[::1/app", "host name"},
        {"[::g]/app", "host name"},
        {"[]:5/app", "host name"},
        {"[::1]", "the tag is not"},
        {"app:", "the tag is not"},
        {"app:-a", "the tag is not"},
        {"app:.a", "the tag is not"},
        {"app:a b", "the tag is not"},
        {"app:a:b", "the repository is not made of"},
        {with_long_tag, "the tag is not"},
        {with_long_name, "longer than 255"},
        {"app@", "not a digest"},
        {"app@sha256:abc", "64 lower-case hex"},
        {"app@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", "64 lower-case hex"},
        {"app@" DIGEST "@" DIGEST, "64 lower-case hex"},
        {"app@" DIGEST ":tag", "64 lower-case hex"},
        {"app@../../x", "not a digest"},
        {"@" DIGEST, "no repository name"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpReference) reference = gp_reference_parse(rows[i].text, &error);
        g_assert_null(reference);
        expect_refusal(&error, GP_ERROR_INVALID, rows[i].reason, rows[i].text);
    }
}

static void test_other_codes(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_reference_parse("app@md5:0123", &error));
    expect_refusal(&error, GP_ERROR_UNSUPPORTED, "neither sha256 nor sha512", "test other codes");
    g_autofree char *huge = g_strnfill(5000, 'a');
    g_assert_null(gp_reference_parse(huge, &error));
    expect_refusal(&error, GP_ERROR_LIMIT, "at most 4096", "test other codes");
}

static void test_message_is_escaped(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_reference_parse("a\033[31m.b/app", &error));
    g_assert_null(strchr(error->message, '\033'));
    expect_refusal(&error, GP_ERROR_INVALID, "\\x1b[31m", "test message is escaped");
}

static void test_named_keeps_name_only(void)
{
    g_autoptr(GpReference) reference = gp_reference_parse_named("debian", NULL);
    g_autofree char *text = gp_reference_to_string(reference);
    g_assert_cmpstr(text, ==, "docker.io/library/debian");
    g_assert_true(gp_reference_is_name_only(reference));
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_reference_parse_named("docker://debian", &error));
    expect_refusal(&error, GP_ERROR_INVALID, "host name", "test named keeps name only");
}

static void test_scopes(void)
{
    static const struct {
        const char *text, *scopes;
    } rows[] = {
        {"debian", "docker.io/library/debian:latest docker.io/library/debian docker.io/library docker.io *.io"},
        {"a.b.example.com:5000/ns/sub/app:1",
            "a.b.example.com:5000/ns/sub/app:1 a.b.example.com:5000/ns/sub/app a.b.example.com:5000/ns/sub "
            "a.b.example.com:5000/ns a.b.example.com:5000 *.b.example.com *.example.com *.com"},
        {"localhost/app", "localhost/app:latest localhost/app localhost"},
        {"localhost:5000/app:x", "localhost:5000/app:x localhost:5000/app localhost:5000"},
        {"[::1]:5000/app:x", "[::1]:5000/app:x [::1]:5000/app [::1]:5000"},
        {"quay.io/app@" DIGEST, "quay.io/app@" DIGEST " quay.io/app quay.io *.io"},
        {"quay.io/app:trusted@" DIGEST, "quay.io/app@" DIGEST " quay.io/app quay.io *.io"},
        {"QUAY.io/app:x", "quay.io/app:x quay.io/app quay.io *.io"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GpReference) reference = gp_reference_parse(rows[i].text, NULL);
        g_auto(GStrv) scopes = gp_reference_scopes(reference);
        g_autofree char *joined = g_strjoinv(" ", scopes);
        g_assert_cmpstr(joined, ==, rows[i].scopes);
    }
}

static void test_scope_keys(void)
{
    static const struct {
        const char *scope, *reason; /* NULL: good */
    } rows[] = {
        {"registry.example", NULL},
        {"registry.example:5000", NULL},
        {"registry.example:5000/ns", NULL},
        {"registry.example/ns/app:1", NULL},
        {"registry.example/app@" DIGEST, NULL},
        {"*.example.com", NULL},
        {"*.com", NULL},
        {"docker.io/library/debian", NULL},
        {"bogus/example", NULL},
        {"[::1]:5000/app", NULL},
        {"*", "wildcard"},
        {"*example.com", "wildcard"},
        {"*.example.com:5000", "wildcard"},
        {"*.example.com/app", "wildcard"},
        {"*.*.com", "wildcard"},
        {"registry.*.com", "host name"},
        {"docker://registry.example", "without \"docker://\""},
        {"https://registry.example", "host name"},
        {"registry.example/", "lower-case repository"},
        {"registry.example//a", "lower-case repository"},
        {"registry.example/App", "lower-case repository"},
        {"registry.example/*", "lower-case repository"},
        {"registry.example/app:", "no tag"},
        {"registry.example/app:1@" DIGEST, "not both"},
        {"registry.example/app@sha256:12", "64 lower-case hex"},
        {"registry.example@" DIGEST, "needs a repository"},
        {"registry.example:tag", "host name"},
        {"index.docker.io/library", "would never match"},
        {" registry.example", "host name"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *key = gp_scope_check_docker(rows[i].scope, &error);
        if (!rows[i].reason) {
            expect_success(error, rows[i].scope);
            g_assert_cmpstr(key, ==, rows[i].scope);
        } else {
            g_assert_null(key);
            expect_refusal(&error, GP_ERROR_INVALID, rows[i].reason, rows[i].scope);
        }
    }
    g_autofree char *lower = gp_scope_check_docker("GHCR.io/ns", NULL);
    g_assert_cmpstr(lower, ==, "ghcr.io/ns");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/reference/normalization", test_normalization);
    g_test_add_func("/policy/reference/defaulted-tag-is-told-from-a-written-one", test_written_tag);
    g_test_add_func("/policy/reference/malformed-is-refused", test_bad);
    g_test_add_func("/policy/reference/unknown-digest-algorithm-and-length", test_other_codes);
    g_test_add_func("/policy/reference/message-is-escaped", test_message_is_escaped);
    g_test_add_func("/policy/reference/named-keeps-a-name-only", test_named_keeps_name_only);
    g_test_add_func("/policy/reference/scopes-in-order", test_scopes);
    g_test_add_func("/policy/scope/keys-are-checked", test_scope_keys);
    return g_test_run();
}
