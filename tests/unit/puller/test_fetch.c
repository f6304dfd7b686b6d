/* The fetch worker and its client: answers, authentication, blobs. */
#include "tests/unit/puller/fetch_fixture.h"

/* ---- plain answers */

static void test_manifest(void)
{
    g_autoptr(Case) c = case_new(serve_plain, NULL, 0);
    assert_manifest(c);
    const char *head = c->server->heads->pdata[0];
    g_assert_true(g_str_has_prefix(head, "GET /v2/team/app/manifests/v1 HTTP/1.1\r\n"));
    g_autofree char *accept = http_field(head, "Accept");
    g_assert_nonnull(strstr(accept, TYPE));
    g_assert_nonnull(strstr(accept, "manifest.list.v2+json"));
    g_autofree char *encoding = http_field(head, "Accept-Encoding");
    g_assert_null(encoding);
    g_autofree char *authorization = http_field(head, "Authorization");
    g_assert_null(authorization);
}

static void serve_not_found(HttpConnection *c, gpointer data)
{
    const char *body = "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no \\u001b[31m such\"}]}";
    http_answer(c, 404, "", body, strlen(body));
}

static void test_not_found(void)
{
    g_autoptr(Case) c = case_new(serve_not_found, NULL, 0);
    assert_manifest_fails(c, GP_ERROR_NOT_FOUND, "answers 404: MANIFEST_UNKNOWN: no \\x1b[31m such");
}

static void serve_status(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_answer(c, (int) test->first_status, "", test->text, strlen(test->text));
}

static void test_statuses(void)
{
    static const struct {
        guint status;
        const char *body;
        GpErrorCode code;
        const char *reason;
    } rows[] = {
        {204, "", GP_ERROR_INVALID, "answers 204"},
        {206, "x", GP_ERROR_INVALID, "a part although all of it"},
        {304, "", GP_ERROR_INVALID, "answers 304"},
        {400, "{\"errors\":[{\"code\":\"NAME_UNKNOWN\"}]}", GP_ERROR_NOT_FOUND, "NAME_UNKNOWN"},
        {400, "[[[[", GP_ERROR_INVALID, "answers 400"},
        {403, "", GP_ERROR_AUTH, "answers 403"},
        {406, "", GP_ERROR_INVALID, "answers 406"},
        {418, "", GP_ERROR_INVALID, "answers 418"},
        {501, "", GP_ERROR_NETWORK, "answers 501"},
    };
    g_autoptr(Case) c = case_new(serve_status, NULL, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        c->first_status = rows[i].status;
        c->text = rows[i].body;
        assert_manifest_fails(c, rows[i].code, rows[i].reason);
    }
}

static void serve_encoded(HttpConnection *c, gpointer data)
{
    http_answer(c, 200, "Content-Encoding: gzip\r\n", "x", 1);
}

static void test_encoded(void)
{
    g_autoptr(Case) c = case_new(serve_encoded, NULL, 0);
    assert_manifest_fails(c, GP_ERROR_INVALID, "encoded answer");
}

static void serve_endless(HttpConnection *c, gpointer data)
{
    static const char zeros[65536];
    const Case *test = data;
    gboolean on = http_print(c, "HTTP/1.1 %u X\r\nConnection: close\r\n\r\n", test->first_status);
    while (on)
        on = http_write(c, zeros, sizeof zeros);
}

static void test_endless(void)
{
    g_autoptr(Case) c = case_new(serve_endless, NULL, 0);
    c->first_status = 200;
    assert_manifest_fails(c, GP_ERROR_LIMIT, "more than 4194304 bytes");
    c->first_status = 404;
    assert_manifest_fails(c, GP_ERROR_NOT_FOUND, "answers 404");
}

static void serve_flood(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    gboolean on = http_print(c, "HTTP/1.1 200 X\r\n");
    g_autofree char *filler = g_strnfill(1000, 'a');
    for (guint i = 0; on && i < 100000; i++)
        on = test->flag ? http_write(c, filler, 1000) : http_print(c, "X-%u: %s\r\n", i, filler);
}

