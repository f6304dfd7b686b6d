/* Base64: what has exactly one spelling, and every other spelling of it. */
#include "base/base64.h"

#include <string.h>

static const struct {
    const char *name, *text;
    const char *plain; /* NULL: malformed */
    gboolean wrapped;  /* only the decoder that skips line breaks takes it */
} rows[] = {
    {"one-byte", "YQ==", "a", FALSE},
    {"two-bytes", "YWI=", "ab", FALSE},
    {"three-bytes", "YWJj", "abc", FALSE},
    {"four-bytes", "YWJjZA==", "abcd", FALSE},
    {"all-kinds-of-letters", "+/+/", "\xfb\xff\xbf", FALSE},
    {"line-feed", "YW\nJj\n", "abc", TRUE},
    {"carriage-return", "YWJj\r\nZA==", "abcd", TRUE},
    {"break-before-padding", "YQ\n==", "a", TRUE},
    {"empty", "", NULL, FALSE},
    {"only-padding", "====", NULL, FALSE},
    {"only-breaks", "\n\n", NULL, FALSE},
    {"one-letter", "Y", NULL, FALSE},
    {"no-padding", "YQ", NULL, FALSE},
    {"half-padding", "YQ=", NULL, FALSE},
    {"too-much-padding", "YQ===", NULL, FALSE},
    {"padding-on-whole", "YWJj=", NULL, FALSE},
    {"padding-in-the-middle", "YQ==YQ==", NULL, FALSE},
    {"unused-bits", "YR==", NULL, FALSE},
    {"unused-bits-of-two", "YWJ=", NULL, FALSE},
    {"url-alphabet", "-_-_", NULL, FALSE},
    {"blank", "YW Jj", NULL, FALSE},
    {"tab", "YWJj\t", NULL, FALSE},
    {"high-byte", "YWJ\xe9", NULL, FALSE},
};

static void check_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data), length = 0;
    const char *text = rows[row].text, *plain = rows[row].plain;
    g_autoptr(GBytes) bytes = gp_base64_decode(text, strlen(text));
    g_autofree guint8 *exact = gp_base64_decode_exact(text, &length);
    g_assert_cmpint(bytes != NULL, ==, plain != NULL);
    g_assert_cmpint(exact != NULL, ==, plain != NULL && !rows[row].wrapped);
    if (bytes)
        g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), plain, strlen(plain));
    if (exact) {
        g_assert_cmpmem(exact, length, plain, strlen(plain));
        g_assert_cmpint(exact[length], ==, '\0');
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/base64/", rows[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), check_row);
    }
    return g_test_run();
}
