/* The grammar of our own requirements, guest-pull/…: every row is the list of "default". */
#include "policy/policy.h"
#include "tests/unit/policy/refusal.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define D1 "'sha256:" HEX "'"
#define D2 "'sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff'"
#define BY "{'type':'signedBy','keyType':'GPGKeys','keyPath':'/k.gpg'}"
#define SIG "{'type':'sigstoreSigned','keyPath':'/k.pub'}"
#define DIGESTS(rest) "[{'type':'guest-pull/digests'" rest "}]"
#define LIST(list) DIGESTS(",'digests':[" list "]")
#define OF(n, list) "[{'type':'guest-pull/threshold','threshold':" n ",'of':[" list "]}]"
#define ROOT ",'trustedRootPath':'/root.json'"
#define SIGNER "{'issuer':'https://i.example','email':'a@b.example'}"
#define SIGNERS ",'signers':[" SIGNER "]"
#define KEYLESS(rest) "[{'type':'guest-pull/keyless'" rest "}]"

static GpPolicy *parse(const char *list, GError **error)
{
    g_autofree char *text = g_strdup_printf("{'default':%s}", list);
    g_autofree char *json = rows_json(text);
    g_autoptr(GBytes) bytes = text_bytes(json);
    return gp_policy_parse(bytes, "policy.json", error);
}

typedef struct {
    const char *name, *list;
    const char *reason; /* NULL: accepted */
} Row;

