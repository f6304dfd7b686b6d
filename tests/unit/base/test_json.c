#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

static json_t *parse(const char *text, GError **error)
{
    return gp_json_parse(text, strlen(text), 1000, "doc", error);
}

static void ambiguous_documents_are_refused(void)
{
    static const struct {
        const char *text, *reason;
        int code;
    } rows[] = {
        {"{\"a\":1,\"a\":2}", "duplicate", GP_ERROR_INVALID},
        {"{\"a\":1,\"\\u0061\":2}", "duplicate", GP_ERROR_INVALID},
        {"{} {}", "end of file expected", GP_ERROR_INVALID},
        {"{}x", "end of file expected", GP_ERROR_INVALID},
        {"{\"a\":\"\\u0000\"}", "\\\\u0000", GP_ERROR_INVALID},
        {"{\"a\\u0000b\":1}", "\\\\u0000", GP_ERROR_INVALID},
        {"", "'[' or '{'", GP_ERROR_INVALID},
        {"{'a':1}", "", GP_ERROR_INVALID},
        {"{\"a\":01}", "", GP_ERROR_INVALID},
        {"{\"a\":\"\xff\"}", "unable to decode", GP_ERROR_INVALID},
        {"{\"a\":99999999999999999999}", "too big", GP_ERROR_INVALID},
        {"[1,]", "", GP_ERROR_INVALID},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) value = parse(rows[i].text, &error);
        if (value)
            g_error("accepted: %s", rows[i].text);
        g_assert_error(error, GP_ERROR, rows[i].code);
        g_assert_true(g_str_has_prefix(error->message, "doc: line "));
        if (!strstr(error->message, rows[i].reason) && i != 6)
            g_error("%s: %s", rows[i].text, error->message);
    }
}

static char *nested(guint levels)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < levels; i++)
        g_string_append_c(text, '[');
    for (guint i = 0; i < levels; i++)
        g_string_append_c(text, ']');
    return g_string_free(text, FALSE);
}

