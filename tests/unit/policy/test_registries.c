/* registries.conf: which places a name leads to, and what is refused. */
#include "policy/registries.h"
#include "tests/unit/policy/refusal.h"

#define D "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MIRRORS                                                                                                        \
    "[[registry]]\nprefix='docker.io'\n[[registry.mirror]]\nlocation='m1.example/hub'\n"                               \
    "[[registry.mirror]]\nlocation='m2.example:5000'\ninsecure=true\n"

typedef struct {
    const char *name, *toml, *reference;
    const char *places; /* joined by blanks, '!' before an insecure one */
} Row;

static const Row rows[] = {
    {"nothing-configured", "", "quay.io/ns/app:1", "quay.io/ns/app:1"},
    {"another-prefix", MIRRORS, "quay.io/ns/app:1", "quay.io/ns/app:1"},
    {"mirrors-in-order-the-original-last", MIRRORS, "debian:12",
        "m1.example/hub/library/debian:12 !m2.example:5000/library/debian:12 docker.io/library/debian:12"},
    {"digest-is-kept", MIRRORS, "debian" D,
        "m1.example/hub/library/debian" D " !m2.example:5000/library/debian" D " docker.io/library/debian" D},
    {"tag-and-digest-are-kept", MIRRORS, "debian:12" D,
        "m1.example/hub/library/debian:12" D " !m2.example:5000/library/debian:12" D " docker.io/library/debian:12" D},
    {"prefix-in-a-path-does-not-match-weakness-4", MIRRORS, "corp.example/docker.io/x:1", "corp.example/docker.io/x:1"},
    {"longer-host-does-not-match-weakness-4", MIRRORS, "docker.io.evil.example/x:1", "docker.io.evil.example/x:1"},
    {"host-with-a-front-does-not-match-weakness-4", MIRRORS, "notdocker.io/x:1", "notdocker.io/x:1"},
    {"location-replaces-the-prefix", "[[registry]]\nprefix='a.example/ns'\nlocation='b.example:1/deep/er'\n",
        "a.example/ns/app:1", "b.example:1/deep/er/app:1"},
    {"location-for-the-whole-name", "[[registry]]\nprefix='a.example/ns/app'\nlocation='b.example/x'\n",
        "a.example/ns/app:1", "b.example/x:1"},
    {"path-component-boundary", "[[registry]]\nprefix='a.example/ns'\nlocation='b.example/x'\n", "a.example/nsx/app:1",
        "a.example/nsx/app:1"},
    {"port-boundary", "[[registry]]\nprefix='a.example:50'\nlocation='b.example'\n", "a.example:5000/app:1",
        "a.example:5000/app:1"},
    {"a-host-stands-for-its-ports-as-in-containers", "[[registry]]\nprefix='a.example'\nlocation='b.example'\n",
        "a.example:5000/app:1", "b.example:5000/app:1"},
    {"longest-prefix",
        "[[registry]]\nprefix='a.example'\nlocation='x.example'\n[[registry]]\nprefix='a.example/ns'\n"
        "location='y.example'\n",
        "a.example/ns/app:1", "y.example/app:1"},
    {"longest-prefix-whatever-the-order",
        "[[registry]]\nprefix='a.example/ns'\nlocation='y.example'\n[[registry]]\nprefix='a.example'\n"
        "location='x.example'\n",
        "a.example/ns/app:1", "y.example/app:1"},
    {"shorter-prefix-for-the-others",
        "[[registry]]\nprefix='a.example'\nlocation='x.example'\n[[registry]]\nprefix='a.example/ns'\n"
        "location='y.example'\n",
        "a.example/app:1", "x.example/app:1"},
    {"only-location-is-its-own-prefix", "[[registry]]\nlocation='a.example'\ninsecure=true\n", "a.example/app:1",
        "!a.example/app:1"},
    {"insecure-is-not-the-mirrors",
        "[[registry]]\nlocation='a.example'\ninsecure=true\n[[registry.mirror]]\nlocation='m.example'\n",
        "a.example/app:1", "m.example/app:1 !a.example/app:1"},
    {"case-of-the-host", "[[registry]]\nprefix='A.Example'\nlocation='b.example'\n", "a.eXample/app:1",
        "b.example/app:1"},
    {"wildcard", "[[registry]]\nprefix='*.example.com'\nlocation='b.example/c'\n", "x.y.example.com/app:1",
        "b.example/c/app:1"},
    {"wildcard-not-its-parent", "[[registry]]\nprefix='*.example.com'\nlocation='b.example'\n", "example.com/app:1",
        "example.com/app:1"},
    {"wildcard-not-another-end", "[[registry]]\nprefix='*.example.com'\nlocation='b.example'\n",
        "x.badexample.com/app:1", "x.badexample.com/app:1"},
    {"wildcard-not-in-the-path", "[[registry]]\nprefix='*.example.com'\nlocation='b.example'\n",
        "x.test/y.example.com/app:1", "x.test/y.example.com/app:1"},
    {"wildcard-with-mirrors-and-no-location",
        "[[registry]]\nprefix='*.example.com'\n[[registry.mirror]]\nlocation='m.example/c'\n", "x.example.com:5/app:1",
        NULL},
    {"longer-wildcard",
        "[[registry]]\nprefix='*.com'\nlocation='x.example'\n[[registry]]\nprefix='*.example.com'\n"
        "location='y.example'\n",
        "a.example.com/app:1", "y.example/app:1"},
    {"written-out-before-wildcard",
        "[[registry]]\nprefix='*.verylong.example.com'\nlocation='x.example'\n[[registry]]\n"
        "prefix='a.verylong.example.com'\nlocation='y.example'\n",
        "a.verylong.example.com/app:1", "y.example/app:1"},
    {"mirror-by-digest-only-with-a-tag",
        "[[registry]]\nprefix='a.example'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m.example'\n",
        "a.example/app:1", "a.example/app:1"},
    {"mirror-by-digest-only-with-a-digest",
        "[[registry]]\nprefix='a.example'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m.example'\n",
        "a.example/app" D, "m.example/app" D " a.example/app" D},
    {"pull-from-mirror-each-for-itself-with-a-tag",
        "[[registry]]\nprefix='a.example'\n[[registry.mirror]]\nlocation='d.example'\npull-from-mirror='digest-only'\n"
        "[[registry.mirror]]\nlocation='t.example'\npull-from-mirror='tag-only'\n[[registry.mirror]]\n"
        "location='all.example'\npull-from-mirror='all'\n",
        "a.example/app:1", "t.example/app:1 all.example/app:1 a.example/app:1"},
    {"pull-from-mirror-each-for-itself-with-a-digest",
        "[[registry]]\nprefix='a.example'\n[[registry.mirror]]\nlocation='d.example'\npull-from-mirror='digest-only'\n"
        "[[registry.mirror]]\nlocation='t.example'\npull-from-mirror='tag-only'\n",
        "a.example/app" D, "d.example/app" D " a.example/app" D},
    {"a-mirror-of-a-repository",
        "[[registry]]\nprefix='docker.io/library'\n[[registry.mirror]]\nlocation='m.example/l'\n", "debian",
        "m.example/l/debian:latest docker.io/library/debian:latest"},
    {"search-registries-alone", "unqualified-search-registries=['docker.io']\n", "debian:1",
        "docker.io/library/debian:1"},
};

