/* The fetch worker and its client against a registry that answers whatever a test wants. */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/worker.h"
#include "puller/fetch.h"
#include "tests/unit/puller/http_server.h"

#define TYPE "application/vnd.oci.image.manifest.v1+json"
#define DOCUMENT "{\"schemaVersion\":2}"

static const char *const no_worker = "GUEST_PULL_LIBEXEC is not set, so there is no worker to test";

typedef struct {
    HttpServer *server, *other;
    GpFetch *fetch;
    GpCredential credential;
    GpLocation location;
    char *plain[4];
    char *blob;
    gsize size;
    GpDigest digest;
    guint first_status;
    const char *text; /* what the handler needs */
    gint flag;
} Case;

static void make_blob(Case *c, gsize size)
{
    c->size = size;
    c->blob = g_malloc0(size + 1);
    for (gsize i = 0; i < size; i++)
        c->blob[i] = (char) (i * 31 + i / 4093);
    gp_digest_of(GP_DIGEST_SHA256, c->blob, size, &c->digest);
}

/* A plain server with @handler, a second one with @other (or NULL), and a worker that may ask both. */
static Case *case_new(HttpHandler handler, HttpHandler other, guint timeout)
{
    Case *c = g_new0(Case, 1);
    c->server = http_server_new(handler, c, NULL);
    c->plain[0] = g_strdup_printf("127.0.0.1:%u", c->server->port);
    if (other) {
        c->other = http_server_new(other, c, NULL);
        c->plain[1] = g_strdup_printf("127.0.0.1:%u", c->other->port);
    }
    c->plain[other ? 2 : 1] = g_strdup_printf("localhost:%u", c->server->port);
    c->location = (GpLocation){.host = c->plain[0], .repository = (char *) (guintptr) "team/app", .plain_http = TRUE};
    GpFetchConfig config = {.plain_http = c->plain, .timeout = timeout ? timeout : 30};
    g_autoptr(GError) error = NULL;
    c->fetch = gp_fetch_start(&config, &error);
    g_assert_no_error(error);
    return c;
}

static void case_free(Case *c)
{
    gp_fetch_free(c->fetch);
    http_server_free(c->server);
    http_server_free(c->other);
    g_free(c->plain[0]);
    g_free(c->plain[1]);
    g_free(c->plain[2]);
    g_free(c->blob);
    g_free(c);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Case, case_free)

static void use_password(Case *c)
{
    c->credential.username = (char *) (guintptr) "anna";
    c->credential.password = (char *) (guintptr) "pa:ss";
    c->location.credential = &c->credential;
}

#define BASIC "Basic YW5uYTpwYTpzcw=="

static void assert_error(const GError *error, GpErrorCode code, const char *reason)
{
    g_assert_nonnull(error);
    if (gp_error_code(error) != code || !strstr(error->message, reason))
        g_test_message("got: %s: %s", gp_error_info((int) gp_error_code(error))->name, error->message);
    g_assert_cmpint(gp_error_code(error), ==, code);
    g_assert_nonnull(strstr(error->message, reason));
}

static void assert_manifest(Case *c)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *type = NULL;
    g_autoptr(GBytes) bytes = gp_fetch_manifest(c->fetch, &c->location, "v1", &type, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), DOCUMENT, strlen(DOCUMENT));
    g_assert_cmpstr(type, ==, TYPE);
}

static void assert_manifest_fails(Case *c, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = gp_fetch_manifest(c->fetch, &c->location, "v1", NULL, &error);
    g_assert_null(bytes);
    assert_error(error, code, reason);
}

/* Fetches the case's blob; the number of bytes that came, all of which must be right. */
static gsize fetch_blob(Case *c, GError **error)
{
    g_autoptr(GpFetchBlob) blob = gp_fetch_blob_open(c->fetch, &c->location, &c->digest, c->size, error);
    if (!blob)
        return 0;
    g_autoptr(GBytes) bytes = gp_read_all(gp_fetch_blob_fd(blob), c->size, "blob", error);
    g_assert_nonnull(bytes);
    gsize got = g_bytes_get_size(bytes);
    g_assert_true(got == 0 || memcmp(g_bytes_get_data(bytes, NULL), c->blob, got) == 0);
    gp_fetch_blob_finish(blob, error);
    return got;
}

