/* TOML as JSON: values, and everything that is refused. */
#include "base/toml.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

static json_t *parse(const char *text, gssize length, GError **error)
{
    return gp_toml_parse(text, length < 0 ? strlen(text) : (gsize) length, 64 * GP_KIB, "test.toml", error);
}

static void test_values(void)
{
    static const struct {
        const char *toml, *json;
    } rows[] = {
        {"", "{}"},
        {"# only a comment\n", "{}"},
        {"a = 1\nb = -7\nc = 0x10\n", "{\"a\":1,\"b\":-7,\"c\":16}"},
        {"a = 9223372036854775807", "{\"a\":9223372036854775807}"},
        {"a = true\nb = false", "{\"a\":true,\"b\":false}"},
        {"a = 1.5\nb = inf", "{\"a\":1.5,\"b\":\"inf\"}"},
        {"a = 1979-05-27", "{\"a\":\"1979-05-27\"}"},
        {"a = 07:32:00", "{\"a\":\"07:32:00\"}"},
        {"a = 1979-05-27T07:32:00Z", "{\"a\":\"1979-05-27T07:32:00Z\"}"},
        {"a = \"x\\u00e9\\n\"", "{\"a\":\"xé\\n\"}"},
        {"a = 'C:\\x'", "{\"a\":\"C:\\\\x\"}"},
        {"a = '''\n{\"b\": [\"c.d\"]}\n'''", "{\"a\":\"{\\\"b\\\": [\\\"c.d\\\"]}\\n\"}"},
        {"a = \"\"\"x\\\n   y\"\"\"", "{\"a\":\"xy\"}"},
        {"[t]\na = 1\n[t.u]\nb = 2\n", "{\"t\":{\"a\":1,\"u\":{\"b\":2}}}"},
        {"t.u.b = 2", "{\"t\":{\"u\":{\"b\":2}}}"},
        {"[[l]]\na = 1\n[[l]]\na = 2\n", "{\"l\":[{\"a\":1},{\"a\":2}]}"},
        {"a = [1, [2, 3], {b = 4}]", "{\"a\":[1,[2,3],{\"b\":4}]}"},
        {"\"a.b\" = 1", "{\"a.b\":1}"},
        {"\xef\xbb\xbf"
         "a = 1",
            "{\"a\":1}"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) value = parse(rows[i].toml, -1, &error);
        g_assert_no_error(error);
        g_autofree char *text = gp_json_to_text(value, FALSE);
        g_assert_cmpstr(text, ==, rows[i].json);
    }
}

static void test_refusals(void)
{
    static const struct {
        const char *toml;
        gssize length;
        int code;
        const char *words;
    } rows[] = {
        {"a = 1\na = 2\n", -1, GP_ERROR_INVALID, "test.toml: line 2: "},
        {"[t]\na = 1\n[t]\nb = 2\n", -1, GP_ERROR_INVALID, "test.toml: line 3: "},
        {"a.b = 1\na = 2\n", -1, GP_ERROR_INVALID, "line 2: "},
        {"a = {b = 1}\na.c = 2\n", -1, GP_ERROR_INVALID, "line 2: "},
        {"a = ", -1, GP_ERROR_INVALID, "line 1: "},
        {"\n\na = \"x", -1, GP_ERROR_INVALID, "line 3: "},
        {"a = 1 b = 2", -1, GP_ERROR_INVALID, "line 1: "},
        {"a = 9223372036854775808", -1, GP_ERROR_INVALID, "line 1: "},
        {"[a", -1, GP_ERROR_INVALID, "line 1: "},
        {"a = \"\xff\"", -1, GP_ERROR_INVALID, "test.toml: "},
        {"a = 1\0b", 7, GP_ERROR_INVALID, "test.toml: "},
        {"a = \"\\u0000\"", -1, GP_ERROR_INVALID, "test.toml: a NUL character inside a string"},
        {"\"\\u0000\" = 1", -1, GP_ERROR_INVALID, "test.toml: a NUL character inside a key"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse(rows[i].toml, rows[i].length, &error));
        g_assert_error(error, GP_ERROR, rows[i].code);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, rows[i].words));
    }
}

