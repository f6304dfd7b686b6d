#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "service/pull_progress.h"

static gboolean check(const char *text, guint64 *fetched, guint64 *size, GError **error)
{
    g_autoptr(json_t) progress = gp_json_parse(text, strlen(text), GP_LIMIT_PULL_PROGRESS, "progress", error);
    return progress && gp_pull_progress_check(progress, fetched, size, error);
}

static void test_sums(void)
{
    guint64 fetched, size;
    g_autoptr(GError) error = NULL;
    g_assert_true(
        check("{\"state\":\"layers\",\"layers\":[{\"digest\":\"0a\",\"state\":\"pulling\",\"size\":7,\"fetched\":3},"
              "{\"digest\":\"0b\",\"state\":\"waiting\",\"size\":5,\"fetched\":0}]}",
            &fetched, &size, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(fetched, ==, 3);
    g_assert_cmpuint(size, ==, 12);
}

static void test_refused(void)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"[]", "must be an object"},
        {"{\"state\":\"a\"}", "layers"},
        {"{\"state\":\"a\",\"layers\":[],\"more\":1}", "more"},
        {"{\"state\":\"\",\"layers\":[]}", "a state or digest that is none"},
        {"{\"state\":\"a\\u001b[1m\",\"layers\":[]}", "a state or digest that is none"},
        {"{\"state\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"layers\":[]}", "a state or digest that is none"},
        {"{\"state\":\"a\",\"layers\":[7]}", "a layer that is no object"},
        {"{\"state\":\"a\",\"layers\":[{\"digest\":\"\\\"\",\"state\":\"b\",\"size\":1,\"fetched\":1}]}",
            "a state or digest"},
        {"{\"state\":\"a\",\"layers\":[{\"digest\":\"0\",\"state\":\"b\",\"size\":-1,\"fetched\":1}]}",
            "a size that no layer has"},
        {"{\"state\":\"a\",\"layers\":[{\"digest\":\"0\",\"state\":\"b\",\"size\":1,\"fetched\":9223372036854775807}]}",
            "a size that no layer has"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        guint64 fetched, size;
        g_autoptr(GError) error = NULL;
        g_assert_false(check(rows[i].text, &fetched, &size, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
        if (!strstr(error->message, rows[i].words))
            g_error("%s: %s", rows[i].text, error->message);
    }
}

static void test_too_many_layers(void)
{
    GString *text = g_string_new("{\"state\":\"a\",\"layers\":[");
    for (int i = 0; i <= GP_LIMIT_LAYERS; i++)
        g_string_append_printf(text, "%s{\"digest\":\"0\",\"state\":\"b\",\"size\":1,\"fetched\":1}", i ? "," : "");
    g_string_append(text, "]}");
    guint64 fetched, size;
    g_autoptr(GError) error = NULL;
    g_assert_false(check(text->str, &fetched, &size, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
    g_assert_nonnull(strstr(error->message, "more than 500 layers"));
    g_string_free(text, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/service/pull-progress/bytes-of-all-layers", test_sums);
    g_test_add_func("/service/pull-progress/what-makes-no-sense-is-refused", test_refused);
    g_test_add_func("/service/pull-progress/too-many-layers", test_too_many_layers);
    return g_test_run();
}
