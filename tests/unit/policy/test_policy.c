/* The document around the requirements, and which scope's requirements apply. */
#include "policy/policy.h"
#include "base/limits.h"
#include "tests/unit/policy/refusal.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define REJECT "[{'type':'reject'}]"
#define ANY "[{'type':'insecureAcceptAnything'}]"
#define DOCKER(scopes) "{'default':" REJECT ",'transports':{'docker':{" scopes "}}}"
#define DIR(scopes) "{'default':" REJECT ",'transports':{'dir':{" scopes "}}}"

static GpPolicy *parse(const char *text, GError **error)
{
    g_autofree char *json = rows_json(text);
    g_autoptr(GBytes) bytes = text_bytes(json);
    return gp_policy_parse(bytes, "policy.json", error);
}

typedef struct {
    const char *name, *json, *reason; /* NULL: accepted */
} DocumentRow;

static const DocumentRow documents[] = {
    {"transports-are-optional-weakness-7", "{'default':" REJECT "}", NULL},
    {"transports-empty", "{'default':" REJECT ",'transports':{}}", NULL},
    {"transport-empty", DOCKER(""), NULL},
    {"blanks-around", " \n{'default':" REJECT "}\n ", NULL},
    {"scope-of-the-whole-transport", DOCKER("'':" ANY), NULL},
    {"other-transports-of-the-format",
        "{'default':" REJECT ",'transports':{'docker-daemon':{'':" ANY "},'atomic':{'h/ns':" ANY "}}}", NULL},
    {"empty", "", "policy.json: line 1"},
    {"no-json", "default: reject", "policy.json: line 1"},
    {"empty-object", "{}", "$: \"default\" is missing"},
    {"array", "[]", "$: must be an object"},
    {"null", "null", "$: must be an object"},
    {"trailing-data", "{'default':" REJECT "}{}", "end of file expected"},
    {"trailing-text", "{'default':" REJECT "}\\u0000", "policy.json: line 1"},
    {"comment", "{/* */'default':" REJECT "}", "policy.json: line 1"},
    {"trailing-comma", "{'default':" REJECT ",}", "policy.json: line 1"},
    {"default-missing", "{'transports':{}}", "$: \"default\" is missing"},
    {"default-null", "{'default':null}", "$.default: must be an array"},
    {"default-empty-weakness-2", "{'default':[]}", "$.default: must be a list of at least one requirement"},
    {"default-in-other-case", "{'Default':" REJECT "}", "$.Default: unknown key (did you mean \"default\"?)"},
    {"default-twice", "{'default':" ANY ",'default':" REJECT "}", "duplicate object key"},
    {"default-twice-in-escapes", "{'default':" ANY ",'d\\u0065fault':" REJECT "}", "duplicate object key"},
    {"unknown-field-weakness-5", "{'default':" REJECT ",'transport':{}}",
        "$.transport: unknown key (did you mean \"transports\"?)"},
    {"transports-null", "{'default':" REJECT ",'transports':null}", "$.transports: must be an object"},
    {"transports-array", "{'default':" REJECT ",'transports':[]}", "$.transports: must be an object"},
    {"transport-misspelt", "{'default':" REJECT ",'transports':{'dokcer':{}}}",
        "$.transports.dokcer: unknown key (did you mean \"docker\"?)"},
    {"transport-null", "{'default':" REJECT ",'transports':{'docker':null}}", "docker: must be an object"},
    {"transport-array", "{'default':" REJECT ",'transports':{'docker':" ANY "}}", "docker: must be an object"},
    {"scope-list-empty-weakness-2", DOCKER("'r.example':[]"),
        "$.transports.docker[\"r.example\"]: must be a list of at least one requirement"},
    {"scope-list-null", DOCKER("'r.example':null"), "must be a list of at least one requirement"},
    {"scope-object", DOCKER("'r.example':{'type':'reject'}"), "must be a list of at least one requirement"},
    {"scope-list-null-element", DOCKER("'r.example':[null]"), "[\"r.example\"][0]: must be an object"},
    {"scope-with-bad-requirement",
        DOCKER("'r.example/app':[{'type':'reject'},{'type':'sigstoreSigned','keyPaht':'/k'}]"),
        "$.transports.docker[\"r.example/app\"][1].keyPaht: unknown key (did you mean \"keyPath\"?)"},
    {"scope-twice", DOCKER("'r.example':" ANY ",'r.example':" REJECT), "duplicate object key"},
    {"scope-twice-in-other-letters", DOCKER("'r.example':" ANY ",'R.example':" REJECT), "the same scope as another"},
    {"scope-of-a-host-named-docker", DOCKER("'docker:5000/app':" ANY), NULL},
    {"scope-with-scheme", DOCKER("'docker://r.example':" ANY), "could never match: scopes are written without"},
    {"scope-upper-case-repository", DOCKER("'r.example/App':" ANY), "could never match: behind the host"},
    {"scope-with-slash", DOCKER("'r.example/':" ANY), "could never match"},
    {"scope-wildcard-inside", DOCKER("'r.*.example':" ANY), "could never match"},
    {"scope-wildcard-with-path", DOCKER("'*.example/app':" ANY), "could never match: a wildcard"},
    {"scope-with-tag-and-digest", DOCKER("'r.example/app:1@sha256:" HEX "':" ANY), "a tag or a digest, not both"},
    {"scope-is-escaped", DOCKER("'\\u001b[31m':" ANY), "\\x1b[31m"},
    {"dir-scope", DIR("'/images/app':" ANY), NULL},
    {"dir-scope-relative", DIR("'images':" ANY), "could never match: it is not an absolute path"},
    {"dir-scope-root", DIR("'/':" ANY), "could never match: for the whole transport write \"\""},
    {"dir-scope-final-slash", DIR("'/images/':" ANY), "could never match: it has an empty component"},
    {"dir-scope-double-slash", DIR("'/images//app':" ANY), "could never match: it has an empty component"},
    {"dir-scope-climbs", DIR("'/images/../etc':" ANY), "could never match: it has an empty component, \".\" or \"..\""},
};

