/* FUZZ_LIBS: fetch base
 * What a registry says in header fields, as the fetch worker reads it: challenges, Link, Content-Range, Retry-After,
 * redirect targets. */
#include "puller/fetch_protocol.h"
#include "puller/worker_challenge.h"
#include "puller/worker_header.h"
#include "puller/worker_url.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void check_challenges(const char *field)
{
    g_autoptr(GPtrArray) challenges = gp_challenges_new();
    g_autoptr(GError) error = NULL;
    gboolean good = gp_challenges_parse(field, challenges, &error);
    g_assert_true(good == (error == NULL));
    const GpChallenge *chosen = gp_challenges_choose(challenges);
    g_assert_true(
        !chosen || g_str_equal(chosen->scheme, "basic") || (g_str_equal(chosen->scheme, "bearer") && chosen->realm));
}

static void check_url(const char *text)
{
    g_autofree char *origin = gp_url_origin(text);
    g_autofree char *shown = gp_url_show(text);
    g_assert_nonnull(shown);
    g_assert_true(!origin || g_str_has_prefix(origin, "http://") || g_str_has_prefix(origin, "https://"));
    g_assert_true(!origin || !strpbrk(origin, "@?#"));
    g_autofree char *resolved = gp_url_resolve("https://r.example/v2/app/blobs/x?y=1", text);
    g_assert_true(!resolved || !strchr(resolved, '#'));
    (void) gp_url_check_scheme(text, NULL, NULL);
    (void) gp_fetch_is_proxy(text);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    guint64 start, end, total;
    g_autofree char *text = g_strndup(size ? (const char *) data : "", size);
    check_challenges(text);
    check_url(text);
    g_autofree char *page = gp_link_next_query(text);
    g_assert_true(!page || gp_fetch_is_page(page));
    if (gp_content_range_parse(text, &start, &end, &total))
        g_assert_true(start <= end && end < total);
    g_assert_cmpuint(gp_retry_after_parse(text, 1000000000, 60), <=, 60);
    g_autofree char *code = NULL;
    g_autofree char *words = gp_registry_error_parse(data, size, &code);
    return 0;
}
