/* registries.d: which lookaside and whether attachments, and the YAML that is refused. */
#include "policy/lookaside.h"
#include "tests/unit/policy/refusal.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static gboolean add(GpLookaside *lookaside, const char *yaml, const char *what, GError **error)
{
    g_autoptr(GBytes) bytes = text_bytes(yaml);
    return gp_lookaside_add(lookaside, bytes, what, error);
}

typedef struct {
    const char *name, *yaml, *reference, *base;
    int attachments; /* -1: not written */
} LookupRow;

#define TREE                                                                                                           \
    "default-docker:\n  lookaside: file:///default\n  use-sigstore-attachments: false\n"                               \
    "docker:\n  r.example:\n    use-sigstore-attachments: true\n"                                                      \
    "  r.example/ns:\n    lookaside: https://ns.example/sigs\n"                                                        \
    "  r.example/ns/app:one:\n    lookaside: https://one.example\n    use-sigstore-attachments: false\n"               \
    "  '*.wild.example':\n    lookaside: https://wild.example\n"

static const LookupRow lookups[] = {
    {"default", TREE, "other.example/app", "file:///default", 0},
    {"host-has-one-option-and-inherits-the-other", TREE, "r.example/app", "file:///default", 1},
    {"namespace-has-the-other-one", TREE, "r.example/ns/app", "https://ns.example/sigs", 1},
    {"tag", TREE, "r.example/ns/app:one", "https://one.example", 0},
    {"other-tag", TREE, "r.example/ns/app:two", "https://ns.example/sigs", 1},
    {"wildcard", TREE, "a.b.wild.example:5000/app", "https://wild.example", 0},
    {"wildcard-is-not-for-its-own-name", TREE, "wild.example/app", "file:///default", 0},
    {"no-prefix-without-boundary", TREE, "r.example/nsx/app", "file:///default", 1},
    {"empty-file", "", "r.example/app", NULL, -1},
    {"comments-only", "# nothing\n---\n", "r.example/app", NULL, -1},
    {"keys-with-nothing-behind", "default-docker:\ndocker: null\n", "r.example/app", NULL, -1},
    {"scope-with-nothing-behind", "docker:\n  r.example:\n", "r.example/app", NULL, -1},
    {"old-name", "docker:\n  r.example:\n    sigstore: https://s.example/x/\n", "r.example/app", "https://s.example/x",
        -1},
    {"old-and-new-name-agree",
        "docker:\n  r.example:\n    sigstore: https://s.example\n    lookaside: https://s.example/\n", "r.example/app",
        "https://s.example", -1},
    {"staging-is-for-writers",
        "default-docker:\n  lookaside-staging: file:///write\n  sigstore-staging: file:///write\n", "r.example/app",
        NULL, -1},
    {"flow-style-and-quotes", "{\"default-docker\": {lookaside: \"http://s.example:8080\"}}", "r.example/app",
        "http://s.example:8080", -1},
    {"scope-with-port", "docker:\n  r.example:5000/ns:\n    lookaside: file:///s\n", "r.example:5000/ns/app",
        "file:///s", -1},
    {"scope-in-other-letters", "docker:\n  R.Example:\n    lookaside: file:///s\n", "r.example/app", "file:///s", -1},
    {"byte-order-mark", "\357\273\277default-docker:\n  lookaside: file:///s\n", "r.example/app", "file:///s", -1},
};

static void check_lookup(gconstpointer data)
{
    const LookupRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLookaside) lookaside = gp_lookaside_new();
    add(lookaside, row->yaml, "a.yaml", &error);
    expect_success(error, row->name);
    g_autoptr(GpReference) reference = gp_reference_parse(row->reference, NULL);
    g_autofree char *base = gp_lookaside_base(lookaside, reference);
    g_assert_cmpstr(base, ==, row->base);
    g_assert_cmpint(gp_lookaside_use_attachments(lookaside, reference, TRUE), ==, row->attachments != 0);
    g_assert_cmpint(gp_lookaside_use_attachments(lookaside, reference, FALSE), ==, row->attachments == 1);
}