static void assert_blob(Case *c)
{
    g_autoptr(GError) error = NULL;
    gsize got = fetch_blob(c, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(got, ==, c->size);
}

static void assert_blob_fails(Case *c, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    fetch_blob(c, &error);
    assert_error(error, code, reason);
}

static void answer_manifest(HttpConnection *c)
{
    http_answer(c, 200, "Content-Type: " TYPE "\r\n", DOCUMENT, strlen(DOCUMENT));
}

/* ---- plain answers */

static void serve_plain(HttpConnection *c, gpointer data)
{
    answer_manifest(c);
}

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

static gboolean has_authorization(HttpConnection *c, const char *value)
{
    g_autofree char *field = http_field(c->head, "Authorization");
    return g_strcmp0(field, value) == 0;
}

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

static void serve_blob(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_answer(c, 200, "", test->blob, test->size);
}

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

/* ---- trying again */

static void serve_busy(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    if (c->number <= (guint) test->flag)
        http_answer(c, (int) test->first_status, test->text, "", 0);
    else
        answer_manifest(c);
}

static void test_retry(void)
{
    g_autoptr(Case) c = case_new(serve_busy, NULL, 0);
    c->flag = 2;
    c->first_status = 503;
    c->text = "";
    assert_manifest(c);
    g_assert_cmpuint(c->server->heads->len, ==, 3);
    c->flag = 1000;
    assert_manifest_fails(c, GP_ERROR_NETWORK, "answers 503 (tried 4 times)");
    g_assert_cmpuint(c->server->heads->len, ==, 7);
}

static void test_retry_after(void)
{
    g_autoptr(Case) c = case_new(serve_busy, NULL, 0);
    c->flag = 1;
    c->first_status = 429;
    c->text = "Retry-After: 1\r\n";
    gint64 start = g_get_monotonic_time();
    assert_manifest(c);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, G_USEC_PER_SEC);
}

static void test_no_time_for_retry(void)
{
    g_autoptr(Case) c = case_new(serve_busy, NULL, 2);
    c->flag = 1;
    c->first_status = 429;
    c->text = "Retry-After: 20\r\n";
    assert_manifest_fails(c, GP_ERROR_NETWORK, "no time is left");
}

static void serve_stall(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_print(c, "HTTP/1.1 200 X\r\nContent-Length: %" G_GSIZE_FORMAT "\r\n\r\n", test->size);
    http_write(c, test->blob, 10);
    char byte;
    (void) !http_read(c, &byte, 1);
}

static void test_stall(void)
{
    g_autoptr(Case) c = case_new(serve_stall, NULL, 2);
    make_blob(c, 1000);
    gint64 start = g_get_monotonic_time();
    assert_blob_fails(c, GP_ERROR_NETWORK, "no end after 2 seconds");
    g_assert_cmpint(g_get_monotonic_time() - start, <, 4 * G_USEC_PER_SEC);
}

static void test_nobody_there(void)
{
    g_autoptr(Case) c = case_new(serve_plain, NULL, 0);
    g_clear_pointer(&c->server, http_server_free);
    assert_manifest_fails(c, GP_ERROR_NETWORK, "(tried 4 times)");
}

static void test_worker_dies(void)
{
    g_autoptr(Case) c = case_new(serve_stall, NULL, 0);
    make_blob(c, 1000);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpFetchBlob) blob = gp_fetch_blob_open(c->fetch, &c->location, &c->digest, c->size, &error);
    char start[10];
    g_assert_cmpint(gp_read_full(gp_fetch_blob_fd(blob), start, sizeof start, &error), ==, 10);
    gp_worker_kill_all();
    g_assert_cmpint(gp_read_full(gp_fetch_blob_fd(blob), start, sizeof start, &error), ==, 0);
    g_assert_false(gp_fetch_blob_finish(blob, &error));
    assert_error(error, GP_ERROR_SANDBOX, "the fetch worker died");
    assert_manifest_fails(c, GP_ERROR_SANDBOX, "the fetch worker died");
}

static void serve_endless_then_plain(HttpConnection *c, gpointer data)
{
    if (strstr(c->path, "/blobs/"))
        serve_blob(c, data);
    else
        answer_manifest(c);
}

static void test_given_up(void)
{
    g_autoptr(Case) c = case_new(serve_endless_then_plain, NULL, 0);
    make_blob(c, 64 * 1024 * 1024);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpFetchBlob) blob = gp_fetch_blob_open(c->fetch, &c->location, &c->digest, c->size, &error);
    char start[10];
    g_assert_cmpint(gp_read_full(gp_fetch_blob_fd(blob), start, sizeof start, &error), ==, 10);
    g_assert_false(gp_fetch_blob_finish(blob, &error));
    assert_error(error, GP_ERROR_NETWORK, "given up");
    assert_manifest(c);
}

/* ---- redirects */

static void redirect(HttpConnection *c, const char *target)
{
    g_autofree char *field = g_strdup_printf("Location: %s\r\n", target);
    http_answer(c, 307, field, "", 0);
}