static void check_document(gconstpointer data)
{
    const DocumentRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPolicy) policy = parse(row->json, &error);
    if (!row->reason) {
        expect_success(error, row->json);
        g_assert_nonnull(policy);
        return;
    }
    g_assert_null(policy);
    g_assert_nonnull(error);
    g_assert_true(g_str_has_prefix(error->message, "policy.json: "));
    expect_refusal(&error, GP_ERROR_INVALID, row->reason, row->json);
}

/* Weakness 2 of the current implementation: no policy accepts everything there. */
static void no_bytes_are_no_policy(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = g_bytes_new(NULL, 0);
    g_assert_null(gp_policy_parse(bytes, "policy.json", &error));
    expect_refusal(&error, GP_ERROR_INVALID, "policy.json: line 1", "no bytes");
}

static void ceilings(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *blanks = g_strnfill(GP_LIMIT_POLICY + 1, ' ');
    g_assert_null(parse(blanks, &error));
    expect_refusal(&error, GP_ERROR_LIMIT, "bytes, at most", "blanks");
    g_autofree char *brackets = g_strnfill(100000, '[');
    g_assert_null(parse(brackets, &error));
    expect_refusal(&error, GP_ERROR_LIMIT, "nested deeper than", "brackets");
}

/* One scope of every kind; each list is told apart by its own key's path. In the order of their transports. */
static const struct {
    const char *transport, *scope, *key;
} tree[] = {
    {"docker", "r.example/ns/app:1", "/tag"},
    {"docker", "r.example/ns/app@sha256:" HEX, "/digest"},
    {"docker", "r.example/ns/app", "/repository"},
    {"docker", "r.example/ns", "/namespace"},
    {"docker", "r.example", "/host"},
    {"docker", "r.example:5000", "/port"},
    {"docker", "*.wild.example", "/wild"},
    {"docker", "*.a.wild.example", "/wilder"},
    {"docker", "docker.io", "/hub"},
    {"docker", "docker.io/library/debian", "/debian"},
    {"docker", "GHCR.io/ns", "/ghcr"},
    {"atomic", "", "/atomic"},
    {"dir", "", "/dir"},
    {"dir", "/images", "/dir/images"},
    {"dir", "/images/a", "/dir/images/a"},
    {"oci", "/layouts", "/oci"},
    {"oci", "/layouts/x:one", "/oci/one"},
};

static GpPolicy *parse_tree(GError **error)
{
    GString *text = g_string_new("{'default':[{'type':'sigstoreSigned','keyPath':'/default'}],'transports':{");
    const char *transport = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(tree); i++) {
        if (g_strcmp0(transport, tree[i].transport) != 0)
            g_string_append_printf(text, "%s'%s':{", transport ? "}," : "", tree[i].transport);
        else
            g_string_append_c(text, ',');
        transport = tree[i].transport;
        g_string_append_printf(text, "'%s':[{'type':'sigstoreSigned','keyPath':'%s'}]", tree[i].scope, tree[i].key);
    }
    g_string_append(text, "}}}");
    g_autofree char *json = g_string_free(text, FALSE);
    return parse(json, error);
}