static const Row rows[] = {
    {"digests", LIST(D1 "," D2), NULL},
    {"digests-sha512", LIST("'sha512:" HEX HEX "'"), NULL},
    {"digests-index", DIGESTS(",'digests':[" D1 "],'covers':'index'"), NULL},
    {"digests-missing", DIGESTS(""), "$.default[0]: \"digests\" is missing"},
    {"digests-empty", LIST(""), "$.default[0].digests: must not be empty"},
    {"digests-null", DIGESTS(",'digests':null"), "$.default[0].digests: must be an array"},
    {"digests-text", DIGESTS(",'digests':" D1), "$.default[0].digests: must be an array"},
    {"digests-number", LIST("1"), "$.default[0].digests[0]: must be a string"},
    {"digests-null-element", LIST(D1 ",null"), "$.default[0].digests[1]: must be a string"},
    {"digests-short", LIST("'sha256:00'"), "$.default[0].digests[0]: "},
    {"digests-upper-case", LIST("'SHA256:" HEX "'"), "$.default[0].digests[0]: "},
    {"digests-bare-hex", LIST("'" HEX "'"), "$.default[0].digests[0]: "},
    {"digests-md5", LIST("'md5:00000000000000000000000000000000'"), "$.default[0].digests[0]: "},
    {"digests-twice", LIST(D1 "," D1), "$.default[0].digests[1]: is listed twice"},
    {"digests-covers-unknown", DIGESTS(",'digests':[" D1 "],'covers':'all'"),
        "$.default[0].covers: must be \"any\", \"index\" or \"instance\""},
    {"digests-covers-empty", DIGESTS(",'digests':[" D1 "],'covers':''"), "$.default[0].covers: must be \"any\""},
    {"digests-with-key", DIGESTS(",'digests':[" D1 "],'keyPath':'/k'"), "$.default[0].keyPath: unknown key"},
    {"digests-misspelt", DIGESTS(",'digest':[" D1 "]"), "$.default[0].digest: unknown key (did you mean \"digests\"?)"},
    {"digests-prefixed-covers", DIGESTS(",'digests':[" D1 "],'guest-pull/covers':'any'"), "unknown key"},

    {"threshold-two-of-two", OF("2", BY "," SIG), NULL},
    {"threshold-one-of-two", OF("1", BY "," SIG), NULL},
    {"threshold-one-of-one", OF("1", BY), NULL},
    {"threshold-with-keyless", OF("1", BY ",{'type':'guest-pull/keyless'" ROOT SIGNERS "}"), NULL},
    {"threshold-zero", OF("0", BY), "$.default[0].threshold: must be from 1 to 1"},
    {"threshold-negative", OF("-1", BY), "$.default[0].threshold: must be from 1 to 1"},
    {"threshold-too-high", OF("3", BY "," SIG), "$.default[0].threshold: must be from 1 to 2"},
    {"threshold-huge", OF("4294967297", BY), "$.default[0].threshold: must be from 1 to 1"},
    {"threshold-fraction", OF("1.5", BY "," SIG), "$.default[0].threshold: must be an integer"},
    {"threshold-text", OF("'1'", BY), "$.default[0].threshold: must be an integer"},
    {"threshold-true", OF("true", BY), "$.default[0].threshold: must be an integer"},
    {"threshold-missing", "[{'type':'guest-pull/threshold','of':[" BY "]}]", "$.default[0]: \"threshold\" is missing"},
    {"threshold-of-missing", "[{'type':'guest-pull/threshold','threshold':1}]", "$.default[0]: \"of\" is missing"},
    {"threshold-of-nothing", OF("1", ""), "$.default[0].of: must not be empty"},
    {"threshold-of-null", OF("1", "null"), "$.default[0].of[0]: must be an object"},
    {"threshold-of-bad-child", OF("1", "{'type':'signedBy','keyType':'GPGKeys'}"),
        "$.default[0].of[0]: there is no key"},
    {"threshold-of-accept-anything", OF("1", "{'type':'insecureAcceptAnything'}"),
        "$.default[0].of[0]: is not about a signer"},
    {"threshold-of-reject", OF("1", BY ",{'type':'reject'}"), "$.default[0].of[1]: is not about a signer"},
    {"threshold-of-digests", OF("1", "{'type':'guest-pull/digests','digests':[" D1 "]}"), "is not about a signer"},
    {"threshold-of-encrypted", OF("1", "{'type':'guest-pull/encrypted'}"), "is not about a signer"},
    {"threshold-of-threshold", OF("1", "{'type':'guest-pull/threshold','threshold':1,'of':[" BY "]}"),
        "$.default[0].of[0]: a threshold cannot be inside of another"},
    {"threshold-with-identity",
        "[{'type':'guest-pull/threshold','threshold':1,'of':[" BY "],'signedIdentity':{'type':'matchExact'}}]",
        "$.default[0].signedIdentity: unknown key"},

    {"keyless", KEYLESS(ROOT SIGNERS), NULL},
    {"keyless-data", KEYLESS(",'trustedRootData':'e30='" SIGNERS), NULL},
    {"keyless-counts", KEYLESS(ROOT SIGNERS ",'logs':2,'scts':0,'timestamps':1"), NULL},
    {"keyless-timestamps-instead-of-logs", KEYLESS(ROOT SIGNERS ",'logs':0,'timestamps':1"), NULL},
    {"keyless-identity-and-covers",
        KEYLESS(ROOT SIGNERS ",'signedIdentity':{'type':'matchRepository'},'covers':'index'"), NULL},
    {"keyless-no-root", KEYLESS(SIGNERS), "$.default[0]: there is no trusted root"},
    {"keyless-two-roots", KEYLESS(ROOT ",'trustedRootData':'e30='" SIGNERS), "exclude each other"},
    {"keyless-root-empty", KEYLESS(",'trustedRootPath':''" SIGNERS), "trustedRootPath: must be a string that is not"},
    {"keyless-root-relative", KEYLESS(",'trustedRootPath':'root.json'" SIGNERS), "is neither an absolute path"},
    {"keyless-root-no-base64", KEYLESS(",'trustedRootData':'{}'" SIGNERS), "trustedRootData: not padded standard"},
    {"keyless-no-signers", KEYLESS(ROOT), "$.default[0]: \"signers\" is missing"},
    {"keyless-signers-empty", KEYLESS(ROOT ",'signers':[]"), "$.default[0].signers: must not be empty"},
    {"keyless-signers-object", KEYLESS(ROOT ",'signers':" SIGNER), "$.default[0].signers: must be an array"},
    {"keyless-signer-null", KEYLESS(ROOT ",'signers':[null]"), "$.default[0].signers[0]: must be an object"},
    {"keyless-second-signer-bad", KEYLESS(ROOT ",'signers':[" SIGNER ",{'issuer':'https://i.example'}]"),
        "$.default[0].signers[1]: anyone of this issuer could sign"},
    {"keyless-no-time", KEYLESS(ROOT SIGNERS ",'logs':0"), "\"logs\" and \"timestamps\" are both 0"},
    {"keyless-no-time-at-all", KEYLESS(ROOT SIGNERS ",'logs':0,'timestamps':0"), "are both 0"},
    {"keyless-logs-negative", KEYLESS(ROOT SIGNERS ",'logs':-1"), "$.default[0].logs: must be from 0 to 32"},
    {"keyless-logs-many", KEYLESS(ROOT SIGNERS ",'logs':33"), "$.default[0].logs: must be from 0 to 32"},
    {"keyless-logs-text", KEYLESS(ROOT SIGNERS ",'logs':'1'"), "$.default[0].logs: must be an integer"},
    {"keyless-scts-null", KEYLESS(ROOT SIGNERS ",'scts':null"), "$.default[0].scts: must be an integer"},
    {"keyless-sct-misspelt", KEYLESS(ROOT SIGNERS ",'sct':1"),
        "$.default[0].sct: unknown key (did you mean \"scts\"?)"},
    {"keyless-with-key", KEYLESS(ROOT SIGNERS ",'keyPath':'/k'"), "$.default[0].keyPath: unknown key"},

    {"encrypted-and-signed", "[" BY ",{'type':'guest-pull/encrypted'}]", NULL},
    {"encrypted-and-anything", "[{'type':'insecureAcceptAnything'},{'type':'guest-pull/encrypted'}]", NULL},
    {"encrypted-alone", "[{'type':'guest-pull/encrypted'}]", "$.default: guest-pull/encrypted alone says nothing"},
    {"encrypted-twice-alone", "[{'type':'guest-pull/encrypted'},{'type':'guest-pull/encrypted'}]",
        "alone says nothing"},
    {"encrypted-false", "[" BY ",{'type':'guest-pull/encrypted','required':false}]",
        "$.default[1].required: unknown key"},

    {"covers-index", "[{'type':'signedBy','keyType':'GPGKeys','keyPath':'/k','guest-pull/covers':'index'}]", NULL},
    {"covers-instance", "[{'type':'sigstoreSigned','keyPath':'/k','guest-pull/covers':'instance'}]", NULL},
    {"covers-any", "[{'type':'sigstoreSigned','keyPath':'/k','guest-pull/covers':'any'}]", NULL},
    {"covers-unprefixed", "[{'type':'sigstoreSigned','keyPath':'/k','covers':'any'}]",
        "$.default[0].covers: unknown key"},
    {"covers-null", "[{'type':'sigstoreSigned','keyPath':'/k','guest-pull/covers':null}]",
        "$.default[0][\"guest-pull/covers\"]: must be a string"},
    {"covers-list", "[{'type':'sigstoreSigned','keyPath':'/k','guest-pull/covers':['index']}]", "must be a string"},
    {"covers-upper-case", "[{'type':'sigstoreSigned','keyPath':'/k','guest-pull/covers':'Index'}]",
        "$.default[0][\"guest-pull/covers\"]: must be \"any\""},
    {"covers-of-reject", "[{'type':'reject','guest-pull/covers':'any'}]", "unknown key"},

    {"type-unknown-of-ours", "[{'type':'guest-pull/digest'}]", "(did you mean \"guest-pull/digests\"?)"},
    {"type-without-prefix", "[{'type':'keyless'}]", "$.default[0].type: unknown type \"keyless\""},
    {"type-misspelt", "[{'type':'signedby'}]", "unknown type \"signedby\" (did you mean \"signedBy\"?)"},
    {"type-far-off", "[{'type':'completely different'}]", "unknown type \"completely different\"\nKnown are reject"},
    {"key-of-ours-unknown", "[{'type':'sigstoreSigned','keyPath':'/k','guest-pull/cover':'any'}]",
        "[\"guest-pull/cover\"]: unknown key (did you mean \"guest-pull/covers\"?)"},
    {"top-level-key-of-ours", "[{'type':'reject'}],'guest-pull/x':1", "$[\"guest-pull/x\"]: unknown key"},
};