static void test_header_flood(void)
{
    g_autoptr(Case) c = case_new(serve_flood, NULL, 0);
    assert_manifest_fails(c, GP_ERROR_LIMIT, "bytes of header fields");
    c->flag = 1;
    assert_manifest_fails(c, GP_ERROR_LIMIT, "");
}

/* ---- authentication */

static void serve_basic(HttpConnection *c, gpointer data)
{
    if (has_authorization(c, BASIC))
        answer_manifest(c);
    else
        http_answer(
            c, 401, "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: bAsIc realm=\"a \\\"b\\\", c\"\r\n", "", 0);
}

static void test_basic(void)
{
    g_autoptr(Case) c = case_new(serve_basic, NULL, 0);
    assert_manifest_fails(c, GP_ERROR_AUTH, "wants a user name and a password");
    use_password(c);
    assert_manifest(c);
    guint before = c->server->heads->len;
    assert_manifest(c);
    g_assert_cmpuint(c->server->heads->len, ==, before + 1);
    c->credential.password = (char *) (guintptr) "wrong";
    assert_manifest_fails(c, GP_ERROR_AUTH, "not authorized");
    c->credential.username = (char *) (guintptr) "a:b";
    assert_manifest_fails(c, GP_ERROR_AUTH, "contains a colon");
}

/* Tokens are "t1", "t2", …; only the newest is good. test->first_status: what the token server answers (0: 200). */
static void serve_bearer(HttpConnection *c, gpointer data)
{
    Case *test = data;
    if (g_str_has_prefix(c->path, "/token")) {
        if (test->first_status) {
            http_answer(c, (int) test->first_status, "", "", 0);
            return;
        }
        g_autofree char *number = g_strdup_printf("%d", g_atomic_int_add(&test->flag, 1) + 1);
        g_auto(GStrv) around = g_strsplit(test->text, "%d", 2);
        g_autofree char *body = g_strjoinv(number, around);
        http_answer(c, 200, "", body, strlen(body));
        return;
    }
    g_autofree char *good = g_strdup_printf("Bearer t%d", g_atomic_int_get(&test->flag));
    g_autofree char *challenge = g_strdup_printf(
        "WWW-Authenticate: Basic realm=\"x\", Bearer realm=\"http://127.0.0.1:%u/token?a=b\",service=\"my registry\","
        "scope=\"repository:other/thing:push\"\r\n",
        c->server->port);
    if (has_authorization(c, good))
        answer_manifest(c);
    else
        http_answer(c, 401, challenge, "", 0);
}

static void test_bearer(void)
{
    g_autoptr(Case) c = case_new(serve_bearer, NULL, 0);
    c->text = "{\"token\":\"t%d\",\"expires_in\":300}";
    assert_manifest(c);
    assert_manifest(c);
    g_assert_cmpuint(http_count(c->server, "/token"), ==, 1);
    const char *head = c->server->heads->pdata[1];
    g_assert_true(
        g_str_has_prefix(head, "GET /token?a=b&service=my+registry&scope=repository%3ateam%2fapp%3apull HTTP/1.1\r\n"));
    g_autofree char *anonymous = http_field(head, "Authorization");
    g_assert_null(anonymous);

    g_atomic_int_inc(&c->flag); /* the kept token is no longer good: one renewal */
    assert_manifest(c);
    g_assert_cmpuint(http_count(c->server, "/token"), ==, 2);

    use_password(c); /* who asks with a password gets a token of his own */
    assert_manifest(c);
    g_assert_cmpuint(http_count(c->server, "/token"), ==, 3);
    head = c->server->heads->pdata[c->server->heads->len - 2];
    g_assert_nonnull(strstr(head, "&account=anna "));
    g_autofree char *basic = http_field(head, "Authorization");
    g_assert_cmpstr(basic, ==, BASIC);
}

