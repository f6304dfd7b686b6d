/* The search for referrers, through the real fetch worker, in a registry that answers whatever a test wants. */

#include "base/error.h"
#include "base/limits.h"
#include "puller/source.h"
#include "puller/worker_header.h"
#include "tests/unit/puller/http_server.h"

#define MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define INDEX "application/vnd.oci.image.index.v1+json"
#define BUNDLE "application/vnd.dev.sigstore.bundle.v0.3+json"

typedef struct {
    HttpServer *server;
    GpFetch *fetch;
    GpSource *source;
    GpLocation location;
    char *plain[2];
    GpDigest image;
    GHashTable *answers; /* path with query → "STATUS\vheader lines\vbody" */
} Case;

static void serve(HttpConnection *c, gpointer data)
{
    const Case *test = data;
    const char *answer = g_hash_table_lookup(test->answers, c->path);
    if (!answer) {
        http_answer(c, 404, "", "", 0);
        return;
    }
    g_auto(GStrv) parts = g_strsplit(answer, "\v", 3);
    g_autofree char *fields = parts[1][0] ? g_strconcat(parts[1], "\r\n", NULL) : g_strdup("");
    http_answer(c, (int) g_ascii_strtoll(parts[0], NULL, 10), fields, parts[2], strlen(parts[2]));
}

static Case *case_new(void)
{
    Case *c = g_new0(Case, 1);
    c->answers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    c->server = http_server_new(serve, c, NULL);
    c->plain[0] = g_strdup_printf("127.0.0.1:%u", c->server->port);
    c->location = (GpLocation){.host = c->plain[0], .repository = (char *) (guintptr) "app", .plain_http = TRUE};
    gp_digest_of(GP_DIGEST_SHA256, "image", 5, &c->image);
    g_autoptr(GError) error = NULL;
    c->fetch = gp_fetch_start(&(GpFetchConfig){.plain_http = c->plain, .timeout = 30}, &error);
    g_assert_no_error(error);
    g_autofree char *text = g_strconcat(c->plain[0], "/app:1", NULL);
    g_autoptr(GpImageName) name = gp_image_name_parse(text, &error);
    g_assert_no_error(error);
    c->source = gp_source_open(name, c->fetch, &c->location, &error);
    g_assert_no_error(error);
    return c;
}

static void case_free(Case *c)
{
    gp_source_free(c->source);
    gp_fetch_free(c->fetch);
    http_server_free(c->server);
    g_hash_table_unref(c->answers);
    g_free(c->plain[0]);
    g_free(c);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Case, case_free)

static void put(Case *c, const char *path, guint status, const char *field, const char *body)
{
    g_hash_table_insert(
        c->answers, g_strconcat("/v2/app/", path, NULL), g_strdup_printf("%u\v%s\v%s", status, field, body));
}

static char *digest_of(const char *text)
{
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, text, strlen(text), &digest);
    return gp_digest_to_string(&digest);
}

static char *list_path(Case *c, const char *query)
{
    g_autofree char *digest = gp_digest_to_string(&c->image);
    return g_strdup_printf("referrers/%s%s", digest, query);
}

static char *fallback_path(Case *c)
{
    g_autofree char *hex = gp_digest_to_hex(&c->image);
    return g_strdup_printf("manifests/sha256-%s", hex);
}

/* A list of referrers with @entries inside. */
static char *list_of(const char *entries)
{
    return g_strdup_printf("{\"schemaVersion\":2,\"mediaType\":\"" INDEX "\",\"manifests\":[%s]}", entries);
}

/* Puts an artifact that refers to @subject and holds @bundle as a layer of @type; its entry, without artifactType if
 * @artifact_type is NULL. */
