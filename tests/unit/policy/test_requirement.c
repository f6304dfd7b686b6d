/* The grammar of requirements: every row is the list of "default", and is accepted or refused for its own reason. */
#include "policy/policy.h"
#include "tests/unit/policy/refusal.h"

static GpPolicy *parse(const char *list, GError **error)
{
    g_autofree char *text = g_strdup_printf("{'default':%s}", list);
    g_autofree char *json = rows_json(text);
    g_autoptr(GBytes) bytes = text_bytes(json);
    return gp_policy_parse(bytes, "policy.json", error);
}

/* Everything behind the type of a signedBy or sigstoreSigned requirement. */
#define BY(rest) "[{'type':'signedBy','keyType':'GPGKeys'" rest "}]"
#define SIG(rest) "[{'type':'sigstoreSigned'" rest "}]"
#define KEY ",'keyPath':'/k.pub'"
#define ID(rest) BY(",'keyPath':'/k.gpg','signedIdentity':" rest)
#define FULCIO(rest) SIG(",'fulcio':{" rest "},'rekorPublicKeyPath':'/r.pub'")
#define WHO "'oidcIssuer':'https://issuer.example','subjectEmail':'a@b.example'"
#define PKI(rest) SIG(",'pki':{" rest "}")
#define BASE(rest) "[{'type':'signedBaseLayer'" rest "}]"

typedef struct {
    const char *name, *list;
    GpRequirementType type;
    guint keys;
    const char *unsupported; /* NULL: can be evaluated */
} AcceptedRow;

static const AcceptedRow accepted[] = {
    {"reject", "[{'type':'reject'}]", GP_REQUIREMENT_REJECT, 0, NULL},
    {"insecure-accept-anything", "[{'type':'insecureAcceptAnything'}]", GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING, 0,
        NULL},
    {"escaped-key", "[{'ty\\u0070e':'reject'}]", GP_REQUIREMENT_REJECT, 0, NULL},
    {"signed-by-path", BY(",'keyPath':'/k.gpg'"), GP_REQUIREMENT_SIGNED_BY, 1, NULL},
    {"signed-by-file-uri", BY(",'keyPath':'file:///k.gpg'"), GP_REQUIREMENT_SIGNED_BY, 1, NULL},
    {"signed-by-kbs-uri", BY(",'keyPath':'kbs:///default/gpg/key'"), GP_REQUIREMENT_SIGNED_BY, 1, NULL},
    {"signed-by-paths", BY(",'keyPaths':['/a.gpg','kbs:///default/gpg/b']"), GP_REQUIREMENT_SIGNED_BY, 2, NULL},
    {"signed-by-data", BY(",'keyData':'bm9uc2Vuc2U='"), GP_REQUIREMENT_SIGNED_BY, 1, NULL},
    {"signed-by-identity", ID("{'type':'matchExact'}"), GP_REQUIREMENT_SIGNED_BY, 1, NULL},
    {"key-type-signed-by-gpg-keys", "[{'type':'signedBy','keyType':'signedByGPGKeys','keyPath':'/k'}]",
        GP_REQUIREMENT_SIGNED_BY, 1, "keyType signedByGPGKeys"},
    {"key-type-x509", "[{'type':'signedBy','keyType':'X509Certificates','keyPath':'/k'}]", GP_REQUIREMENT_SIGNED_BY, 1,
        "keyType X509Certificates"},
    {"key-type-x509-cas", "[{'type':'signedBy','keyType':'signedByX509CAs','keyData':'bm9uc2Vuc2U='}]",
        GP_REQUIREMENT_SIGNED_BY, 1, "keyType signedByX509CAs"},
    {"sigstore-path-as-kata-writes-it", SIG(",'keyPath':'kbs:///default/cosign-public-key/test'"),
        GP_REQUIREMENT_SIGSTORE_SIGNED, 1, NULL},
    {"sigstore-paths", SIG(",'keyPaths':['/a.pub','/b.pub','/c.pub']"), GP_REQUIREMENT_SIGSTORE_SIGNED, 3, NULL},
    {"sigstore-data", SIG(",'keyData':'bm9uc2Vuc2U='"), GP_REQUIREMENT_SIGSTORE_SIGNED, 1, NULL},
    {"sigstore-datas", SIG(",'keyDatas':['bm9uc2Vuc2U=','YQ==']"), GP_REQUIREMENT_SIGSTORE_SIGNED, 2, NULL},
    {"sigstore-identity", SIG(KEY ",'signedIdentity':{'type':'matchRepository'}"), GP_REQUIREMENT_SIGSTORE_SIGNED, 1,
        NULL},
    {"rekor-path", SIG(KEY ",'rekorPublicKeyPath':'/r.pub'"), GP_REQUIREMENT_SIGSTORE_SIGNED, 1, NULL},
    {"rekor-paths", SIG(KEY ",'rekorPublicKeyPaths':['/r.pub']"), GP_REQUIREMENT_SIGSTORE_SIGNED, 1, NULL},
    {"rekor-data", SIG(KEY ",'rekorPublicKeyData':'YQ=='"), GP_REQUIREMENT_SIGSTORE_SIGNED, 1, NULL},
    {"rekor-datas", SIG(KEY ",'rekorPublicKeyDatas':['YQ==','Yg==']"), GP_REQUIREMENT_SIGSTORE_SIGNED, 1, NULL},
    {"fulcio-path", FULCIO("'caPath':'/ca.pem'," WHO), GP_REQUIREMENT_SIGSTORE_SIGNED, 0, NULL},
    {"fulcio-data", FULCIO("'caData':'YQ=='," WHO), GP_REQUIREMENT_SIGSTORE_SIGNED, 0, NULL},
    {"pki-email", PKI("'caRootsPath':'/ca.pem','subjectEmail':'a@b.example'"), GP_REQUIREMENT_SIGSTORE_SIGNED, 0, NULL},
    {"pki-hostname", PKI("'caRootsData':'YQ==','subjectHostname':'h.example'"), GP_REQUIREMENT_SIGSTORE_SIGNED, 0,
        NULL},
    {"pki-everything",
        PKI("'caRootsPath':'/ca.pem','caIntermediatesPath':'/i.pem','subjectEmail':'a@b.example',"
            "'subjectHostname':'h.example'"),
        GP_REQUIREMENT_SIGSTORE_SIGNED, 0, NULL},
    {"signed-base-layer", BASE(",'baseLayerIdentity':{'type':'exactRepository','dockerRepository':'r.example/base'}"),
        GP_REQUIREMENT_SIGNED_BASE_LAYER, 0, "signedBaseLayer"},
    {"identity-exact-reference", ID("{'type':'exactReference','dockerReference':'r.example/app:1'}"),
        GP_REQUIREMENT_SIGNED_BY, 1, NULL},
    {"identity-exact-repository", ID("{'type':'exactRepository','dockerRepository':'r.example/app'}"),
        GP_REQUIREMENT_SIGNED_BY, 1, NULL},
    {"identity-remap", ID("{'type':'remapIdentity','prefix':'m.example:5000/v','signedPrefix':'vendor.example'}"),
        GP_REQUIREMENT_SIGNED_BY, 1, NULL},
};