static void check_row(gconstpointer data)
{
    const Row *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPolicy) policy = parse(row->list, &error);
    g_assert_cmpint(policy != NULL, ==, row->reason == NULL);
    if (row->reason)
        expect_refusal(&error, GP_ERROR_INVALID, row->reason, row->list);
    else
        expect_success(error, row->list);
}

static const GpRequirement *first(const GpPolicy *policy)
{
    const char *scope;
    return gp_policy_lookup(policy, "docker", NULL, NULL, &scope)->pdata[0];
}

static void count_source(const GpRequirement *requirement, const GpKeySource *source, gpointer data)
{
    g_assert_nonnull(source->location);
    g_string_append_printf(data, "%s ", source->location);
}

static void test_everything_is_kept(void)
{
    g_autoptr(GpPolicy) policy = parse(OF("2", BY "," SIG ",{'type':'guest-pull/keyless'" ROOT SIGNERS
                                                  ",'logs':2,'scts':3,'timestamps':4,'covers':'index'}"),
        NULL);
    g_assert_nonnull(policy);
    const GpRequirement *requirement = first(policy);
    g_assert_cmpuint(requirement->threshold, ==, 2);
    g_assert_cmpuint(requirement->children->len, ==, 3);
    const GpRequirement *keyless = requirement->children->pdata[2];
    g_assert_cmpstr(keyless->path, ==, "$.default[0].of[2]");
    g_assert_cmpint(keyless->covers, ==, GP_COVERS_INDEX);
    g_assert_cmpuint(keyless->logs, ==, 2);
    g_assert_cmpuint(keyless->scts, ==, 3);
    g_assert_cmpuint(keyless->timestamps, ==, 4);
    g_autoptr(GString) sources = g_string_new(NULL);
    gp_requirement_visit_sources(requirement, count_source, sources);
    g_assert_cmpstr(sources->str, ==, "/k.gpg /k.pub /root.json ");
}

