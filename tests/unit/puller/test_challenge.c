/* WWW-Authenticate, the small header fields, URLs and tokens of the fetch worker. */

#include "base/error.h"
#include "puller/worker_challenge.h"
#include "puller/worker_header.h"
#include "puller/worker_token.h"
#include "puller/worker_url.h"

/* "scheme{realm|service}" of each challenge, joined by blanks. */
static char *describe(const GPtrArray *challenges)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < challenges->len; i++) {
        const GpChallenge *c = challenges->pdata[i];
        g_string_append_printf(
            text, "%s%s{%s|%s}", i ? " " : "", c->scheme, c->realm ? c->realm : "-", c->service ? c->service : "-");
    }
    return g_string_free(text, FALSE);
}

static void test_good(void)
{
    static const struct {
        const char *field, *expected;
    } rows[] = {
        {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"x\"", "bearer{https://a/t|s}"},
        {"BEARER REALM=\"https://a/t\" , Service = s", "bearer{https://a/t|s}"},
        {"Basic realm=\"x\", Bearer realm=\"y\",service=\"z\"", "basic{x|-} bearer{y|z}"},
        {"Negotiate, Basic realm=x", "negotiate{-|-} basic{x|-}"},
        {"Negotiate abcd+/==, Basic realm=x", "negotiate{-|-} basic{x|-}"},
        {"NTLM", "ntlm{-|-}"},
        {"Bearer realm=", "bearer{-|-}"}, /* by the grammar a token68 */
        {"Basic realm=\"a \\\"quoted\\\\, \\x\" ", "basic{a \"quoted\\, x|-}"},
        {", ,Basic  realm=\"\",,", "basic{|-}"},
        {"Digest realm=\"r\", nonce=\"n, Basic realm=evil\", qop=auth", "digest{r|-}"},
        {"", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GPtrArray) challenges = gp_challenges_new();
        g_autoptr(GError) error = NULL;
        g_assert_true(gp_challenges_parse(rows[i].field, challenges, &error));
        g_autofree char *text = describe(challenges);
        g_assert_cmpstr(text, ==, rows[i].expected);
    }
}

static void test_bad(void)
{
    g_autofree char *many = g_strnfill(40, 'a');
    for (gsize i = 1; i < 40; i += 2)
        many[i] = ',';
    g_autofree char *long_field = g_strnfill(9000, 'a');
    const struct {
        const char *field, *reason;
    } rows[] = {
        {"realm=\"x\"", "neither a scheme nor a parameter"},
        {"\"x\"", "neither a scheme nor a parameter"},
        {"Bearer realm=\"x", "without a proper value"},
        {"Bearer realm=\"x\\", "without a proper value"},
        {"Bearer service=x, realm=", "without a proper value"},
        {"Bearer realm=\"x\" service=\"y\"", "without a comma"},
        {"Bearer realm=\"x\",realm=\"y\"", "occurs twice"},
        {"Bearer realm=\"x\"@", "without a comma"},
        {"Bearer;realm=x", "neither a scheme nor a parameter"},
        {many, "too many"},
        {long_field, "too long"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GPtrArray) challenges = gp_challenges_new();
        g_autoptr(GError) error = NULL;
        g_assert_false(gp_challenges_parse(rows[i].field, challenges, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, rows[i].reason));
    }
}

static void test_choose(void)
{
    static const struct {
        const char *field, *scheme;
    } rows[] = {
        {"Basic realm=x, Bearer realm=y", "bearer"},
        {"Bearer service=x, Basic realm=y", "basic"},
        {"Negotiate", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GPtrArray) challenges = gp_challenges_new();
        g_assert_true(gp_challenges_parse(rows[i].field, challenges, NULL));
        const GpChallenge *chosen = gp_challenges_choose(challenges);
        g_assert_cmpstr(chosen ? chosen->scheme : NULL, ==, rows[i].scheme);
    }
}