typedef struct {
    const char *name, *transport, *reference, *local, *key, *scope;
} LookupRow;

static const LookupRow lookups[] = {
    {"tag", "docker", "r.example/ns/app:1", NULL, "/tag", "docker: r.example/ns/app:1"},
    {"digest", "docker", "r.example/ns/app@sha256:" HEX, NULL, "/digest", "docker: r.example/ns/app@sha256:" HEX},
    {"tag-beside-a-digest-is-no-scope", "docker",
        "r.example/ns/app:1@sha256:ff23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL,
        "/repository", "docker: r.example/ns/app"},
    {"digest-beside-a-tag", "docker", "r.example/ns/app:1@sha256:" HEX, NULL, "/digest",
        "docker: r.example/ns/app@sha256:" HEX},
    {"repository", "docker", "r.example/ns/app:2", NULL, "/repository", "docker: r.example/ns/app"},
    {"tag-that-begins-alike", "docker", "r.example/ns/app:10", NULL, "/repository", "docker: r.example/ns/app"},
    {"below-the-repository", "docker", "r.example/ns/app/sub:1", NULL, "/repository", "docker: r.example/ns/app"},
    {"namespace", "docker", "r.example/ns/other", NULL, "/namespace", "docker: r.example/ns"},
    {"name-that-begins-alike", "docker", "r.example/ns/app2", NULL, "/namespace", "docker: r.example/ns"},
    {"host", "docker", "r.example/nsx/app", NULL, "/host", "docker: r.example"},
    {"port-is-another-host", "docker", "r.example:5000/ns/app:1", NULL, "/port", "docker: r.example:5000"},
    {"other-port", "docker", "r.example:5001/ns/app:1", NULL, "/default", "default"},
    {"wildcard", "docker", "x.wild.example/app", NULL, "/wild", "docker: *.wild.example"},
    {"wildcard-with-port", "docker", "x.wild.example:5000/app", NULL, "/wild", "docker: *.wild.example"},
    {"longer-wildcard", "docker", "x.a.wild.example/app", NULL, "/wilder", "docker: *.a.wild.example"},
    {"wildcard-not-for-itself", "docker", "wild.example/app", NULL, "/default", "default"},
    {"wildcard-needs-its-dot", "docker", "xwild.example/app", NULL, "/default", "default"},
    {"hub-by-short-name", "docker", "debian:12", NULL, "/debian", "docker: docker.io/library/debian"},
    {"hub-by-old-name", "docker", "index.docker.io/user/app", NULL, "/hub", "docker: docker.io"},
    {"prefix-is-anchored-weakness-4", "docker", "quay.io/docker.io/library/debian", NULL, "/default", "default"},
    {"prefix-in-a-hub-name-weakness-4", "docker", "corp.example/docker.io/x", NULL, "/default", "default"},
    {"host-behind-a-slash-weakness-4", "docker", "evil.example/r.example/ns/app:1", NULL, "/default", "default"},
    {"host-that-ends-alike-weakness-4", "docker", "evilr.example/ns/app:1", NULL, "/default", "default"},
    {"host-that-begins-alike-weakness-4", "docker", "r.example.evil/ns/app:1", NULL, "/default", "default"},
    {"host-in-upper-case", "docker", "R.EXAMPLE/ns/app:1", NULL, "/tag", "docker: r.example/ns/app:1"},
    {"scope-in-upper-case", "docker", "ghcr.io/ns/app", NULL, "/ghcr", "docker: ghcr.io/ns"},
    {"elsewhere", "docker", "quay.io/app", NULL, "/default", "default"},
    {"dir", "dir", NULL, "/images/a", "/dir/images/a", "dir: /images/a"},
    {"dir-below", "dir", NULL, "/images/a/b/c", "/dir/images/a", "dir: /images/a"},
    {"dir-that-begins-alike", "dir", NULL, "/images/ab", "/dir/images", "dir: /images"},
    {"dir-elsewhere", "dir", NULL, "/other", "/dir", "dir: (all)"},
    {"dir-colon-cuts-nothing", "dir", NULL, "/images/a:1", "/dir/images", "dir: /images"},
    {"dir-ignores-docker-scopes", "dir", "r.example/ns/app:1", "/other", "/dir", "dir: (all)"},
    {"oci-with-name", "oci", NULL, "/layouts/x:one", "/oci/one", "oci: /layouts/x:one"},
    {"oci-other-name", "oci", NULL, "/layouts/x:two", "/oci", "oci: /layouts"},
    {"oci-colon-in-a-directory", "oci", NULL, "/layouts:b/x", "/default", "default"},
    {"oci-elsewhere", "oci", NULL, "/other", "/default", "default"},
    {"transport-without-rules", "sif", NULL, "/other", "/default", "default"},
};