static void test_bearer_refusals(void)
{
    g_autoptr(Case) c = case_new(serve_bearer, NULL, 0);
    c->text = "{\"token\":\"\",\"access_token\":\"t%d\"}";
    assert_manifest(c);
    static const struct {
        guint status;
        const char *token;
        GpErrorCode code;
        const char *reason;
    } rows[] = {
        {0, "{\"token\":\"bad%d\"}", GP_ERROR_AUTH, "not authorized"},
        {0, "{\"token\":\"a\\r\\nX-Evil: %d\"}", GP_ERROR_AUTH, "no usable token"},
        {0, "{\"nothing\":%d}", GP_ERROR_AUTH, "no usable token"},
        {0, "%d, nonsense", GP_ERROR_INVALID, "token: line 1"},
        {401, "", GP_ERROR_AUTH, "/token answers 401"},
        {302, "", GP_ERROR_AUTH, "/token answers 302"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *repository = g_strdup_printf("team/app%u", (guint) i);
        c->location.repository = repository;
        c->first_status = rows[i].status;
        c->text = rows[i].token;
        assert_manifest_fails(c, rows[i].code, rows[i].reason);
    }
}

static void serve_identity(HttpConnection *c, gpointer data)
{
    if (g_str_has_prefix(c->path, "/token")) {
        gboolean good = g_str_has_prefix(c->head, "POST /token HTTP") && strstr(c->body, "grant_type=refresh_token&") &&
                        strstr(c->body, "refresh_token=id%2Btoken") &&
                        strstr(c->body, "scope=repository%3Ateam%2Fapp%3Apull");
        http_answer(c, good ? 200 : 400, "", "{\"access_token\":\"t\"}", 20);
        return;
    }
    g_autofree char *challenge =
        g_strdup_printf("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\"\r\n", c->server->port);
    if (has_authorization(c, "Bearer t"))
        answer_manifest(c);
    else
        http_answer(c, 401, challenge, "", 0);
}

static void test_identity_token(void)
{
    g_autoptr(Case) c = case_new(serve_identity, NULL, 0);
    c->credential.identity_token = (char *) (guintptr) "id+token";
    c->location.credential = &c->credential;
    assert_manifest(c);
}

static void serve_challenge(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    g_autofree char *field = g_strdup_printf("WWW-Authenticate: %s\r\n", test->text);
    http_answer(c, 401, field, "", 0);
}

static void test_bad_challenges(void)
{
    static const struct {
        const char *field, *reason;
    } rows[] = {
        {"Negotiate", "neither Basic nor Bearer"},
        {"Bearer realm=\"ftp://x/y\"", "no URL"},
        {"Bearer realm=\"http://user:pw@x/y\"", "no URL"},
        {"Bearer realm=\"unclosed", "without a proper value"},
        {"Bearer", "neither Basic nor Bearer"},
    };
    g_autoptr(Case) c = case_new(serve_challenge, NULL, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        c->text = rows[i].field;
        assert_manifest_fails(c, GP_ERROR_AUTH, rows[i].reason);
    }
}

/* ---- blobs */

static void test_blob(void)
{
    g_autoptr(Case) c = case_new(serve_blob, NULL, 0);
    make_blob(c, 5 * 1024 * 1024 + 17);
    assert_blob(c);
    g_autofree char *text = gp_digest_to_string(&c->digest);
    g_autofree char *start = g_strdup_printf("GET /v2/team/app/blobs/%s HTTP", text);
    g_assert_true(g_str_has_prefix(c->server->heads->pdata[0], start));
}

static gpointer blob_thread(gpointer data)
{
    for (int i = 0; i < 4; i++)
        assert_blob(data);
    return NULL;
}

static void test_blobs_at_once(void)
{
    g_autoptr(Case) c = case_new(serve_blob, NULL, 0);
    make_blob(c, 700 * 1024);
    GThread *threads[8];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("blob", blob_thread, c);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpuint(c->server->heads->len, ==, 32);
}

static void serve_shorter(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_answer(c, 200, "", test->blob, test->size - 1);
}

static void serve_longer(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_answer(c, 200, "", test->blob, test->size + 1);
}

static void serve_longer_unannounced(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_print(c, "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n");
    http_write(c, test->blob, test->size);
    http_write(c, test->blob, test->size);
}

static void serve_shorter_unannounced(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_print(c, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\n");
    http_write(c, test->blob, 3);
    http_print(c, "\r\n0\r\n\r\n");
}

static void test_wrong_lengths(void)
{
    static const struct {
        HttpHandler handler;
        GpErrorCode code;
        const char *reason;
    } rows[] = {
        {serve_shorter, GP_ERROR_INVALID, "announces 99999 bytes, the manifest leaves 100000"},
        {serve_longer, GP_ERROR_INVALID, "announces 100001 bytes"},
        {serve_longer_unannounced, GP_ERROR_INVALID, "more than the 100000 bytes"},
        {serve_shorter_unannounced, GP_ERROR_NETWORK, "ends too early (tried 4 times)"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Case) c = case_new(rows[i].handler, NULL, 0);
        make_blob(c, 100000);
        assert_blob_fails(c, rows[i].code, rows[i].reason);
    }
}

/* The first answer breaks in the middle; the later ones are test->flag's kind. */
enum { REST_RIGHT, REST_WHOLE, REST_WRONG_START, REST_WRONG_TOTAL, REST_NO_RANGE, REST_UNKNOWN_TOTAL, REST_416 };

static void serve_broken(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    gsize half = test->size / 2;
    g_autofree char *range = http_field(c->head, "Range");
    if (c->number == 1) {
        http_print(c, "HTTP/1.1 200 X\r\nContent-Length: %" G_GSIZE_FORMAT "\r\n\r\n", test->size);
        http_write(c, test->blob, half);
        return;
    }
    gsize from = range ? (gsize) g_ascii_strtoull(range + strlen("bytes="), NULL, 10) : 0;
    gsize said = test->flag == REST_WRONG_START ? from - 1 : from;
    gsize total = test->flag == REST_WRONG_TOTAL ? test->size + 1 : test->size;
    g_autofree char *field = NULL;
    switch (test->flag) {
    case REST_WHOLE:
        http_answer(c, 200, "", test->blob, test->size);
        return;
    case REST_416:
        http_answer(c, 416, "", "", 0);
        return;
    case REST_NO_RANGE:
        field = g_strdup("");
        break;
    case REST_UNKNOWN_TOTAL:
        field = g_strdup_printf("Content-Range: bytes %zu-%zu/*\r\n", from, test->size - 1);
        break;
    default:
        field = g_strdup_printf("Content-Range: bytes %zu-%zu/%zu\r\n", said, total - 1, total);
    }
    http_answer(c, 206, field, test->blob + said, total - said);
}

static void test_resume(void)
{
    static const struct {
        int kind;
        GpErrorCode code;
        const char *reason; /* NULL: succeeds */
    } rows[] = {
        {REST_RIGHT, 0, NULL},
        {REST_WHOLE, 0, NULL},
        {REST_WRONG_START, GP_ERROR_INVALID, "the server sends bytes"},
        {REST_WRONG_TOTAL, GP_ERROR_INVALID, "the server sends bytes"},
        {REST_NO_RANGE, GP_ERROR_INVALID, "does not say properly which part"},
        {REST_UNKNOWN_TOTAL, GP_ERROR_INVALID, "does not say properly which part"},
        {REST_416, GP_ERROR_INVALID, "answers 416"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Case) c = case_new(serve_broken, NULL, 0);
        make_blob(c, 3 * 1024 * 1024 + 5);
        c->flag = rows[i].kind;
        if (rows[i].reason)
            assert_blob_fails(c, rows[i].code, rows[i].reason);
        else
            assert_blob(c);
        g_autofree char *range = http_field(c->server->heads->pdata[1], "Range");
        g_assert_cmpstr(range, ==, "bytes=1572866-");
    }
}

int main(int argc, char **argv)
{
    static const FetchTest tests[] = {
        {"manifest", test_manifest},
        {"not-found-escapes-the-registrys-words", test_not_found},
        {"statuses", test_statuses},
        {"encoded-answer-is-refused", test_encoded},
        {"endless-body", test_endless},
        {"header-flood", test_header_flood},
        {"basic", test_basic},
        {"bearer", test_bearer},
        {"bearer-refusals", test_bearer_refusals},
        {"identity-token", test_identity_token},
        {"bad-challenges", test_bad_challenges},
        {"blob", test_blob},
        {"blobs-at-once", test_blobs_at_once},
        {"wrong-lengths", test_wrong_lengths},
        {"resume", test_resume},
    };
    return run_tests(argc, argv, "/puller/fetch/", tests, G_N_ELEMENTS(tests));
}