static void check_accepted(gconstpointer data)
{
    const AcceptedRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPolicy) policy = parse(row->list, &error);
    expect_success(error, row->list);
    const char *scope = NULL;
    GPtrArray *requirements = gp_policy_lookup(policy, "docker", NULL, NULL, &scope);
    g_assert_cmpstr(scope, ==, "default");
    g_assert_cmpuint(requirements->len, ==, 1);
    const GpRequirement *requirement = requirements->pdata[0];
    g_assert_cmpint(requirement->type, ==, row->type);
    g_assert_cmpstr(requirement->path, ==, "$.default[0]");
    g_assert_cmpuint(requirement->keys->len, ==, row->keys);
    g_assert_cmpstr(requirement->unsupported, ==, row->unsupported);
    for (guint i = 0; i < row->keys; i++) {
        const GpKeySource *key = requirement->keys->pdata[i];
        g_assert_true((key->location != NULL) != (key->data != NULL));
    }
}

typedef struct {
    const char *name, *list, *reason;
} RefusedRow;

static const RefusedRow refused[] = {
    /* lists and types */
    {"empty-list-weakness-2", "[]", "$.default: must be a list of at least one"},
    {"no-list", "{'type':'reject'}", "$.default: must be an array"},
    {"null-list", "null", "$.default: must be an array"},
    {"null-element", "[null]", "$.default[0]: must be an object"},
    {"null-behind-a-good-one", "[{'type':'reject'},null]", "$.default[1]: must be an object"},
    {"text-element", "['reject']", "$.default[0]: must be an object"},
    {"list-element", "[[{'type':'reject'}]]", "$.default[0]: must be an object"},
    {"no-type", "[{}]", "$.default[0]: \"type\" is missing"},
    {"type-in-upper-case", "[{'Type':'reject'}]", "$.default[0].Type: unknown key (did you mean \"type\"?)"},
    {"type-misspelt", "[{'tpye':'signedBy','keyPath':'/k'}]",
        "$.default[0].tpye: unknown key (did you mean \"type\"?)"},
    {"type-null", "[{'type':null}]", "$.default[0].type: must be a string"},
    {"type-number", "[{'type':1}]", "$.default[0].type: must be a string"},
    {"type-empty", "[{'type':''}]", "$.default[0].type: unknown type \"\""},
    {"type-unknown", "[{'type':'accept'}]", "$.default[0].type: unknown type \"accept\""},
    {"type-in-other-case", "[{'type':'Reject'}]", "unknown type \"Reject\""},
    {"type-with-blank", "[{'type':'reject '}]", "unknown type \"reject \""},
    {"type-is-escaped", "[{'type':'a\\u001b[31m'}]", "\\x1b[31m"},
    {"reject-with-more", "[{'type':'reject','keyPath':'/k'}]", "$.default[0].keyPath: unknown key"},
    {"accept-with-key", "[{'type':'insecureAcceptAnything','keyPath':'/k'}]", "$.default[0].keyPath: unknown key"},
    {"accept-with-identity", "[{'type':'insecureAcceptAnything','signedIdentity':{'type':'matchExact'}}]",
        "$.default[0].signedIdentity: unknown key"},
    {"duplicate-key", "[{'type':'insecureAcceptAnything','type':'reject'}]", "duplicate object key"},
    {"duplicate-key-in-escapes", "[{'type':'insecureAcceptAnything','typ\\u0065':'reject'}]", "duplicate object key"},
    /* signedBy */
    {"no-key-type", "[{'type':'signedBy','keyPath':'/k'}]", "$.default[0]: \"keyType\" is missing"},
    {"key-type-empty", "[{'type':'signedBy','keyType':'','keyPath':'/k'}]", "keyType: must not be empty"},
    {"key-type-unknown", "[{'type':'signedBy','keyType':'PGP','keyPath':'/k'}]", "keyType: unknown key type \"PGP\""},
    {"key-type-in-other-case", "[{'type':'signedBy','keyType':'gpgkeys','keyPath':'/k'}]", "unknown key type"},
    {"no-key", BY(""), "$.default[0]: there is no key"},
    {"path-and-data", BY(",'keyPath':'/k','keyData':'YQ=='"), "\"keyPath\" and \"keyData\" exclude each other"},
    {"path-and-paths", BY(",'keyPath':'/k','keyPaths':['/k']"), "\"keyPath\" and \"keyPaths\" exclude each other"},
    {"paths-and-data", BY(",'keyPaths':['/k'],'keyData':'YQ=='"), "\"keyPaths\" and \"keyData\" exclude each other"},
    {"empty-path-beside-data", BY(",'keyPath':'','keyData':'YQ=='"), "$.default[0].keyPath: must be a string that is"},
    {"null-path-beside-data", BY(",'keyPath':null,'keyData':'YQ=='"), "keyPath: must be a string that is not empty"},
    {"path-empty", BY(",'keyPath':''"), "keyPath: must be a string that is not empty"},
    {"path-null", BY(",'keyPath':null"), "keyPath: must be a string that is not empty"},
    {"path-list", BY(",'keyPath':['/k']"), "keyPath: must be a string that is not empty"},
    {"path-relative", BY(",'keyPath':'k.gpg'"), "keyPath: \"k.gpg\" is neither an absolute path"},
    {"path-directory", BY(",'keyPath':'/keys/'"), "is neither an absolute path"},
    {"path-with-control-character", BY(",'keyPath':'/k\\n'"), "is neither an absolute path"},
    {"path-nul", BY(",'keyPath':'/k\\u0000'"), "policy.json: line 1"},
    {"path-http", BY(",'keyPath':'http://r.example/k'"), "is neither an absolute path"},
    {"path-file-of-a-host", BY(",'keyPath':'file://h/k'"), "is neither an absolute path"},
    {"path-file-relative", BY(",'keyPath':'file:k'"), "is neither an absolute path"},
    {"path-kbs-of-a-host", BY(",'keyPath':'kbs://h/default/k/x'"), "is neither an absolute path"},
    {"path-kbs-empty", BY(",'keyPath':'kbs:///'"), "is neither an absolute path"},
    {"path-kbs-climbs", BY(",'keyPath':'kbs:///default/../x'"), "is neither an absolute path"},
    {"paths-empty", BY(",'keyPaths':[]"), "keyPaths: must be a list that is not empty"},
    {"paths-null", BY(",'keyPaths':null"), "keyPaths: must be a list that is not empty"},
    {"paths-text", BY(",'keyPaths':'/k'"), "keyPaths: must be a list that is not empty"},
    {"paths-null-element", BY(",'keyPaths':['/k',null]"), "keyPaths[1]: must be a string that is not empty"},
    {"paths-empty-element", BY(",'keyPaths':['']"), "keyPaths[0]: must be a string that is not empty"},
    {"paths-relative-element", BY(",'keyPaths':['/k','k']"), "keyPaths[1]: \"k\" is neither"},
    {"data-numbers", BY(",'keyData':[1,2]"), "keyData: must be a string that is not empty"},
    {"data-empty", BY(",'keyData':''"), "keyData: must be a string that is not empty"},
    {"data-unpadded", BY(",'keyData':'bm9uc2Vuc2U'"), "keyData: not padded standard base64"},
    {"data-with-line-break", BY(",'keyData':'bm9uc2Vu\\nc2U='"), "keyData: not padded standard base64"},
    {"data-url-alphabet", BY(",'keyData':'--__'"), "keyData: not padded standard base64"},
    {"data-unused-bits", BY(",'keyData':'YR=='"), "keyData: not padded standard base64"},
    {"data-text-behind-padding", BY(",'keyData':'YQ==YQ=='"), "keyData: not padded standard base64"},
    {"data-only-padding", BY(",'keyData':'===='"), "keyData: not padded standard base64"},
    {"signed-by-has-no-key-datas", BY(",'keyDatas':['YQ==']"), "keyDatas: unknown key (did you mean \"keyData\"?)"},
    {"signed-by-has-no-rekor", BY(",'keyPath':'/k','rekorPublicKeyPath':'/r'"), "rekorPublicKeyPath: unknown key"},
    {"key-path-in-other-case", BY(",'keypath':'/k'"), "keypath: unknown key (did you mean \"keyPath\"?)"},
    /* sigstoreSigned */
    {"sigstore-no-signer", SIG(""), "$.default[0]: nothing says who may sign"},
    {"sigstore-key-type", SIG(KEY ",'keyType':'GPGKeys'"), "$.default[0].keyType: unknown key"},
    {"sigstore-path-and-datas", SIG(KEY ",'keyDatas':['YQ==']"), "\"keyPath\" and \"keyDatas\" exclude each other"},
    {"sigstore-data-and-datas", SIG(",'keyData':'YQ==','keyDatas':['YQ==']"), "exclude each other"},
    {"sigstore-datas-empty", SIG(",'keyDatas':[]"), "keyDatas: must be a list that is not empty"},
    {"sigstore-datas-null-element", SIG(",'keyDatas':[null]"), "keyDatas[0]: must be a string that is not empty"},
    {"sigstore-datas-bad-element", SIG(",'keyDatas':['YQ==','!']"), "keyDatas[1]: not padded standard base64"},
    {"sigstore-data-not-encoded-weakness-7", SIG(",'keyData':'-----BEGIN PUBLIC KEY-----'"),
        "keyData: not padded standard base64"},
    {"unknown-field-weakness-5", SIG(KEY ",'rekorPublicKeyPaht':'/r.pub'"),
        "rekorPublicKeyPaht: unknown key (did you mean \"rekorPublicKeyPath\"?)"},
    {"rekor-path-empty-weakness-5", SIG(KEY ",'rekorPublicKeyPath':''"),
        "rekorPublicKeyPath: must be a string that is"},
    {"rekor-path-null", SIG(KEY ",'rekorPublicKeyPath':null"), "rekorPublicKeyPath: must be a string that is"},
    {"rekor-data-null", SIG(KEY ",'rekorPublicKeyData':null"), "rekorPublicKeyData: must be a string that is"},
    {"rekor-data-bad", SIG(KEY ",'rekorPublicKeyData':'x'"), "rekorPublicKeyData: not padded standard base64"},
    {"rekor-paths-empty", SIG(KEY ",'rekorPublicKeyPaths':[]"), "rekorPublicKeyPaths: must be a list that is"},
    {"rekor-datas-null", SIG(KEY ",'rekorPublicKeyDatas':null"), "rekorPublicKeyDatas: must be a list that is"},
    {"rekor-twice", SIG(KEY ",'rekorPublicKeyPath':'/r','rekorPublicKeyData':'YQ=='"), "exclude each other"},
    {"rekor-alone", SIG(",'rekorPublicKeyPath':'/r'"), "nothing says who may sign"},
    {"key-and-fulcio", SIG(KEY ",'fulcio':{'caPath':'/ca'," WHO "},'rekorPublicKeyPath':'/r'"),
        "keys, \"fulcio\" and \"pki\" exclude each other"},
    {"key-and-pki", SIG(KEY ",'pki':{'caRootsPath':'/ca','subjectEmail':'a@b'}"), "exclude each other"},
    {"fulcio-and-pki", SIG(",'fulcio':{'caPath':'/ca'," WHO "},'pki':{'caRootsPath':'/ca','subjectEmail':'a@b'}"),
        "exclude each other"},
    {"fulcio-null", SIG(",'fulcio':null"), "$.default[0].fulcio: must be an object"},
    {"fulcio-null-beside-a-key", SIG(KEY ",'fulcio':null"), "fulcio: must be an object"},
    {"fulcio-without-rekor", SIG(",'fulcio':{'caPath':'/ca'," WHO "}"), "\"fulcio\" needs a Rekor key"},
    {"fulcio-without-ca", FULCIO(WHO), "$.default[0].fulcio: there is no CA"},
    {"fulcio-two-cas", FULCIO("'caPath':'/ca','caData':'YQ=='," WHO), "fulcio: \"caPath\" and \"caData\" exclude"},
    {"fulcio-ca-null", FULCIO("'caPath':null," WHO), "fulcio.caPath: must be a string that is"},
    {"fulcio-ca-bad-base64", FULCIO("'caData':'?'," WHO), "fulcio.caData: not padded"},
    {"fulcio-without-issuer", FULCIO("'caPath':'/ca','subjectEmail':'a@b'"), "fulcio: \"oidcIssuer\" is missing"},
    {"fulcio-without-email", FULCIO("'caPath':'/ca','oidcIssuer':'i'"), "fulcio: \"subjectEmail\" is missing"},
    {"fulcio-empty-issuer", FULCIO("'caPath':'/ca','oidcIssuer':'','subjectEmail':'a@b'"),
        "oidcIssuer: must not be empty"},
    {"fulcio-null-email", FULCIO("'caPath':'/ca','oidcIssuer':'i','subjectEmail':null"),
        "subjectEmail: must be a string"},
    {"fulcio-unknown-key", FULCIO("'caPath':'/ca','subjectEmails':[]," WHO),
        "fulcio.subjectEmails: unknown key (did you mean \"subjectEmail\"?)"},
    {"pki-with-rekor", SIG(",'pki':{'caRootsPath':'/ca','subjectEmail':'a@b'},'rekorPublicKeyPath':'/r'"),
        "\"pki\" and Rekor keys exclude each other"},
    {"pki-without-root", PKI("'subjectEmail':'a@b'"), "pki: there is no root CA"},
    {"pki-two-roots", PKI("'caRootsPath':'/ca','caRootsData':'YQ==','subjectEmail':'a@b'"), "exclude each other"},
    {"pki-two-intermediates",
        PKI("'caRootsPath':'/ca','caIntermediatesPath':'/i','caIntermediatesData':'YQ==','subjectEmail':'a@b'"),
        "exclude each other"},
    {"pki-null-intermediates", PKI("'caRootsPath':'/ca','caIntermediatesPath':null,'subjectEmail':'a@b'"),
        "caIntermediatesPath: must be a string"},
    {"pki-without-subject", PKI("'caRootsPath':'/ca'"), "pki: anyone under these CAs could sign"},
    {"pki-empty-subject", PKI("'caRootsPath':'/ca','subjectEmail':''"), "subjectEmail: must not be empty"},
    {"pki-null-beside-a-subject", PKI("'caRootsPath':'/ca','subjectEmail':'a@b','subjectHostname':null"),
        "subjectHostname: must be a string"},
    {"pki-unknown-key", PKI("'caRootPath':'/ca','subjectEmail':'a@b'"), "did you mean \"caRootsPath\"?"},
    /* signedBaseLayer */
    {"base-layer-without-identity", BASE(""), "\"baseLayerIdentity\" is missing"},
    {"base-layer-null-identity", BASE(",'baseLayerIdentity':null"), "baseLayerIdentity: must be an object"},
    {"base-layer-with-key", BASE(",'keyPath':'/k','baseLayerIdentity':{'type':'matchExact'}"), "keyPath: unknown key"},
    /* signedIdentity */
    {"identity-null", ID("null"), "$.default[0].signedIdentity: must be an object"},
    {"identity-text", ID("'matchExact'"), "signedIdentity: must be an object"},
    {"identity-empty", ID("{}"), "$.default[0].signedIdentity: \"type\" is missing"},
    {"identity-unknown", ID("{'type':'matchAnything'}"), "signedIdentity.type: unknown type \"matchAnything\""},
    {"identity-in-other-case", ID("{'type':'matchexact'}"), "unknown type \"matchexact\""},
    {"identity-with-more", ID("{'type':'matchRepository','dockerRepository':'r.example/a'}"),
        "signedIdentity.dockerRepository: unknown key"},
    {"exact-reference-without", ID("{'type':'exactReference'}"), "\"dockerReference\" is missing"},
    {"exact-reference-name-only", ID("{'type':'exactReference','dockerReference':'r.example/a'}"),
        "dockerReference: needs a tag or a digest"},
    {"exact-reference-malformed", ID("{'type':'exactReference','dockerReference':'r.example/A:1'}"), "lower case"},
    {"exact-repository-with-tag", ID("{'type':'exactRepository','dockerRepository':'r.example/a:1'}"),
        "dockerRepository: must have neither tag nor digest"},
    {"exact-repository-wrong-key", ID("{'type':'exactRepository','dockerReference':'r.example/a:1'}"),
        "dockerReference: unknown key"},
    {"remap-without-signed-prefix", ID("{'type':'remapIdentity','prefix':'r.example'}"), "\"signedPrefix\" is missing"},
    {"remap-with-tag", ID("{'type':'remapIdentity','prefix':'r.example/a:1','signedPrefix':'v.example'}"),
        "prefix: a prefix has no wildcard, tag or digest"},
    {"remap-with-slash", ID("{'type':'remapIdentity','prefix':'r.example/','signedPrefix':'v.example'}"),
        "signedIdentity.prefix: "},
    {"remap-with-wildcard", ID("{'type':'remapIdentity','prefix':'*.example','signedPrefix':'v.example'}"),
        "prefix: a prefix has no wildcard"},
    {"remap-empty", ID("{'type':'remapIdentity','prefix':'','signedPrefix':'v.example'}"), "prefix: must not be empty"},
    {"remap-not-normalized", ID("{'type':'remapIdentity','prefix':'r.example','signedPrefix':'busybox'}"),
        "signedPrefix: it must begin with a host"},
};

