/* The fetch worker and its client: trying again, redirects, what is not asked, TLS. */
#include "tests/unit/puller/fetch_fixture.h"

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

int main(int argc, char **argv)
{
    static const FetchTest tests[] = {
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
    return run_tests(argc, argv, "/puller/fetch-trouble/", tests, G_N_ELEMENTS(tests));
}