static GpRegistries *parse(const char *toml, GError **error)
{
    g_autoptr(GpRegistries) registries = gp_registries_new();
    g_autoptr(GBytes) bytes = text_bytes(toml);
    return gp_registries_add(registries, bytes, "registries.conf", error) ? g_steal_pointer(&registries) : NULL;
}

static char *describe(GPtrArray *places)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < places->len; i++) {
        const GpRegistryPlace *place = places->pdata[i];
        g_autofree char *name = gp_reference_to_string(place->reference);
        g_string_append_printf(text, "%s%s%s", i ? " " : "", place->insecure ? "!" : "", name);
        g_assert_cmpint(place->mirror, ==, i + 1 < places->len);
    }
    return g_string_free(text, FALSE);
}

static void check_row(gconstpointer data)
{
    const Row *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpRegistries) registries = parse(row->toml, &error);
    expect_success(error, row->name);
    g_autoptr(GpReference) reference = gp_reference_parse(row->reference, &error);
    expect_success(error, row->name);
    g_autofree char *before = gp_reference_to_string(reference);
    g_autoptr(GPtrArray) places = gp_registries_resolve(registries, reference, NULL, &error);
    if (strstr(row->name, "no-location")) {
        /* The port stays behind the place that takes the host's place, and there it makes no name. */
        expect_refusal(&error, GP_ERROR_INVALID, "mirror 1 of prefix *.example.com: ", row->name);
        return;
    }
    expect_success(error, row->name);
    g_autofree char *shown = describe(places);
    g_assert_cmpstr(shown, ==, row->places);
    g_autofree char *after = gp_reference_to_string(reference);
    g_assert_cmpstr(after, ==, before); /* weakness 3: whom the policy is asked for stays as it was */
}

typedef struct {
    const char *name, *toml;
    GpErrorCode code;
    const char *reason;
} Refused;