static void serve_redirect_away(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    g_autofree char *target = g_strdup_printf("http://127.0.0.1:%u/storage?secret=1", test->other->port);
    if (has_authorization(c, BASIC))
        redirect(c, target);
    else
        http_answer(c, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "", 0);
}

static void serve_storage(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    if (test->flag)
        http_answer(c, 401, "WWW-Authenticate: Basic realm=\"give me\"\r\n", "", 0);
    else
        http_answer(c, 200, "", test->blob, test->size);
}

static void test_redirect_leaks_nothing(void)
{
    g_autoptr(Case) c = case_new(serve_redirect_away, serve_storage, 0);
    make_blob(c, 1000);
    use_password(c);
    assert_blob(c);
    g_autofree char *leak = http_field(c->other->heads->pdata[0], "Authorization");
    g_assert_null(leak);
    g_assert_null(strstr(c->other->heads->pdata[0], "YW5uYT"));

    c->flag = 1;
    g_autoptr(GError) error = NULL;
    fetch_blob(c, &error);
    assert_error(error, GP_ERROR_AUTH, "credentials, which are not for it");
    g_assert_null(strstr(error->message, "secret"));
    g_autofree char *again = http_field(c->other->heads->pdata[1], "Authorization");
    g_assert_null(again);
    g_assert_cmpuint(c->other->heads->len, ==, 2);
}

static void serve_same_host_redirect(HttpConnection *c, gpointer data)
{
    if (!has_authorization(c, BASIC))
        http_answer(c, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "", 0);
    else if (strstr(c->path, "/there"))
        answer_manifest(c);
    else
        redirect(c, "/v2/there");
}

static void test_redirect_on_same_host(void)
{
    g_autoptr(Case) c = case_new(serve_same_host_redirect, NULL, 0);
    use_password(c);
    assert_manifest(c);
}

static void serve_text_redirect(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    if (test->flag) {
        g_autofree char *next = g_strdup_printf("/step%u", c->number);
        redirect(c, next);
    } else {
        redirect(c, test->text);
    }
}

static void test_bad_redirects(void)
{
    static const struct {
        const char *target;
        const char *reason;
    } rows[] = {
        {"/v2/team/app/manifests/v1", "in a circle"},
        {"file:///etc/passwd", "no http or https URL"},
        {"http://user:password@127.0.0.1/", "no http or https URL"},
        {"http://127.0.0.1:1/x", "plain http is not allowed for 127.0.0.1:1"},
    };
    g_autoptr(Case) c = case_new(serve_text_redirect, NULL, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        c->text = rows[i].target;
        assert_manifest_fails(c, GP_ERROR_INVALID, rows[i].reason);
    }
    c->flag = 1;
    guint before = c->server->heads->len;
    assert_manifest_fails(c, GP_ERROR_LIMIT, "more than 10 redirects");
    g_assert_cmpuint(c->server->heads->len - before, ==, GP_LIMIT_REDIRECTS + 1);
}

/* ---- what must not be asked at all */

static void test_not_into_urls(void)
{
    g_autoptr(Case) c = case_new(serve_plain, NULL, 0);
    static const char *const selectors[] = {
        "", "../x", "a/b", "sha256:abc", "sha256:../../../x", "tag?x=y", "a b", ".hidden", "a\r\nX: y"};
    for (gsize i = 0; i < G_N_ELEMENTS(selectors); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(gp_fetch_manifest(c->fetch, &c->location, selectors[i], NULL, &error));
        assert_error(error, GP_ERROR_INVALID, "not to be put into a URL");
    }
    static const char *const repositories[] = {"", "a//b", "../a", "a/../b", "A", "a/", "/a", "a?b", "a#b"};
    for (gsize i = 0; i < G_N_ELEMENTS(repositories); i++) {
        c->location.repository = (char *) (guintptr) repositories[i];
        assert_manifest_fails(c, GP_ERROR_INVALID, "not to be put into a URL");
    }
    g_assert_cmpuint(c->server->heads->len, ==, 0);
}

