/* auth.json: which secret belongs to which reference, and that none of them gets out. */
#include "policy/credentials.h"
#include "tests/unit/policy/refusal.h"

/* base64: "u:p", "host:pw", "ns:pw", "repo:pw", "u:a:b:c", "hub:pw" */
#define U_P "dTpw"
#define HOST "aG9zdDpwdw=="
#define NS "bnM6cHc="
#define REPO "cmVwbzpwdw=="
#define COLONS "dTphOmI6Yw=="
#define HUB "aHViOnB3"

static GpCredentials *parse(const char *text, GError **error)
{
    g_autofree char *json = rows_json(text);
    g_autoptr(GBytes) bytes = text_bytes(json);
    return gp_credentials_parse(bytes, "auth.json", error);
}

typedef struct {
    const char *name, *json, *reference;
    const char *username, *password, *token; /* all NULL: anonymous */
} LookupRow;

#define THREE                                                                                                          \
    "{'auths':{'r.example':{'auth':'" HOST "'},'r.example/ns':{'auth':'" NS "'},'r.example/ns/app':{'auth':'" REPO     \
    "'}}}"

static const LookupRow lookups[] = {
    {"repository", THREE, "r.example/ns/app:1", "repo", "pw", NULL},
    {"parent", THREE, "r.example/ns/other", "ns", "pw", NULL},
    {"grandparent", THREE, "r.example/ns/other/deep", "ns", "pw", NULL},
    {"host", THREE, "r.example/elsewhere/app", "host", "pw", NULL},
    {"sibling-with-the-same-beginning-is-no-parent", THREE, "r.example/nsx/app", "host", "pw", NULL},
    {"other-host-is-anonymous", THREE, "evil.example/ns/app", NULL, NULL, NULL},
    {"host-with-the-same-end-is-anonymous", THREE, "xr.example/ns/app", NULL, NULL, NULL},
    {"other-port-is-anonymous", THREE, "r.example:5000/ns/app", NULL, NULL, NULL},
    {"digest-reference", THREE,
        "r.example/ns/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "repo", "pw", NULL},
    {"port", "{'auths':{'r.example:5000':{'auth':'" U_P "'}}}", "r.example:5000/app", "u", "p", NULL},
    {"password-with-colons", "{'auths':{'r.example':{'auth':'" COLONS "'}}}", "r.example/app", "u", "a:b:c", NULL},
    {"empty-password", "{'auths':{'r.example':{'auth':'dTo='}}}", "r.example/app", "u", "", NULL},
    {"password-padded-with-nul", "{'auths':{'r.example':{'auth':'dTpwAAA='}}}", "r.example/app", "u", "p", NULL},
    {"hub-url", "{'auths':{'https://index.docker.io/v1/':{'auth':'" HUB "'}}}", "debian", "hub", "pw", NULL},
    {"hub-name", "{'auths':{'docker.io':{'auth':'" HUB "'}}}", "user/app", "hub", "pw", NULL},
    {"hub-index-name", "{'auths':{'index.docker.io':{'auth':'" HUB "'}}}", "user/app", "hub", "pw", NULL},
    {"hub-registry-name", "{'auths':{'registry-1.docker.io':{'auth':'" HUB "'}}}", "user/app", "hub", "pw", NULL},
    {"hub-namespace", "{'auths':{'docker.io/library':{'auth':'" NS "'},'docker.io':{'auth':'" HUB "'}}}", "debian",
        "ns", "pw", NULL},
    {"hub-is-not-for-others", "{'auths':{'https://index.docker.io/v1/':{'auth':'" HUB "'}}}", "quay.io/app", NULL, NULL,
        NULL},
    {"url", "{'auths':{'https://r.example/v2/':{'auth':'" U_P "'}}}", "r.example/app", "u", "p", NULL},
    {"plain-http-url", "{'auths':{'http://r.example:5000':{'auth':'" U_P "'}}}", "r.example:5000/app", "u", "p", NULL},
    {"exact-key-before-url", "{'auths':{'https://r.example':{'auth':'" U_P "'},'r.example':{'auth':'" HOST "'}}}",
        "r.example/app", "host", "pw", NULL},
    {"url-inside-a-path-names-no-host", "{'auths':{'evil.example/https://r.example':{'auth':'" U_P "'}}}",
        "r.example/app", NULL, NULL, NULL},
    {"repository-key-is-not-for-its-host", "{'auths':{'r.example/secret':{'auth':'" U_P "'}}}", "r.example/app", NULL,
        NULL, NULL},
    {"identity-token-weakness-18", "{'auths':{'r.example':{'identitytoken':'tok'}}}", "r.example/app", NULL, NULL,
        "tok"},
    {"identity-token-wins", "{'auths':{'r.example':{'auth':'" U_P "','identitytoken':'tok'}}}", "r.example/app", NULL,
        NULL, "tok"},
    {"entry-without-auth-beside-a-good-one-weakness-18",
        "{'auths':{'quay.io':{},'r.example':{'auth':'" U_P "'},'x.example':{'email':'a@b'}}}", "r.example/app", "u",
        "p", NULL},
    {"entry-without-auth-is-anonymous-weakness-18", "{'auths':{'quay.io':{}}}", "quay.io/app", NULL, NULL, NULL},
    {"entry-without-auth-does-not-hide-its-parent", "{'auths':{'r.example/ns':{},'r.example':{'auth':'" HOST "'}}}",
        "r.example/ns/app", "host", "pw", NULL},
    {"empty-and-null-auth", "{'auths':{'a.example':{'auth':''},'r.example':{'auth':null,'identitytoken':''}}}",
        "r.example/app", NULL, NULL, NULL},
    {"nothing", "{}", "r.example/app", NULL, NULL, NULL},
    {"docker-cli-keys-are-ignored",
        "{'credsStore':'desktop','HttpHeaders':{'a':'b'},'auths':{'r.example':{'auth':'" U_P
        "','email':'x','username':'other'}}}",
        "r.example/app", "u", "p", NULL},
};

static void check_lookup(gconstpointer data)
{
    const LookupRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpCredentials) credentials = parse(row->json, &error);
    expect_success(error, row->name);
    g_autoptr(GpReference) reference = gp_reference_parse(row->reference, &error);
    expect_success(error, row->name);
    g_autoptr(GpCredential) credential = gp_credentials_lookup(credentials, reference);
    g_assert_cmpint(credential != NULL, ==, row->username || row->token);
    if (!credential)
        return;
    g_assert_cmpstr(credential->username, ==, row->username);
    g_assert_cmpstr(credential->password, ==, row->password);
    g_assert_cmpstr(credential->identity_token, ==, row->token);
}