typedef struct {
    const char *name, *yaml, *reason;
} RefusedRow;

#define BASE(url) "default-docker:\n  lookaside: " url "\n"

static const RefusedRow refused[] = {
    {"unknown-section", "defaultdocker:\n", "line 1: unknown key \"defaultdocker\""},
    {"unknown-option", "default-docker:\n  lookasid: file:///s\n", "line 2: unknown key \"lookasid\""},
    {"wrong-case", "default-docker:\n  Lookaside: file:///s\n", "line 2: unknown key \"Lookaside\""},
    {"key-is-escaped", "\"a\\e[31m\":\n", "\\x1b[31m"},
    {"list-at-the-top", "- a\n", "a list is not expected"},
    {"list-of-scopes", "docker: [a]\n", "a list is not expected"},
    {"text-at-the-top", "hello\n", "a mapping"},
    {"text-for-a-scope", "docker:\n  r.example: file:///s\n", "line 2: a mapping"},
    {"mapping-for-a-url", "default-docker:\n  lookaside: {a: b}\n", "text that is not empty"},
    {"empty-url", BASE(""), "text that is not empty"},
    {"null-url", BASE("null"), "text that is not empty"},
    {"anchor", "default-docker: &a\n  lookaside: file:///s\n", "anchors, aliases and tags"},
    {"alias", "default-docker: &a {}\ndocker: {r.example: *a}\n", "anchors, aliases and tags"},
    {"alias-without-anchor", "default-docker: *a\n", "anchors, aliases and tags"},
    {"anchor-on-a-scalar", BASE("&a file:///s"), "anchors, aliases and tags"},
    {"tag", BASE("!!str file:///s"), "anchors, aliases and tags"},
    {"merge-key", "default-docker:\n  <<: {lookaside: file:///s}\n", "unknown key \"<<\""},
    {"mapping-as-key", "{a: b}: c\n", "a key must be plain text"},
    {"duplicate-option", "default-docker:\n  lookaside: file:///a\n  lookaside: file:///a\n", "line 3: the key"},
    {"duplicate-scope", "docker:\n  r.example: {}\n  r.example: {}\n", "occurs twice"},
    {"duplicate-section", "docker: {}\ndocker: {}\n", "occurs twice"},
    {"duplicate-scope-in-other-letters", "docker:\n  r.example: {}\n  R.example: {}\n", "in other letters"},
    {"two-documents", "docker: {}\n---\ndocker: {}\n", "only one document"},
    {"text-behind-the-document", "docker: {}\n...\nx\n", "line 3: "},
    {"broken-yaml", "docker: {\n", "a.yaml: line"},
    {"tab-indentation", "docker:\n\tr.example: {}\n", "a.yaml: line"},
    {"no-utf-8", "docker: \377\n", "a.yaml: line"},
    {"boolean-as-text", "default-docker:\n  use-sigstore-attachments: 'true'\n", "line 2: true or false"},
    {"yaml-1.1-boolean", "default-docker:\n  use-sigstore-attachments: yes\n", "line 2: true or false"},
    {"boolean-null", "default-docker:\n  use-sigstore-attachments:\n", "true or false"},
    {"old-and-new-name-differ", "default-docker:\n  lookaside: file:///a\n  sigstore: file:///b\n", "differ"},
    {"relative-path", BASE("sigs"), "is no file:///"},
    {"plain-path", BASE("/var/sigs"), "is no file:///"},
    {"file-of-another-host", BASE("file://host/sigs"), "is no file:///"},
    {"file-root", BASE("file:///"), "is no file:///"},
    {"other-scheme", BASE("ftp://s.example"), "is no file:///"},
    {"upper-case-scheme", BASE("HTTPS://s.example"), "is no file:///"},
    {"url-without-host", BASE("https:///x"), "is no file:///"},
    {"url-with-user", BASE("https://u:p@s.example/x"), "is no file:///"},
    {"url-with-query", BASE("https://s.example/x?y"), "is no file:///"},
    {"url-with-fragment", BASE("'https://s.example/x#y'"), "is no file:///"},
    {"url-with-blank", BASE("https://s.example/a b"), "is no file:///"},
    {"url-with-line-break", BASE("\"https://s.example/a\\nb\""), "text that is not empty"},
    {"url-with-nul", BASE("\"https://s.example/a\\0b\""), "text that is not empty"},
    {"bad-scope", "docker:\n  https://r.example: {}\n", "could never match"},
    {"scope-in-upper-case-path", "docker:\n  r.example/App: {}\n", "could never match: behind the host"},
    {"empty-scope", "docker:\n  '': {}\n", "could never match"},
};