static void test_url(void)
{
    g_autoptr(Case) c = case_new(serve_plain, NULL, 0);
    g_autofree char *good = g_strdup_printf("http://%s/sig/signature-1", c->plain[0]);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = gp_fetch_url(c->fetch, good, 1000, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_bytes_get_size(bytes), ==, strlen(DOCUMENT));
    g_assert_null(gp_fetch_url(c->fetch, good, 3, &error));
    assert_error(error, GP_ERROR_LIMIT, "more than 3 bytes");
    g_clear_error(&error);
    g_autofree char *named = g_strdup_printf("http://%s/x", c->plain[1]); /* needs the resolver's thread */
    g_autoptr(GBytes) again = gp_fetch_url(c->fetch, named, 1000, &error);
    g_assert_no_error(error);
    static const struct {
        const char *url, *reason;
    } rows[] = {
        {"http://localhost:1/x", "plain http is not allowed for localhost:1"},
        {"file:///etc/passwd", "not a proper http or https URL"},
        {"https://user:password@localhost/", "not a proper http or https URL"},
        {"nonsense", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) refusal = NULL;
        g_assert_null(gp_fetch_url(c->fetch, rows[i].url, 1000, &refusal));
        assert_error(refusal, GP_ERROR_INVALID, rows[i].reason);
    }
}

/* ---- TLS */

typedef struct {
    char *directory, *pem, *trusted;
} Certificate;