static char *put_artifact(
    Case *c, const GpDigest *subject, const char *bundle, const char *type, const char *artifact_type)
{
    g_autofree char *blob = digest_of(bundle), *about = gp_digest_to_string(subject), *empty = digest_of("{}");
    g_autofree char *manifest = g_strdup_printf(
        "{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST
        "\",\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\","
        "\"digest\":\"%s\",\"size\":2},\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}],"
        "\"subject\":{\"mediaType\":\"" MANIFEST "\",\"digest\":\"%s\",\"size\":5}}",
        empty, type, blob, strlen(bundle), about);
    g_autofree char *digest = digest_of(manifest);
    g_autofree char *manifest_path = g_strconcat("manifests/", digest, NULL),
                    *blob_path = g_strconcat("blobs/", blob, NULL);
    put(c, manifest_path, 200, "Content-Type: " MANIFEST, manifest);
    put(c, blob_path, 200, "", bundle);
    g_autofree char *said = artifact_type ? g_strdup_printf(",\"artifactType\":\"%s\"", artifact_type) : g_strdup("");
    return g_strdup_printf(
        "{\"mediaType\":\"" MANIFEST "\",\"digest\":\"%s\",\"size\":%zu%s}", digest, strlen(manifest), said);
}

static GPtrArray *search(Case *c, GError **error)
{
    gboolean elsewhere = FALSE;
    g_autoptr(GPtrArray) first = gp_source_referrers(c->source, &c->image, &elsewhere, error);
    g_autoptr(GPtrArray) entries = first && elsewhere ? gp_source_fallback_referrers(c->source, &c->image, error)
                                   : first            ? g_ptr_array_ref(first)
                                                      : NULL;
    return entries ? gp_source_bundles(c->source, &c->image, entries, error) : NULL;
}

/* Asserts that exactly the bundles in @wanted (joined by ",") come out, in this order. */
static void assert_bundles(Case *c, const char *wanted)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) found = search(c, &error);
    g_assert_no_error(error);
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < found->len; i++) {
        const GpFoundSignature *one = found->pdata[i];
        g_assert_cmpint(one->type, ==, GP_FOUND_BUNDLE);
        gsize size = 0;
        const char *data = one->blob ? g_bytes_get_data(one->blob, &size) : NULL;
        g_string_append_printf(text, "%s%.*s", i ? "," : "", data ? (int) size : 200, data ? data : one->problem);
    }
    g_assert_cmpstr(text->str, ==, wanted);
}

static void assert_fails(Case *c, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) found = search(c, &error);
    g_assert_null(found);
    g_assert_cmpint(gp_error_code(error), ==, code);
    if (!strstr(error->message, reason))
        g_test_message("got: %s", error->message);
    g_assert_nonnull(strstr(error->message, reason));
}

/* ---- */

static void test_api(void)
{
    g_autoptr(Case) c = case_new();
    GpDigest other;
    gp_digest_of(GP_DIGEST_SHA256, "other", 5, &other);
    g_autofree char *good = put_artifact(c, &c->image, "one", BUNDLE, BUNDLE);
    g_autofree char *old =
        put_artifact(c, &c->image, "two", "application/vnd.dev.sigstore.bundle+json;version=0.3", NULL);
    g_autofree char *poor = put_artifact(c, &c->image, "three", BUNDLE, "application/vnd.oci.empty.v1+json");
    g_autofree char *sbom = put_artifact(c, &c->image, "sbom", "text/spdx+json", "text/spdx+json");
    g_autofree char *stranger = put_artifact(c, &other, "stranger", BUNDLE, BUNDLE);
    g_autofree char *both = g_strjoin(",", sbom, poor, stranger, old, good, NULL);
    g_autofree char *list = list_of(both), *path = list_path(c, "");
    put(c, path, 200, "Content-Type: " INDEX, list);
    assert_bundles(c, "one,three,two");
    /* What the registry itself calls something else is not opened; the stranger is, and is of another image. */
    g_assert_cmpuint(http_count(c->server, "/v2/app/manifests/"), ==, 4);
    g_assert_cmpuint(http_count(c->server, "/v2/app/blobs/"), ==, 3);
}

static void test_none(void)
{
    g_autoptr(Case) c = case_new();
    assert_bundles(c, "");
    g_assert_cmpuint(http_count(c->server, "/v2/app/"), ==, 2);
}

static void test_pages(void)
{
    g_autoptr(Case) c = case_new();
    g_autofree char *one = put_artifact(c, &c->image, "one", BUNDLE, BUNDLE);
    g_autofree char *two = put_artifact(c, &c->image, "two", BUNDLE, BUNDLE);
    g_autofree char *first = list_of(one), *second = list_of(two), *path = list_path(c, ""),
                    *next = list_path(c, "?n=1&last=x%2Fy");
    /* Wherever the link points: the host of the first page is asked, at the first page's path. */
    put(c, path, 200, "Content-Type: " INDEX "\r\nLink: <http://evil.example/x?n=1&last=x%2Fy>; rel=\"next\"", first);
    put(c, next, 200, "Content-Type: " INDEX, second);
    assert_bundles(c, "one,two");
}