static void check_refused(gconstpointer data)
{
    const RefusedRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLookaside) lookaside = gp_lookaside_new();
    g_assert_false(add(lookaside, row->yaml, "a.yaml", &error));
    g_assert_nonnull(error);
    g_assert_true(g_str_has_prefix(error->message, "a.yaml: line "));
    expect_refusal(&error, GP_ERROR_INVALID, row->reason, row->name);
}

static void two_files(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLookaside) lookaside = gp_lookaside_new();
    add(lookaside, "default-docker:\n  lookaside: file:///a\n", "a.yaml", &error);
    add(lookaside, "docker:\n  r.example:\n    lookaside: file:///b\n", "b.yaml", &error);
    expect_success(error, "two files");

    g_assert_false(add(lookaside, "docker:\n  x.example: {lookaside: file:///x}\n  r.example: {}\n", "c.yaml", &error));
    expect_refusal(&error, GP_ERROR_INVALID, "c.yaml: docker: r.example is already in another file", "two files");
    g_assert_false(add(lookaside, "default-docker: {}\n", "d.yaml", &error));
    expect_refusal(&error, GP_ERROR_INVALID, "d.yaml: default-docker is already in another file", "two files");

    g_autoptr(GpReference) reference = gp_reference_parse("x.example/app", NULL);
    g_autofree char *base = gp_lookaside_base(lookaside, reference);
    g_assert_cmpstr(base, ==, "file:///a");
}

static void ceilings(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLookaside) lookaside = gp_lookaside_new();
    g_autofree char *large = g_strnfill(2 << 20, ' ');
    g_assert_false(add(lookaside, large, "a.yaml", &error));
    expect_refusal(&error, GP_ERROR_LIMIT, "a.yaml: 2097152 bytes", "ceilings");

    GString *deep = g_string_new(NULL);
    for (int i = 0; i < 100000; i++)
        g_string_append(deep, "{docker: ");
    g_autofree char *text = g_string_free(deep, FALSE);
    g_assert_false(add(lookaside, text, "a.yaml", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
}

static void signature_urls(void)
{
    GpDigest sha256, sha512;
    g_assert_true(gp_digest_parse("sha256:" HEX, &sha256, NULL));
    g_assert_true(gp_digest_parse("sha512:" HEX HEX, &sha512, NULL));
    g_autoptr(GpReference) reference = gp_reference_parse("r.example:5000/ns/app:1", NULL);
    g_autofree char *first = gp_lookaside_signature_url("https://s.example/x", reference, &sha256, 1);
    g_assert_cmpstr(first, ==, "https://s.example/x/ns/app@sha256=" HEX "/signature-1");
    g_autofree char *last = gp_lookaside_signature_url("file:///s", reference, &sha512, 128);
    g_assert_cmpstr(last, ==, "file:///s/ns/app@sha512=" HEX HEX "/signature-128");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ROWS_ADD("/policy/lookaside/lookup/", lookups, check_lookup);
    ROWS_ADD("/policy/lookaside/refused/", refused, check_refused);
    g_test_add_func("/policy/lookaside/scopes-of-two-files", two_files);
    g_test_add_func("/policy/lookaside/ceilings", ceilings);
    g_test_add_func("/policy/lookaside/signature-urls", signature_urls);
    return g_test_run();
}