static void check_refused(gconstpointer data)
{
    const RefusedRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpPolicy) policy = parse(row->list, &error);
    g_assert_null(policy);
    g_assert_nonnull(error);
    g_assert_true(g_str_has_prefix(error->message, "policy.json: "));
    expect_refusal(&error, GP_ERROR_INVALID, row->reason, row->list);
}

/* Weakness 7 of the current implementation: it takes keyData for PEM. */
static void key_data_is_decoded(void)
{
    g_autoptr(GpPolicy) policy = parse(SIG(",'keyData':'bm9uc2Vuc2U='"), NULL);
    const char *scope = NULL;
    const GpRequirement *requirement = gp_policy_lookup(policy, "docker", NULL, NULL, &scope)->pdata[0];
    const GpKeySource *key = requirement->keys->pdata[0];
    g_assert_cmpmem(g_bytes_get_data(key->data, NULL), g_bytes_get_size(key->data), "nonsense", 8);
    g_assert_null(key->location);
}

static void zeroed_requirement_rejects(void)
{
    GpRequirement requirement = {0};
    g_assert_cmpint(requirement.type, ==, GP_REQUIREMENT_REJECT);
    g_assert_cmpstr(gp_requirement_type_name(requirement.type), ==, "reject");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ROWS_ADD("/policy/requirement/accepted/", accepted, check_accepted);
    ROWS_ADD("/policy/requirement/refused/", refused, check_refused);
    g_test_add_func("/policy/requirement/key-data-is-decoded-weakness-7", key_data_is_decoded);
    g_test_add_func("/policy/requirement/zeroed-requirement-rejects", zeroed_requirement_rejects);
    return g_test_run();
}