static const Refused refused[] = {
    {"no-toml", "[[registry]", GP_ERROR_INVALID, "registries.conf: "},
    {"unknown-key", "[[registry]]\nprefix='a.example'\nblock=true\n", GP_ERROR_INVALID, "block"},
    {"unknown-key-at-the-top", "registy=[]\n", GP_ERROR_INVALID, "registry"},
    {"unknown-key-of-a-mirror", "[[registry]]\nprefix='a.example'\n[[registry.mirror]]\nlocation='m.example'\nx=1\n",
        GP_ERROR_INVALID, "$.registry[0].mirror[0]"},
    {"key-twice", "[[registry]]\nprefix='a.example'\nprefix='b.example'\n", GP_ERROR_INVALID, "registries.conf: "},
    {"neither-prefix-nor-location", "[[registry]]\ninsecure=true\n", GP_ERROR_INVALID,
        "$.registry[0]: has neither prefix nor location"},
    {"empty-prefix", "[[registry]]\nprefix=''\nlocation='a.example'\n", GP_ERROR_INVALID, "$.registry[0].prefix"},
    {"prefix-of-wrong-type", "[[registry]]\nprefix=['a.example']\n", GP_ERROR_INVALID, "$.registry[0].prefix"},
    {"blocked-of-wrong-type", "[[registry]]\nprefix='a.example'\nblocked='yes'\n", GP_ERROR_INVALID, "blocked"},
    {"insecure-as-number", "[[registry]]\nprefix='a.example'\ninsecure=1\n", GP_ERROR_INVALID, "insecure"},
    {"prefix-with-scheme", "[[registry]]\nprefix='https://a.example'\n", GP_ERROR_INVALID, "without a scheme"},
    {"location-with-scheme", "[[registry]]\nlocation='http://a.example'\n", GP_ERROR_INVALID, "without a scheme"},
    {"location-with-final-slash", "[[registry]]\nlocation='a.example/'\n", GP_ERROR_INVALID, "lower-case repository"},
    {"location-with-user", "[[registry]]\nlocation='u:p@a.example'\n", GP_ERROR_INVALID, "$.registry[0].location"},
    {"location-wildcard", "[[registry]]\nprefix='a.example'\nlocation='*.b.example'\n", GP_ERROR_INVALID,
        "only for prefixes"},
    {"mirror-wildcard", "[[registry]]\nprefix='a.example'\n[[registry.mirror]]\nlocation='*.b.example'\n",
        GP_ERROR_INVALID, "only for prefixes"},
    {"wildcard-with-path", "[[registry]]\nprefix='*.a.example/ns'\n", GP_ERROR_INVALID, "a wildcard scope is"},
    {"wildcard-with-port", "[[registry]]\nprefix='*.a.example:50'\n", GP_ERROR_INVALID, "a wildcard scope is"},
    {"wildcard-inside", "[[registry]]\nprefix='a.*.example'\n", GP_ERROR_INVALID, "$.registry[0].prefix"},
    {"prefix-with-tag", "[[registry]]\nprefix='a.example/app:1'\n", GP_ERROR_INVALID, "not a tag"},
    {"prefix-with-digest", "[[registry]]\nprefix='a.example/app" D "'\n", GP_ERROR_INVALID, "not a tag or a digest"},
    {"prefix-that-never-matches", "[[registry]]\nprefix='index.docker.io'\n", GP_ERROR_INVALID, "would never match"},
    {"mirror-without-location", "[[registry]]\nprefix='a.example'\n[[registry.mirror]]\ninsecure=true\n",
        GP_ERROR_INVALID, "location"},
    {"pull-from-mirror-unknown",
        "[[registry]]\nprefix='a.example'\n[[registry.mirror]]\nlocation='m.example'\npull-from-mirror='digests'\n",
        GP_ERROR_INVALID, "digest-only"},
    {"pull-from-mirror-outside-a-mirror", "[[registry]]\nprefix='a.example'\npull-from-mirror='all'\n",
        GP_ERROR_INVALID, "pull-from-mirror"},
    {"digests-only-said-twice",
        "[[registry]]\nprefix='a.example'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m.example'\n"
        "pull-from-mirror='all'\n",
        GP_ERROR_INVALID, "contradicts mirror-by-digest-only"},
    {"same-prefix-twice", "[[registry]]\nprefix='a.example'\n[[registry]]\nlocation='a.example'\n", GP_ERROR_INVALID,
        "$.registry[1]: this prefix is there before"},
    {"same-prefix-in-other-case", "[[registry]]\nprefix='a.example'\n[[registry]]\nprefix='A.EXAMPLE'\n",
        GP_ERROR_INVALID, "there before"},
    {"version-1", "[registries.search]\nregistries=['docker.io']\n", GP_ERROR_UNSUPPORTED, "version 1"},
    {"aliases", "[aliases]\n'debian'='quay.io/debian'\n", GP_ERROR_UNSUPPORTED, "aliases"},
    {"credential-helpers", "credential-helpers=['secretservice']\n", GP_ERROR_UNSUPPORTED, "credential-helpers"},
    {"search-registry-no-host", "unqualified-search-registries=['a/b']\n", GP_ERROR_INVALID, "HOST[:PORT]"},
    {"search-registry-number", "unqualified-search-registries=[1]\n", GP_ERROR_INVALID, "HOST[:PORT]"},
};