static void depth_is_limited_to_the_level(void)
{
    g_autofree char *deepest = nested(GP_LIMIT_JSON_DEPTH), *deeper = nested(GP_LIMIT_JSON_DEPTH + 1);
    g_autoptr(json_t) good = parse(deepest, NULL);
    g_assert_nonnull(good);
    g_autoptr(GError) error = NULL;
    g_assert_null(parse(deeper, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
    g_assert_nonnull(strstr(error->message, "deeper than 32"));
    /* Brackets in strings do not count. */
    g_autoptr(json_t) text = parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"]", NULL);
    g_assert_nonnull(text);
}

/* "[0,0,…]" of @values values, the array itself counted. */
static char *many(guint values)
{
    GString *text = g_string_new("[0");
    for (guint i = 2; i < values; i++)
        g_string_append(text, ",0");
    return g_string_free(g_string_append_c(text, ']'), FALSE);
}

static void values_are_limited_to_the_value(void)
{
    g_autofree char *most = many(GP_LIMIT_JSON_VALUES), *more = many(GP_LIMIT_JSON_VALUES + 1);
    g_autoptr(json_t) good = gp_json_parse(most, strlen(most), GP_LIMIT_MANIFEST, "doc", NULL);
    g_assert_nonnull(good);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_json_parse(more, strlen(more), GP_LIMIT_MANIFEST, "doc", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
    g_assert_cmpstr(error->message, ==, "doc: JSON of more than 32768 values");
    /* What no registry may send is the service's own, and as large as it is. */
    g_autoptr(json_t) own = gp_json_parse(more, strlen(more), GP_LIMIT_STATUS, "doc", NULL);
    g_assert_nonnull(own);
    /* Commas in strings do not count. */
    g_autofree char *commas = g_strnfill(2 * GP_LIMIT_JSON_VALUES, ',');
    g_autofree char *quoted = g_strdup_printf("\"%s\"", commas);
    g_autoptr(json_t) text = gp_json_parse(quoted, strlen(quoted), GP_LIMIT_MANIFEST, "doc", NULL);
    g_assert_nonnull(text);
}

static void size_is_limited_to_the_byte(void)
{
    g_autoptr(json_t) good = gp_json_parse("[10]", 4, 4, "doc", NULL);
    g_assert_nonnull(good);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_json_parse("[100]", 5, 4, "doc", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
}

static void fields_follow_their_table(void)
{
    static const struct {
        const char *text, *message; /* NULL: accepted */
    } rows[] = {
        {"{\"name\":\"x\"}", NULL},
        {"{\"name\":\"x\",\"size\":null}", NULL},
        {"{\"name\":\"x\",\"list\":[1]}", NULL},
        {"{}", "$.doc: \"name\" is missing"},
        {"{\"name\":null}", "$.doc.name: must be a string"},
        {"{\"name\":1}", "$.doc.name: must be a string"},
        {"{\"name\":\"\"}", "$.doc.name: must not be empty"},
        {"{\"name\":\"x\",\"list\":null}", "$.doc.list: must be an array"},
        {"{\"name\":\"x\",\"list\":[]}", "$.doc.list: must not be empty"},
        {"{\"name\":\"x\",\"Size\":1}", "$.doc.Size: unknown key (did you mean \"size\"?)"},
        {"{\"name\":\"x\",\"zzzzzzzz\":1}", "$.doc.zzzzzzzz: unknown key"},
        {"{\"name\":\"x\",\"a b\":1}", "$.doc[\"a b\"]: unknown key"},
        {"[]", "$.doc: must be an object"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        json_t *name, *size, *list;
        const GpJsonField fields[] = {{"name", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &name},
            {"size", GP_JSON_INTEGER, GP_JSON_NULLABLE, &size}, {"list", GP_JSON_ARRAY, GP_JSON_NON_EMPTY, &list},
            {NULL, GP_JSON_ANY, 0, NULL}};
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) value = parse(rows[i].text, NULL);
        gboolean ok = gp_json_fields(value, "$.doc", fields, TRUE, &error);
        g_assert_cmpint(ok, ==, rows[i].message == NULL);
        if (!ok) {
            g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
            if (!g_str_has_prefix(error->message, rows[i].message))
                g_assert_cmpstr(error->message, ==, rows[i].message);
        }
    }
}

/* A document of which the lexer's buffer is larger than what may be allocated. */
static void without_memory_nothing_is_read(void)
{
    const gsize length = 48 << 20;
#ifdef GP_SANITIZED
    g_test_skip("the sanitizer's own memory is larger than any limit");
    return;
#endif
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*failed to allocate*");
        return;
    }
    g_autofree char *text = g_malloc(length);
    memset(text, 'x', length);
    text[0] = text[length - 1] = '"';
    g_autofree char *statm = NULL;
    g_assert_true(g_file_get_contents("/proc/self/statm", &statm, NULL, NULL));
    rlim_t used = (rlim_t) g_ascii_strtoull(statm, NULL, 10) * (rlim_t) sysconf(_SC_PAGESIZE);
    const struct rlimit room = {used + (32 << 20), used + (32 << 20)};
    g_assert_cmpint(setrlimit(RLIMIT_AS, &room), ==, 0);
    g_autoptr(json_t) value = gp_json_parse(text, length, length, "doc", NULL);
    g_assert_null(value);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/json/ambiguous-documents-are-refused", ambiguous_documents_are_refused);
    g_test_add_func("/base/json/depth-is-limited-to-the-level", depth_is_limited_to_the_level);
    g_test_add_func("/base/json/values-are-limited-to-the-value", values_are_limited_to_the_value);
    g_test_add_func("/base/json/size-is-limited-to-the-byte", size_is_limited_to_the_byte);
    g_test_add_func("/base/json/fields-follow-their-table", fields_follow_their_table);
    g_test_add_func("/base/json/without-memory-nothing-is-read", without_memory_nothing_is_read);
    return g_test_run();
}