static void check_lookup(gconstpointer data)
{
    const LookupRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPolicy) policy = parse_tree(&error);
    expect_success(error, row->name);
    g_autoptr(GpReference) reference = row->reference ? gp_reference_parse(row->reference, &error) : NULL;
    expect_success(error, row->name);
    const char *scope = NULL;
    GPtrArray *requirements = gp_policy_lookup(policy, row->transport, reference, row->local, &scope);
    g_assert_cmpuint(requirements->len, ==, 1);
    const GpKeySource *key = ((GpRequirement *) requirements->pdata[0])->keys->pdata[0];
    g_assert_cmpstr(key->location, ==, row->key);
    g_assert_cmpstr(scope, ==, row->scope);
}

static void whole_docker_transport(void)
{
    g_autoptr(GpPolicy) policy = parse(DOCKER("'':" ANY ",'r.example':" REJECT), NULL);
    g_autoptr(GpReference) reference = gp_reference_parse("quay.io/app", NULL);
    const char *scope = NULL;
    const GpRequirement *requirement = gp_policy_lookup(policy, "docker", reference, NULL, &scope)->pdata[0];
    g_assert_cmpint(requirement->type, ==, GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING);
    g_assert_cmpstr(requirement->path, ==, "$.transports.docker[\"\"][0]");
    g_assert_cmpstr(scope, ==, "docker: (all)");
}

/* The policy of kata's end-to-end tests (facts: coco.md §4), byte for byte what users have. */
static void kata_policy(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPolicy) policy =
        parse("{'default':[{'type':'reject'}],'transports':{'docker':{\n"
              " 'ghcr.io/confidential-containers/test-container-image-rs':\n"
              "  [{'type':'sigstoreSigned','keyPath':'kbs:///default/cosign-public-key/test'}]}}}",
            &error);
    expect_success(error, "kata's policy");
    g_autoptr(GpReference) reference =
        gp_reference_parse("ghcr.io/confidential-containers/test-container-image-rs:cosign-signed", NULL);
    const char *scope = NULL;
    const GpRequirement *requirement = gp_policy_lookup(policy, "docker", reference, NULL, &scope)->pdata[0];
    g_assert_cmpint(requirement->type, ==, GP_REQUIREMENT_SIGSTORE_SIGNED);
    g_assert_null(requirement->identity);
    g_assert_null(requirement->unsupported);
}

/* The policy of containers/image's own tests. */
static void public_vector(void)
{
    const char *folder = g_getenv("GUEST_PULL_VECTORS");
    if (!folder) {
        g_test_skip("GUEST_PULL_VECTORS is not set: the folder with containers-image/policy.json");
        return;
    }
    g_autofree char *path = g_build_filename(folder, "containers-image", "policy.json", NULL);
    g_autofree char *text = NULL;
    gsize length = 0;
    g_autoptr(GError) error = NULL;
    g_file_get_contents(path, &text, &length, &error);
    expect_success(error, path);
    g_autoptr(GBytes) bytes = g_bytes_new(text, length);
    g_autoptr(GpPolicy) policy = gp_policy_parse(bytes, path, &error);
    expect_success(error, path);

    g_autoptr(GpReference) hardened = gp_reference_parse("example.com/hardened:1", NULL);
    const char *scope = NULL;
    GPtrArray *requirements = gp_policy_lookup(policy, "docker", hardened, NULL, &scope);
    g_assert_cmpstr(scope, ==, "docker: example.com/hardened");
    g_assert_cmpuint(requirements->len, ==, 3);
    static const char *const unsupported[] = {NULL, "keyType signedByGPGKeys", "signedBaseLayer"};
    for (guint i = 0; i < 3; i++)
        g_assert_cmpstr(((GpRequirement *) requirements->pdata[i])->unsupported, ==, unsupported[i]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ROWS_ADD("/policy/policy/document/", documents, check_document);
    ROWS_ADD("/policy/policy/lookup/", lookups, check_lookup);
    g_test_add_func("/policy/policy/no-bytes-are-no-policy-weakness-2", no_bytes_are_no_policy);
    g_test_add_func("/policy/policy/ceilings", ceilings);
    g_test_add_func("/policy/policy/whole-docker-transport", whole_docker_transport);
    g_test_add_func("/policy/policy/kata-policy", kata_policy);
    g_test_add_func("/policy/policy/public-vector", public_vector);
    return g_test_run();
}