static void expect(const char *text, int code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) value = parse(text, -1, &error);
    if (code < 0) {
        g_assert_no_error(error);
        return;
    }
    g_assert_null(value);
    g_assert_error(error, GP_ERROR, code);
    g_assert_nonnull(strstr(error->message, words));
}

static char *repeat(const char *before, const char *part, gsize count, const char *after)
{
    GString *text = g_string_new(before);
    for (gsize i = 0; i < count; i++)
        g_string_append(text, part);
    g_string_append(text, after);
    return g_string_free(text, FALSE);
}

/* The document is level 1, its value "a" level 2. */
static void test_depth(void)
{
    g_autofree char *most = repeat("a = ", "[", GP_LIMIT_JSON_DEPTH - 1, "");
    g_autofree char *at_limit = repeat(most, "]", GP_LIMIT_JSON_DEPTH - 1, "");
    expect(at_limit, -1, NULL);
    g_autofree char *more = repeat("a = ", "[", GP_LIMIT_JSON_DEPTH, "");
    g_autofree char *beyond = repeat(more, "]", GP_LIMIT_JSON_DEPTH, "");
    expect(beyond, GP_ERROR_LIMIT, "nested more than 32 levels");
    g_autofree char *keys = repeat("a", ".a", GP_LIMIT_JSON_DEPTH - 2, " = 1");
    expect(keys, -1, NULL);
    g_autofree char *deep_keys = repeat("a", ".a", GP_LIMIT_JSON_DEPTH, " = 1");
    expect(deep_keys, GP_ERROR_LIMIT, "nested more than 32 levels");
    g_autofree char *arrays = repeat("a = ", "[", 20000, "");
    expect(arrays, GP_ERROR_INVALID, "test.toml: ");
}

static void test_dots(void)
{
    g_autofree char *keys = repeat("a", ".a", 1001, " = 1");
    expect(keys, GP_ERROR_LIMIT, "more than 1000 dots outside of strings");
    g_autofree char *lines = repeat("", "[x.y]\n", 1001, "");
    expect(lines, GP_ERROR_LIMIT, "more than 1000 dots");
    /* None of these dots nests anything. */
    static const char *const quotes[] = {"a = \"%\"", "a = '%'", "a = \"\"\"\n%\"\"\"", "a = '''\n%'''", "# %\na = 1",
        "a = \"\\\"%\"", "a = \"\"\"\"\"%\"\"\"", "'%' = 1"};
    for (gsize i = 0; i < G_N_ELEMENTS(quotes); i++) {
        g_auto(GStrv) halves = g_strsplit(quotes[i], "%", 2);
        g_autofree char *text = repeat(halves[0], ".", 2000, halves[1]);
        expect(text, -1, NULL);
        g_autofree char *behind = g_strconcat(text, "\n", keys, NULL);
        expect(behind, GP_ERROR_LIMIT, "more than 1000 dots");
    }
}

static void test_size(void)
{
    g_autofree char *fits = repeat("#", "x", 64 * GP_KIB - 1, "");
    expect(fits, -1, NULL);
    g_autofree char *too_long = repeat("#", "x", 64 * GP_KIB, "");
    expect(too_long, GP_ERROR_LIMIT, "test.toml: 65537 bytes, at most 65536 are allowed");
}

/* Found by tests/fuzz/fuzz_registries.c: the parser took for granted what these break. */
static void test_what_broke_the_parser(void)
{
    static const char *const texts[] = {"[\001]\n", "[a.\001]\n", "[\xd2\x92]\n", "[[a\xd2\x92]]\nb = 1\n"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(gp_toml_parse(texts[i], strlen(texts[i]), 1000, "text", &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) good = gp_toml_parse("a = \"\xc3\xa9\xd2\x92\"\n", 10, 1000, "text", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_string_value(json_object_get(good, "a")), ==, "\xc3\xa9\xd2\x92");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/toml/values-become-json", test_values);
    g_test_add_func("/base/toml/refusals-name-the-line", test_refusals);
    g_test_add_func("/base/toml/depth-is-bounded", test_depth);
    g_test_add_func("/base/toml/dots-outside-of-strings-are-bounded", test_dots);
    g_test_add_func("/base/toml/size-is-bounded", test_size);
    g_test_add_func("/base/toml/what-broke-the-parser", test_what_broke_the_parser);
    return g_test_run();
}