static void test_endless_pages(void)
{
    g_autoptr(Case) c = case_new();
    g_autofree char *list = list_of(""), *path = list_path(c, ""), *next = list_path(c, "?again");
    put(c, path, 200, "Content-Type: " INDEX "\r\nLink: </?again>; rel=next", list);
    put(c, next, 200, "Content-Type: " INDEX "\r\nLink: </?again>; rel=next", list);
    assert_fails(c, GP_ERROR_LIMIT, "a list of more than 16 pages");
    g_assert_cmpuint(http_count(c->server, "/v2/app/referrers/"), ==, GP_LIMIT_REFERRER_PAGES);
}

static void test_second_page_is_no_list(void)
{
    g_autoptr(Case) c = case_new();
    g_autofree char *list = list_of(""), *path = list_path(c, ""), *next = list_path(c, "?n=2");
    put(c, path, 200, "Content-Type: " INDEX "\r\nLink: </?n=2>; rel=next", list);
    put(c, next, 200, "Content-Type: " INDEX, "{}");
    assert_fails(c, GP_ERROR_INVALID, "schemaVersion");
}

static void test_fallback(void)
{
    static const guint statuses[] = {404, 400, 405, 406, 415, 501, 200};
    for (gsize i = 0; i < G_N_ELEMENTS(statuses); i++) {
        g_autoptr(Case) c = case_new();
        g_autofree char *other_type = put_artifact(c, &c->image, "one", BUNDLE, "application/vnd.example");
        g_autofree char *list = list_of(other_type), *path = list_path(c, ""), *tag = fallback_path(c);
        put(c, path, statuses[i], "Content-Type: text/html", "<html>Welcome</html>");
        put(c, tag, 200, "Content-Type: " INDEX, list);
        assert_bundles(c, "one");
    }
}

static void test_fallback_is_no_list(void)
{
    g_autoptr(Case) c = case_new();
    g_autofree char *tag = fallback_path(c);
    put(c, tag, 200, "Content-Type: " INDEX, "[]");
    assert_fails(c, GP_ERROR_INVALID, "tag sha256-");
}

static void test_refused(void)
{
    g_autoptr(Case) c = case_new();
    g_autofree char *path = list_path(c, "");
    put(c, path, 403, "", "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\"}]}");
    assert_fails(c, GP_ERROR_AUTH, "DENIED");
}

static void test_problems_of_one(void)
{
    g_autoptr(Case) c = case_new();
    g_autofree char *good = put_artifact(c, &c->image, "good", BUNDLE, BUNDLE);
    g_autofree char *gone = g_strdup("{\"mediaType\":\"" MANIFEST "\",\"size\":9,\"digest\":\"sha256:"
                                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}");
    g_autofree char *liar = put_artifact(c, &c->image, "liar", BUNDLE, BUNDLE), *name = digest_of("liar");
    g_autofree char *blob = g_strconcat("blobs/", name, NULL);
    put(c, blob, 200, "", "LIAR");
    g_autofree char *all = g_strjoin(",", liar, gone, good, NULL), *list = list_of(all), *path = list_path(c, "");
    put(c, path, 200, "Content-Type: " INDEX, list);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) found = search(c, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(found->len, ==, 3);
    g_assert_true(g_str_has_prefix(((GpFoundSignature *) found->pdata[0])->problem, "bundle-unreadable: "));
    g_assert_nonnull(((GpFoundSignature *) found->pdata[1])->blob);
    g_assert_true(g_str_has_prefix(((GpFoundSignature *) found->pdata[2])->problem, "referrer-unreadable: "));
}

