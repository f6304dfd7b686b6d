/* What the tests of the fetch worker and its client share: servers that answer whatever a test wants, a worker that may
 * ask them, and what must come of it. */
#pragma once

#pragma GCC diagnostic ignored "-Wunused-function"

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

static void serve_plain(HttpConnection *c, gpointer data)
{
    answer_manifest(c);
}

static gboolean has_authorization(HttpConnection *c, const char *value)
{
    g_autofree char *field = http_field(c->head, "Authorization");
    return g_strcmp0(field, value) == 0;
}

static void serve_blob(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    http_answer(c, 200, "", test->blob, test->size);
}

static void skip(void)
{
    g_test_skip(no_worker);
}

typedef struct {
    const char *name;
    void (*run)(void);
} FetchTest;

/* Adds and runs @tests below @path; without a worker they are skipped. */
static int run_tests(int argc, char **argv, const char *path, const FetchTest *tests, gsize n)
{
    g_test_init(&argc, &argv, NULL);
    (void) signal(SIGPIPE, SIG_IGN);
    for (gsize i = 0; i < n; i++) {
        g_autofree char *name = g_strconcat(path, tests[i].name, NULL);
        g_test_add_func(name, g_getenv("GUEST_PULL_LIBEXEC") ? tests[i].run : skip);
    }
    return g_test_run();
}
