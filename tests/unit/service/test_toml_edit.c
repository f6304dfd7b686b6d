#include <string.h>

#include "base/error.h"
#include "service/toml_edit.h"

static const char *const names[] = {"image", "guest_pull", "socket", NULL};

static void test_what_goes(void)
{
    static const struct {
        const char *text, *rest;
    } rows[] = {
        {"", ""},
        {"a = 1", "a = 1\n"},
        {"socket = \"x\"\na = 1\n", "a = 1\n"},
        {"a = 1 # c\n[image]\nb = 2\n[kbc]\nc = 3\n", "a = 1 # c\n[kbc]\nc = 3\n"},
        {"[image]\nb = 2\n[image.image_pull_proxy]\nx = 1\n[ image . y ]\nz = 1\n", ""},
        {"[[image]]\nb = 2\n[[credentials]]\nc = 3\n", "[[credentials]]\nc = 3\n"},
        {"image = { a = 1, b = [1, 2] }\nimage2 = 1\n", "image2 = 1\n"},
        {"image.a = 1\n'image'.b = 2\n\"image\" . c = 3\nd = 4\n", "d = 4\n"},
        {"[\"image\"]\na = 1\n['guest_pull']\na = 1\n", ""},
        /* the same words elsewhere are not meant */
        {"[kbc]\nimage = 1\nsocket = 2\n[kbc.image]\nx = 1\n", "[kbc]\nimage = 1\nsocket = 2\n[kbc.image]\nx = 1\n"},
        {"[Image]\na = 1\n", "[Image]\na = 1\n"},
        /* what only looks like a header */
        {"a = \"\"\"\n[image]\n\"\"\"\nb = 1\n", "a = \"\"\"\n[image]\n\"\"\"\nb = 1\n"},
        {"a = '''\n[image]\n\\'''\nb = 1\n", "a = '''\n[image]\n\\'''\nb = 1\n"},
        {"a = \"\"\"x\\\"\"\"\n[image]\n\"\"\"\"\"\nb = 1\n", "a = \"\"\"x\\\"\"\"\n[image]\n\"\"\"\"\"\nb = 1\n"},
        {"a = [ # ]\n[1,\n2],\n\"]\"]\nb = 1\n", "a = [ # ]\n[1,\n2],\n\"]\"]\nb = 1\n"},
        {"# [image]\na = 1\n", "a = 1\n"},
        /* and a header inside what goes */
        {"[image]\np = \"\"\"\n[kbc]\n\"\"\"\nq = '''\n[kbc]\n'''\n[kbc]\nc = 3", "[kbc]\nc = 3\n"},
        {"\xef\xbb\xbf[image]\r\na = 1\r\n[kbc]\r\nc = 3\r\n", "[kbc]\r\nc = 3\r\n"},
        {"d = 1979-05-27T07:32:00Z\nf = 1e3\n", "d = 1979-05-27T07:32:00Z\nf = 1e3\n"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *rest = gp_toml_without(rows[i].text, strlen(rows[i].text), names, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(rest, ==, rows[i].rest);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"\"im\\u0061ge\" = 1\n", "line 1: a key with escapes"},
        {"[\"im\\u0061ge\"]\n", "line 1: a key with escapes"},
        {"a = 1\n\n= 2\n", "line 3: a key or a [table] was expected"},
        {"a\n", "line 1: = was expected"},
        {"a =\n", "line 1: a value was expected"},
        {"a = \"x\n", "line 1: a string without an end"},
        {"a = \"\"\"x\n", "a string without an end"},
        {"a = 'x\\", "a string without an end"},
        {"a = \"x\\", "a string without an end"},
        {"a = [1, 2\nb = 3\n", "a bracket that is not closed"},
        {"a = 1]\n", "line 1: a bracket that closes nothing"},
        {"[a\n", "line 1: a [table] that is not closed"},
        {"[[a]\n", "line 1: a [table] that is not closed"},
        {"[a] b = 1\n", "line 1: something follows the statement"},
        {"[]\n", "line 1: a key or a [table] was expected"},
        {"a..b = 1\n", "line 1: a key or a [table] was expected"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(gp_toml_without(rows[i].text, strlen(rows[i].text), names, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
        if (!strstr(error->message, rows[i].words))
            g_error("%s: %s", rows[i].text, error->message);
    }
}

static void test_hostile(void)
{
    g_autofree char *deep = g_strnfill(100, '[');
    g_autofree char *text = g_strconcat("a = ", deep, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_toml_without(text, strlen(text), names, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
    g_assert_nonnull(strstr(error->message, "nested too deeply"));
    g_clear_error(&error);
    g_assert_null(gp_toml_without("a = 1\0", 6, names, &error));
    g_assert_nonnull(strstr(error->message, "a NUL byte"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/service/toml-edit/what-is-ours-goes-and-the-rest-stays", test_what_goes);
    g_test_add_func("/service/toml-edit/what-is-not-clear-is-refused", test_refused);
    g_test_add_func("/service/toml-edit/depth-and-nul-are-refused", test_hostile);
    return g_test_run();
}