/* CVE-2024-29902: what somebody attaches to an image must not fill the memory of whoever looks at it. */
static void test_large_bundle(void)
{
    g_autoptr(Case) c = case_new();
    g_autofree char *blob = g_strnfill(GP_LIMIT_BUNDLE + 1, 'x'), *most = g_strnfill(GP_LIMIT_BUNDLE, 'y');
    g_autofree char *large = put_artifact(c, &c->image, blob, BUNDLE, BUNDLE),
                    *fits = put_artifact(c, &c->image, most, BUNDLE, BUNDLE);
    g_autofree char *both = g_strjoin(",", large, fits, NULL), *list = list_of(both), *path = list_path(c, "");
    put(c, path, 200, "Content-Type: " INDEX, list);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) found = search(c, &error);
    g_assert_no_error(error);
    g_assert_true(
        g_str_has_prefix(((GpFoundSignature *) found->pdata[0])->problem, "bundle-unreadable: 1048577 bytes"));
    g_assert_nonnull(((GpFoundSignature *) found->pdata[1])->blob);
    g_assert_cmpuint(http_count(c->server, "/v2/app/blobs/"), ==, 1);
}

/* CVE-2024-29903: nor may their number. @typed: how many say that they are bundles; @other: that they are not. */
static void check_many(guint typed, guint other, const char *reason)
{
    g_autoptr(Case) c = case_new();
    g_autoptr(GString) entries = g_string_new(NULL);
    for (guint i = 0; i < typed + other; i++) {
        g_autofree char *text = g_strdup_printf("bundle %u", i);
        g_autofree char *entry = put_artifact(c, &c->image, text, BUNDLE, i < typed ? BUNDLE : "text/x");
        g_string_append_printf(entries, "%s%s", i ? "," : "", entry);
    }
    g_autofree char *list = list_of(entries->str), *tag = fallback_path(c);
    put(c, tag, 200, "Content-Type: " INDEX, list);
    if (reason) {
        assert_fails(c, GP_ERROR_LIMIT, reason);
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) found = search(c, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(found->len, ==, MIN(typed + other, GP_LIMIT_REFERRERS));
}

static void test_many(void)
{
    check_many(GP_LIMIT_REFERRERS, 0, NULL);
    check_many(GP_LIMIT_REFERRERS, 1, NULL);
    check_many(1, GP_LIMIT_REFERRERS, NULL);
    check_many(GP_LIMIT_REFERRERS + 1, 0, "more than 64 referrers");
}

static void test_link(void)
{
    static const struct {
        const char *field, *query;
    } rows[] = {
        {"</v2/x?a=b>; rel=\"next\"", "a=b"},
        {"<https://h/v2/x?a=b#frag>; rel=next", "a=b"},
        {"</v2/x?a=b>;rel=\"NEXT\"", "a=b"},
        {"</p?x>; rel=\"prev\", </n?y>; rel=\"next\"", "y"},
        {"</v2/x?a=b>; title=\"t\"; rel=\"next\"", "a=b"},
        {"</v2/x>; rel=\"next\"", NULL},
        {"</v2/x?>; rel=\"next\"", NULL},
        {"</v2/x?a b>; rel=\"next\"", NULL},
        {"</v2/x?a\x01>; rel=\"next\"", NULL},
        {"</v2/x?a\"b>; rel=\"next\"", NULL},
        {"</v2/x?a=b>; rel=\"last\"", NULL},
        {"</v2/x?a=b", NULL},
        {"next", NULL},
        {"", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *query = gp_link_next_query(rows[i].field);
        g_assert_cmpstr(query, ==, rows[i].query);
    }
    g_autofree char *long_query = g_strnfill(2001, 'a'), *field = g_strdup_printf("<?%s>; rel=next", long_query);
    g_assert_null(gp_link_next_query(field));
}

static void skip(void)
{
    g_test_skip("GUEST_PULL_LIBEXEC is not set, so there is no worker to test");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"api", test_api},
        {"none", test_none},
        {"pages", test_pages},
        {"endless-pages", test_endless_pages},
        {"second-page-is-no-list", test_second_page_is_no_list},
        {"fallback", test_fallback},
        {"fallback-is-no-list", test_fallback_is_no_list},
        {"refused", test_refused},
        {"problems-of-one", test_problems_of_one},
        {"CVE-2024-29902-large-bundle", test_large_bundle},
        {"CVE-2024-29903-many-referrers", test_many},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *name = g_strconcat("/puller/referrers/", tests[i].name, NULL);
        g_test_add_func(name, g_getenv("GUEST_PULL_LIBEXEC") ? tests[i].run : skip);
    }
    g_test_add_func("/puller/referrers/link", test_link);
    return g_test_run();
}