static void test_defaults(void)
{
    g_autoptr(GpPolicy) policy = parse(KEYLESS(ROOT SIGNERS), NULL);
    const GpRequirement *requirement = first(policy);
    g_assert_cmpuint(requirement->logs, ==, 1);
    g_assert_cmpuint(requirement->scts, ==, 1);
    g_assert_cmpuint(requirement->timestamps, ==, 0);
    g_assert_cmpint(requirement->covers, ==, GP_COVERS_ANY);
}

static void test_certificates_of_the_format_are_kept(void)
{
    g_autoptr(GpPolicy) policy = parse(
        "[{'type':'sigstoreSigned','fulcio':{'caPath':'/ca.pem','oidcIssuer':'https://i.example','subjectEmail':"
        "'a@b.example'},'rekorPublicKeyPaths':['/r1.pub','/r2.pub']},{'type':'sigstoreSigned','pki':{'caRootsPath':"
        "'/root.pem','caIntermediatesPath':'/i.pem','subjectEmail':'a@b.example','subjectHostname':'h.example'}}]",
        NULL);
    const char *scope;
    GPtrArray *list = gp_policy_lookup(policy, "docker", NULL, NULL, &scope);
    const GpRequirement *fulcio = list->pdata[0], *pki = list->pdata[1];
    g_assert_cmpstr(fulcio->fulcio->location, ==, "/ca.pem");
    g_assert_cmpuint(fulcio->rekor_keys->len, ==, 2);
    g_assert_true(
        gp_signer_rule_match(fulcio->signers->pdata[0], "https://i.example", GP_SUBJECT_EMAIL, "a@b.example"));
    g_assert_cmpstr(pki->pki->roots->location, ==, "/root.pem");
    g_assert_cmpstr(pki->pki->intermediates->location, ==, "/i.pem");
    g_assert_cmpstr(pki->pki->email, ==, "a@b.example");
    g_assert_cmpstr(pki->pki->hostname, ==, "h.example");
    g_autoptr(GString) sources = g_string_new(NULL);
    gp_requirement_visit_sources(fulcio, count_source, sources);
    gp_requirement_visit_sources(pki, count_source, sources);
    g_assert_cmpstr(sources->str, ==, "/r1.pub /r2.pub /ca.pem /root.pem /i.pem ");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ROWS_ADD("/policy/own/", rows, check_row);
    g_test_add_func("/policy/own/everything-is-kept", test_everything_is_kept);
    g_test_add_func("/policy/own/defaults", test_defaults);
    g_test_add_func("/policy/own/certificates-of-the-format-are-kept", test_certificates_of_the_format_are_kept);
    return g_test_run();
}