static Certificate make_certificate(void)
{
    Certificate made = {.directory = g_dir_make_tmp("guest-pull-test-XXXXXX", NULL)};
    made.trusted = g_build_filename(made.directory, "trusted", NULL);
    made.pem = g_build_filename(made.directory, "server.pem", NULL);
    g_autofree char *root = g_build_filename(made.trusted, "root.crt", NULL);
    g_assert_cmpint(g_mkdir(made.trusted, 0700), ==, 0);
    g_autofree char *command =
        g_strdup_printf("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                        "-days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s",
            made.pem, root);
    int status;
    g_autofree char *out = NULL, *err = NULL, *text = NULL, *key = NULL;
    g_assert_true(g_spawn_command_line_sync(command, &out, &err, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    g_assert_true(g_file_get_contents(root, &text, NULL, NULL) && g_file_get_contents(made.pem, &key, NULL, NULL));
    g_autofree char *both = g_strconcat(text, key, NULL);
    g_assert_true(g_file_set_contents(made.pem, both, -1, NULL));
    return made;
}

static void certificate_clear(Certificate *made)
{
    gp_remove_tree(AT_FDCWD, made->directory, NULL);
    g_free(made->directory);
    g_free(made->pem);
    g_free(made->trusted);
}

static GError *ask_over_tls(const Certificate *made, HttpHandler handler, const char *cert_dir, Case *c)
{
    HttpServer *server = http_server_new(handler, c, made->pem);
    g_autofree char *host = g_strdup_printf("127.0.0.1:%u", server->port);
    GpLocation location = {.host = host, .repository = (char *) (guintptr) "team/app"};
    use_password(c);
    location.credential = c->location.credential;
    GpFetchConfig config = {.plain_http = c->plain, .timeout = 10, .cert_dir = (char *) (guintptr) cert_dir};
    GError *error = NULL;
    g_autoptr(GpFetch) fetch = gp_fetch_start(&config, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) bytes = gp_fetch_manifest(fetch, &location, "v1", NULL, &error);
    g_clear_pointer(&fetch, gp_fetch_free);
    http_server_free(server);
    return error;
}

static void serve_http_realm(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    g_autofree char *field = g_strdup_printf("WWW-Authenticate: Bearer realm=\"http://%s/token\"\r\n", test->plain[0]);
    http_answer(c, 401, field, "", 0);
}

static void serve_http_redirect(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    g_autofree char *target = g_strdup_printf("http://%s/x", test->plain[0]);
    redirect(c, target);
}

static void test_tls(void)
{
    Certificate made = make_certificate();
    g_autoptr(Case) c = case_new(serve_plain, NULL, 0);
    g_autoptr(GError) good = ask_over_tls(&made, serve_plain, made.trusted, c);
    g_assert_no_error(good);
    g_autoptr(GError) untrusted = ask_over_tls(&made, serve_plain, NULL, c);
    assert_error(untrusted, GP_ERROR_NETWORK, "certificate");
    g_autoptr(GError) realm = ask_over_tls(&made, serve_http_realm, made.trusted, c);
    assert_error(realm, GP_ERROR_AUTH, "credentials sent over plain http");
    g_autoptr(GError) target = ask_over_tls(&made, serve_http_redirect, made.trusted, c);
    assert_error(target, GP_ERROR_INVALID, "redirected from https to plain http");
    g_assert_cmpuint(c->server->heads->len, ==, 0);

    c->location.plain_http = FALSE; /* https is spoken to a plain server */
    assert_manifest_fails(c, GP_ERROR_NETWORK, "");
    g_assert_cmpuint(c->server->heads->len, ==, 0);
    certificate_clear(&made);
}

/* data: the server to redirect to, or NULL. Each server notes whether it was shown a certificate. */
static void serve_with_certificate(HttpConnection *c, gpointer data)
{
    HttpServer *target = data;
    X509 *shown = SSL_get1_peer_certificate(c->ssl);
    g_ptr_array_add(c->server->heads, g_strdup(shown ? "shown" : "not shown"));
    X509_free(shown);
    if (target) {
        g_autofree char *url = g_strdup_printf("https://127.0.0.1:%u/x", target->port);
        redirect(c, url);
    } else {
        answer_manifest(c);
    }
}

static int accept_any(int good, X509_STORE_CTX *context)
{
    return 1;
}

static HttpServer *certificate_server(const Certificate *made, HttpServer *target)
{
    HttpServer *server = http_server_new(serve_with_certificate, target, made->pem);
    SSL_CTX_set_verify(server->tls, SSL_VERIFY_PEER, accept_any);
    return server;
}

static void test_client_certificate(void)
{
    Certificate made = make_certificate();
    g_autofree char *root = g_build_filename(made.trusted, "root.crt", NULL);
    g_autofree char *certificate = g_build_filename(made.trusted, "client.cert", NULL);
    g_autofree char *key = g_build_filename(made.trusted, "client.key", NULL);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(root, &text, NULL, NULL) && g_file_set_contents(certificate, text, -1, NULL));
    g_autofree char *pem = NULL;
    g_assert_true(g_file_get_contents(made.pem, &pem, NULL, NULL) && g_file_set_contents(key, pem, -1, NULL));
    g_assert_cmpint(g_chmod(made.directory, 0700), ==, 0); /* what nobody could not read after the confinement */

    HttpServer *other = certificate_server(&made, NULL), *registry = certificate_server(&made, other);
    g_autofree char *host = g_strdup_printf("127.0.0.1:%u", registry->port);
    GpLocation location = {.host = host, .repository = (char *) (guintptr) "team/app"};
    GpFetchConfig config = {.timeout = 10, .cert_dir = made.trusted};
    g_autoptr(GError) error = NULL;
    g_autoptr(GpFetch) fetch = gp_fetch_start(&config, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) bytes = gp_fetch_manifest(fetch, &location, "v1", NULL, &error);
    g_assert_no_error(error);
    g_clear_pointer(&fetch, gp_fetch_free);
    g_assert_cmpstr(registry->heads->pdata[1], ==, "shown");
    g_assert_cmpstr(other->heads->pdata[1], ==, "not shown");
    http_server_free(registry);
    http_server_free(other);
    certificate_clear(&made);
}

static void test_certificate_directory(void)
{
    static const struct {
        const char *file, *content, *reason;
    } rows[] = {
        {"client.cert", "x", "client.key is missing"},
        {"client.key", "x", "client.cert is missing"},
        {"root.crt", "no certificate", "no certificate in PEM form"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *directory = g_dir_make_tmp("guest-pull-test-XXXXXX", NULL);
        g_autofree char *path = g_build_filename(directory, rows[i].file, NULL);
        g_assert_true(g_file_set_contents(path, rows[i].content, -1, NULL));
        GpFetchConfig config = {.cert_dir = directory};
        g_autoptr(GError) error = NULL;
        GpFetch *fetch = gp_fetch_start(&config, &error);
        gp_remove_tree(AT_FDCWD, directory, NULL);
        g_assert_null(fetch);
        assert_error(error, GP_ERROR_USAGE, rows[i].reason);
    }
    GpFetchConfig config = {.cert_dir = (char *) (guintptr) "/nowhere/at/all"};
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_fetch_start(&config, &error));
    assert_error(error, GP_ERROR_USAGE, "/nowhere/at/all");
}

static void skip(void)
{
    g_test_skip(no_worker);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void) signal(SIGPIPE, SIG_IGN);
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
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
        {"retry", test_retry},
        {"retry-after", test_retry_after},
        {"no-time-for-retry", test_no_time_for_retry},
        {"stall", test_stall},
        {"nobody-there", test_nobody_there},
        {"worker-dies", test_worker_dies},
        {"given-up", test_given_up},
        {"redirect-leaks-nothing", test_redirect_leaks_nothing},
        {"redirect-on-same-host", test_redirect_on_same_host},
        {"bad-redirects", test_bad_redirects},
        {"not-into-urls", test_not_into_urls},
        {"url", test_url},
        {"tls", test_tls},
        {"client-certificate-is-for-the-registry-only", test_client_certificate},
        {"certificate-directory", test_certificate_directory},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *name = g_strconcat("/puller/fetch/", tests[i].name, NULL);
        g_test_add_func(name, g_getenv("GUEST_PULL_LIBEXEC") ? tests[i].run : skip);
    }
    return g_test_run();
}