static void check_refused(gconstpointer data)
{
    const Refused *row = data;
    g_autoptr(GError) error = NULL;
    g_assert_null(parse(row->toml, &error));
    expect_refusal(&error, row->code, row->reason, row->name);
}

static void blocked_names_are_refused(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpRegistries) registries = parse("[[registry]]\nprefix='a.example/ns'\nblocked=true\n"
                                               "[[registry]]\nprefix='a.example'\n[[registry]]\nprefix='*.b.example'\n"
                                               "blocked=true\n",
        &error);
    static const char *const names[] = {"a.example/ns/app", "A.EXAMPLE/ns:1", "x.b.example/app", "x.b.example:80/app"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GpReference) reference = gp_reference_parse(names[i], NULL);
        const char *prefix = NULL;
        g_assert_null(gp_registries_resolve(registries, reference, &prefix, &error));
        g_assert_nonnull(prefix);
        expect_refusal(&error, GP_ERROR_POLICY, "blocked: the registries configuration blocks prefix ", names[i]);
    }
    g_autoptr(GpReference) other = gp_reference_parse("a.example/nsx/app", NULL);
    g_autoptr(GPtrArray) places = gp_registries_resolve(registries, other, NULL, &error);
    expect_success(error, "a.example/nsx/app");
    g_assert_cmpuint(places->len, ==, 1);
}

static void files_are_merged(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpRegistries) registries = parse("[[registry]]\nprefix='a.example'\nlocation='x.example'\n", &error);
    g_autoptr(GBytes) second = text_bytes("unqualified-search-registries=[]\n[[registry]]\nprefix='b.example'\n");
    g_autoptr(GBytes) clash = text_bytes("[[registry]]\nprefix='c.example'\n[[registry]]\nprefix='a.example'\n");
    g_autoptr(GBytes) search = text_bytes("unqualified-search-registries=[]\n");
    g_assert_true(gp_registries_add(registries, second, "2.conf", &error));
    g_assert_false(gp_registries_add(registries, clash, "3.conf", &error));
    expect_refusal(&error, GP_ERROR_INVALID, "3.conf: prefix a.example is already in another file", "clash");
    g_assert_false(gp_registries_add(registries, search, "4.conf", &error));
    expect_refusal(&error, GP_ERROR_INVALID, "4.conf: unqualified-search-registries is already", "search");
    /* Nothing of the refused one stayed. */
    g_autoptr(GpReference) reference = gp_reference_parse("c.example/x", NULL);
    const char *prefix = "unset";
    g_autoptr(GPtrArray) places = gp_registries_resolve(registries, reference, &prefix, &error);
    g_assert_null(prefix);
    g_assert_cmpuint(places->len, ==, 1);
}

static void short_names_need_docker_hub(void)
{
    static const struct {
        const char *toml, *written;
        gboolean good;
    } cases[] = {
        {"", "debian", TRUE},
        {"unqualified-search-registries=[]", "debian", TRUE},
        {"unqualified-search-registries=['docker.io']", "debian:1", TRUE},
        {"unqualified-search-registries=['quay.io']", "debian", FALSE},
        {"unqualified-search-registries=['quay.io']", "docker://ns/debian:1", FALSE},
        {"unqualified-search-registries=['docker.io','quay.io']", "debian", FALSE},
        {"unqualified-search-registries=['quay.io']", "quay.io/debian", TRUE},
        {"unqualified-search-registries=['quay.io']", "localhost/debian", TRUE},
        {"unqualified-search-registries=['quay.io']", "docker.io/debian", TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpRegistries) registries = parse(cases[i].toml, &error);
        expect_success(error, cases[i].toml);
        if (gp_registries_check_short_name(registries, cases[i].written, &error))
            g_assert_true(cases[i].good);
        else
            expect_refusal(&error, GP_ERROR_UNSUPPORTED, "names no registry", cases[i].written);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ROWS_ADD("/policy/registries/places/", rows, check_row);
    ROWS_ADD("/policy/registries/refused/", refused, check_refused);
    g_test_add_func("/policy/registries/blocked", blocked_names_are_refused);
    g_test_add_func("/policy/registries/files-are-merged", files_are_merged);
    g_test_add_func("/policy/registries/short-names", short_names_need_docker_hub);
    return g_test_run();
}