static void test_content_range(void)
{
    guint64 start, end, total;
    g_assert_true(gp_content_range_parse("bytes 5-9/10", &start, &end, &total));
    g_assert_cmpuint(start, ==, 5);
    g_assert_cmpuint(end, ==, 9);
    g_assert_cmpuint(total, ==, 10);
    static const char *const bad[] = {"", "bytes", "bytes 5-9", "bytes 5-9/*", "bytes */10", "bytes 5-10/10",
        "bytes 9-5/10", "bytes -5-9/10", "bytes 5-9/10/11", "lines 5-9/10", "bytes +5-9/10", "bytes 5- 9/10",
        "bytes 5-9/99999999999999999999"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(gp_content_range_parse(bad[i], &start, &end, &total));
}

static void test_retry_after(void)
{
    static const struct {
        const char *field;
        guint seconds;
    } rows[] = {
        {"7", 7},
        {"99999999", 60},
        {"-5", 0},
        {"soon", 0},
        {"", 0},
        {"Thu, 01 Jan 1970 00:16:50 GMT", 10},
        {"Thu, 01 Jan 1970 00:16:30 GMT", 0},
        {"Fri, 01 Jan 2100 00:00:00 GMT", 60},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        g_assert_cmpuint(gp_retry_after_parse(rows[i].field, 1000, 60), ==, rows[i].seconds);
}

static void test_origin(void)
{
    static const struct {
        const char *url, *origin;
    } rows[] = {
        {"https://Example.org/x?y", "https://example.org:443"},
        {"http://example.org", "http://example.org:80"},
        {"https://example.org:5000/", "https://example.org:5000"},
        {"https://[::1]:5000/", "https://[::1]:5000"},
        {"ftp://example.org/", NULL},
        {"https://u@example.org/", NULL},
        {"/relative", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *origin = gp_url_origin(rows[i].url);
        g_assert_cmpstr(origin, ==, rows[i].origin);
    }
    g_autofree char *shown = gp_url_show("https://h/p?token=secret#f");
    g_assert_cmpstr(shown, ==, "https://h/p");
}

static void test_resolve(void)
{
    static const struct {
        const char *location, *url;
    } rows[] = {
        {"https://o/x?y#z", "https://o/x?y"},
        {"/x", "https://h:1/x"},
        {"//o/x", "https://o/x"},
        {"c?d", "https://h:1/a/c?d"},
        {"javascript:1", NULL},
        {"file:///x", NULL},
        {"https://u:p@o/x", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *url = gp_url_resolve("https://h:1/a/b?q", rows[i].location);
        g_assert_cmpstr(url, ==, rows[i].url);
    }
}

static void test_plain_http(void)
{
    static char *plain[] = {(char *) (guintptr) "a:1", (char *) (guintptr) "b", NULL};
    static const struct {
        const char *url;
        gboolean allowed;
    } rows[] = {
        {"http://a:1/x", TRUE},
        {"http://a/x", FALSE},
        {"http://a:2/x", FALSE},
        {"http://b/x", TRUE},
        {"http://b:80/x", FALSE},
        {"http://c.b/x", FALSE},
        {"https://c/x", TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(gp_url_check_scheme(rows[i].url, plain, &error), ==, rows[i].allowed);
        if (!rows[i].allowed) {
            g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
            g_assert_nonnull(strstr(error->message, "--plain-http"));
        }
    }
    g_assert_false(gp_url_check_scheme("http://a:1/x", NULL, NULL));
}

static void test_registry_error(void)
{
    static const char body[] = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\",\"detail\":1},{\"code\":\"X\"}]}";
    g_autofree char *code = NULL;
    g_autofree char *text = gp_registry_error_parse(body, strlen(body), &code);
    g_assert_cmpstr(text, ==, "DENIED: no");
    g_assert_cmpstr(code, ==, "DENIED");
    static const char *const others[] = {"", "{}", "[]", "{\"errors\":{}}", "{\"errors\":[1]}", "<html>"};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
        g_assert_null(gp_registry_error_parse(others[i], strlen(others[i]), NULL));
}

static void test_token_lifetime(void)
{
    static const struct {
        const char *body;
        guint lifetime;
    } rows[] = {
        {"{\"token\":\"t\"}", 60},
        {"{\"token\":\"t\",\"access_token\":\"u\",\"expires_in\":300}", 300},
        {"{\"token\":null,\"access_token\":\"t\",\"expires_in\":-1}", 60},
        {"{\"token\":\"t\",\"expires_in\":99999999999}", 86400},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        char *authorization = NULL;
        guint lifetime;
        g_autoptr(GError) error = NULL;
        g_assert_true(gp_token_parse(rows[i].body, strlen(rows[i].body), &authorization, &lifetime, &error));
        g_assert_cmpstr(authorization, ==, "Bearer t");
        g_assert_cmpuint(lifetime, ==, rows[i].lifetime);
        gp_secret_free(authorization);
    }
    g_autoptr(GpTokens) tokens = gp_tokens_new();
    gp_tokens_put(tokens, "short", "Bearer a", 1); /* shorter than the margin: never used */
    gp_tokens_put(tokens, "long", "Bearer b", 100);
    gp_tokens_put(tokens, "ever", "Basic c", 0);
    g_assert_null(gp_tokens_get(tokens, "short"));
    g_assert_cmpstr(gp_tokens_get(tokens, "long"), ==, "Bearer b");
    g_assert_cmpstr(gp_tokens_get(tokens, "ever"), ==, "Basic c");
    gp_tokens_drop(tokens, "ever");
    g_assert_null(gp_tokens_get(tokens, "ever"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/puller/challenge/good", test_good);
    g_test_add_func("/puller/challenge/bad-is-refused", test_bad);
    g_test_add_func("/puller/challenge/choose", test_choose);
    g_test_add_func("/puller/header/content-range", test_content_range);
    g_test_add_func("/puller/header/retry-after", test_retry_after);
    g_test_add_func("/puller/header/registry-error", test_registry_error);
    g_test_add_func("/puller/url/origin", test_origin);
    g_test_add_func("/puller/url/resolve", test_resolve);
    g_test_add_func("/puller/url/plain-http-is-exact", test_plain_http);
    g_test_add_func("/puller/token/lifetime", test_token_lifetime);
    return g_test_run();
}
