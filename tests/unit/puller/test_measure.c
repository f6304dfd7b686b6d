/* The measured event is canonical JSON (RFC 8785), and the modes have names. */
#include "puller/measure.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_event(void)
{
    static const struct {
        const char *image, *written;
    } rows[] = {
        {"ghcr.io/app:1", "ghcr.io/app:1"},
        {"a\"b\\c/d", "a\\\"b\\\\c/d"},
        {"\b\f\n\r\t", "\\b\\f\\n\\r\\t"},
        {"\x01\x1f\x7f", "\\u0001\\u001f\x7f"},
        {"ß€😀", "ß€😀"},
        {"", ""},
    };
    GpDigest digest;
    g_assert_true(gp_digest_parse(DIGEST, &digest, NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *event = gp_measure_event(rows[i].image, &digest);
        g_autofree char *expected = g_strdup_printf("{\"digest\":\"" DIGEST "\",\"image\":\"%s\"}", rows[i].written);
        g_assert_cmpstr(event, ==, expected);
    }
}

static void test_names(void)
{
    GpMeasureMode mode;
    for (int i = GP_MEASURE_AUTO; i <= GP_MEASURE_OFF; i++) {
        g_assert_true(gp_measure_mode_from_name(gp_measure_mode_name((GpMeasureMode) i), &mode));
        g_assert_cmpint(mode, ==, i);
    }
    g_assert_false(gp_measure_mode_from_name("on", &mode));
    g_assert_false(gp_measure_mode_from_name("", &mode));
}

static void test_nobody_is_asked(void)
{
    GpDigest digest;
    g_assert_true(gp_digest_parse(DIGEST, &digest, NULL));
    g_autofree char *off = NULL, *absent = NULL, *failed = NULL, *required = NULL;
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_measure_image(GP_MEASURE_OFF, "/nonexistent/s", "a", &digest, &off, &error));
    g_assert_cmpstr(off, ==, "off");
    g_assert_true(gp_measure_image(GP_MEASURE_AUTO, "/nonexistent/s", "a", &digest, &absent, &error));
    g_assert_cmpstr(absent, ==, "no-agent");
    g_assert_true(gp_measure_image(GP_MEASURE_BEST_EFFORT, "/nonexistent/s", "a", &digest, &failed, &error));
    g_assert_true(g_str_has_prefix(failed, "failed: measuring the image: /nonexistent/s: "));
    g_assert_no_error(error);
    g_assert_false(gp_measure_image(GP_MEASURE_REQUIRED, "/nonexistent/s", "a", &digest, &required, &error));
    g_assert_null(required);
    g_assert_nonnull(strstr(error->message, "measuring the image: /nonexistent/s: "));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/puller/measure/event-is-canonical-json", test_event);
    g_test_add_func("/puller/measure/modes-have-names", test_names);
    g_test_add_func("/puller/measure/no-agent", test_nobody_is_asked);
    return g_test_run();
}