typedef struct {
    const char *name, *json, *reason;
} RefusedRow;

/* "c2VjcmV0" and "hunter2" play the secret: no message may have them. */
static const RefusedRow refused[] = {
    {"no-json", "auths", "auth.json: line 1, column"},
    {"empty", "", "auth.json: line 1, column"},
    {"array", "[]", "$: must be an object"},
    {"auths-is-no-object", "{'auths':[]}", "$.auths: must be an object"},
    {"entry-is-no-object", "{'auths':{'r.example':'c2VjcmV0'}}", "$.auths[\"r.example\"]: must be an object"},
    {"auth-is-no-string", "{'auths':{'r.example':{'auth':1}}}", "auth: must be a string"},
    {"auth-unpadded", "{'auths':{'r.example':{'auth':'aG9zdDpwdw'}}}", "auth: not padded standard base64"},
    {"auth-url-alphabet", "{'auths':{'r.example':{'auth':'dTo_Pz8_'}}}", "auth: not padded standard base64"},
    {"auth-with-line-break", "{'auths':{'r.example':{'auth':'dTpw\\n'}}}", "auth: not padded standard base64"},
    {"auth-with-unused-bits", "{'auths':{'r.example':{'auth':'dTp='}}}", "auth: not padded standard base64"},
    {"auth-without-colon", "{'auths':{'r.example':{'auth':'c2VjcmV0'}}}", "not \"user:password\""},
    {"auth-without-user", "{'auths':{'r.example':{'auth':'OnB3'}}}", "not \"user:password\""},
    {"auth-with-inner-nul", "{'auths':{'r.example':{'auth':'dTphAGI='}}}", "not UTF-8"},
    {"auth-is-no-utf-8", "{'auths':{'r.example':{'auth':'dTr/'}}}", "not UTF-8"},
    {"same-key-twice", "{'auths':{'r.example':{'auth':'c2VjcmV0','auth':'hunter2'}}}", "a key that is there twice"},
    {"syntax-error-at-the-secret", "{'auths':{'r.example':{'auth' 'hunter2'}}}", "line 1, column"},
    {"cut-off-inside-the-secret", "{'auths':{'r.example':{'auth':'hunter2", "line 1, column"},
};

static void check_refused(gconstpointer data)
{
    const RefusedRow *row = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpCredentials) credentials = parse(row->json, &error);
    g_assert_null(credentials);
    g_assert_nonnull(error);
    g_assert_true(g_str_has_prefix(error->message, "auth.json: "));
    g_assert_null(strstr(error->message, "c2VjcmV0"));
    g_assert_null(strstr(error->message, "hunter2"));
    expect_refusal(&error, GP_ERROR_INVALID, row->reason, row->name);
}

static void too_large_is_refused(void)
{
    g_autofree char *blanks = g_strnfill(2 << 20, ' ');
    g_autoptr(GError) error = NULL;
    g_assert_null(parse(blanks, &error));
    expect_refusal(&error, GP_ERROR_LIMIT, "auth.json: 2097152 bytes", "too large is refused");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ROWS_ADD("/policy/credentials/lookup/", lookups, check_lookup);
    ROWS_ADD("/policy/credentials/refused/", refused, check_refused);
    g_test_add_func("/policy/credentials/too-large-is-refused", too_large_is_refused);
    return g_test_run();
}
