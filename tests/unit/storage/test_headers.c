/* The second reader of tar headers: numbers, pax records, and where entries begin. */
#include "base/error.h"
#include "storage/worker_headers.h"
#include "storage/worker_pax.h"

#define BLOCK 512

static const struct {
    const char *field;
    gsize size;
    gboolean good;
    gint64 value;
} numbers[] = {
    {"0000644\0", 8, TRUE, 0644},
    {"   644 \0", 8, TRUE, 0644},
    {"77777777", 8, TRUE, 077777777},
    {"\0\0\0\0\0\0\0\0", 8, TRUE, 0},
    {"        ", 8, TRUE, 0},
    {"777777777777", 12, TRUE, 0777777777777},
    {"0000648\0", 8, FALSE, 0},
    {"-000644\0", 8, FALSE, 0},
    {"644\0 644", 8, FALSE, 0},
    {"zzzzzzz\0", 8, FALSE, 0},
    {"\x80\0\0\0\0\0\1\0", 8, TRUE, 256},
    {"\x80\xff\xff\xff\xff\xff\xff\xff", 8, TRUE, 0xffffffffffffff},
    {"\xff\xff\xff\xff\xff\xff\xff\xfe", 8, TRUE, -2},
    {"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12, TRUE, G_MAXINT64},
    {"\x80\0\0\0\x80\0\0\0\0\0\0\0", 12, FALSE, 0},
    {"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", 12, TRUE, G_MININT64},
    {"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 12, FALSE, 0},
    {"\x80\1\0\0\0\0\0\0\0\0\0\0", 12, FALSE, 0},
};

static void test_numbers(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        gint64 value = 0;
        gboolean good = gp_unpack_number((const guint8 *) numbers[i].field, numbers[i].size, &value);
        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_cmpint(good, ==, numbers[i].good);
        if (good)
            g_assert_cmpint(value, ==, numbers[i].value);
    }
}

static const struct {
    const char *text;
    gboolean good;
    gint64 seconds;
    long nanoseconds;
} times[] = {
    {"0", TRUE, 0, 0},
    {"1234567890.123456789", TRUE, 1234567890, 123456789},
    {"1.5", TRUE, 1, 500000000},
    {"-0.25", TRUE, -1, 750000000},
    {"-1", TRUE, -1, 0},
    {"-5.25", TRUE, -6, 750000000},
    {"1.9999999999", TRUE, 1, 999999999},
    {"-1.9999999999", TRUE, -2, 0},
    {"-1.0000000000", TRUE, -1, 0},
    {"-1.0000000001", TRUE, -2, 999999999},
    {"99999999999999", TRUE, 99999999999999, 0},
    {"99999999999999999999", FALSE, 0, 0},
    {"-", FALSE, 0, 0},
    {".5", FALSE, 0, 0},
    {"1.", FALSE, 0, 0},
    {"1.x", FALSE, 0, 0},
    {"1.000000000x", FALSE, 0, 0},
    {"1e9", FALSE, 0, 0},
    {" 1", FALSE, 0, 0},
    {"+1", FALSE, 0, 0},
    {"0x10", FALSE, 0, 0},
};

/* "LENGTH KEY=VALUE\n" */
static char *record(const char *key, const char *value)
{
    gsize rest = strlen(key) + strlen(value) + 3, length = rest + 1;
    length += length >= 10;
    length += length >= 100;
    return g_strdup_printf("%" G_GSIZE_FORMAT " %s=%s\n", length, key, value);
}

static void test_times(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(times); i++) {
        GpUnpackPax pax = {0};
        g_autoptr(GError) error = NULL;
        g_autofree char *text = record("mtime", times[i].text);
        gboolean good = gp_unpack_pax_read(&pax, (const guint8 *) text, strlen(text), FALSE, &error);
        g_test_message("%s: %s", times[i].text, error ? error->message : "good");
        g_assert_cmpint(good, ==, times[i].good);
        if (!good) {
            g_assert_nonnull(strstr(error->message, "is not a time"));
            continue;
        }
        g_assert_cmpint(pax.mtime.tv_sec, ==, times[i].seconds);
        g_assert_cmpint(pax.mtime.tv_nsec, ==, times[i].nanoseconds);
        gp_unpack_pax_clear(&pax);
    }
}

/* Raw records; "%" stands for NUL. */
static const struct {
    const char *name, *text;
    gboolean global;
    GpErrorCode code;
    const char *reason;
} refused[] = {
    {"no-length", "path=x\n", FALSE, GP_ERROR_INVALID, "malformed"},
    {"no-line-end", "9 path=ab", FALSE, GP_ERROR_INVALID, "malformed"},
    {"too-long", "99 path=x\n", FALSE, GP_ERROR_INVALID, "malformed"},
    {"too-short", "3 path=x\n", FALSE, GP_ERROR_INVALID, "malformed"},
    {"huge-length", "99999999999999999999 path=x\n", FALSE, GP_ERROR_INVALID, "malformed"},
    {"no-equals", "8 pathx\n", FALSE, GP_ERROR_INVALID, "malformed"},
    {"no-key", "5 =x\n", FALSE, GP_ERROR_INVALID, "malformed"},
    {"nul-in-key", "11 pa%th=x\n", FALSE, GP_ERROR_INVALID, "malformed"},
    {"padding", "9 path=x\n%%%", FALSE, GP_ERROR_INVALID, "malformed"},
    {"nul-in-path", "12 path=a%b\n", FALSE, GP_ERROR_INVALID, "has a NUL inside"},
    {"nul-in-link", "16 linkpath=a%b\n", FALSE, GP_ERROR_INVALID, "has a NUL inside"},
    {"owner-of-letters", "11 uid=abc\n", FALSE, GP_ERROR_INVALID, "uid \"abc\" is not a number"},
    {"owner-negative", "10 gid=-1\n", FALSE, GP_ERROR_INVALID, "gid \"-1\" is an owner out of range"},
    {"owner-of-33-bits", "18 uid=4294967295\n", FALSE, GP_ERROR_INVALID, "is an owner out of range"},
    {"size-of-letters", "12 size=abc\n", FALSE, GP_ERROR_INVALID, "is not a size"},
    {"size-negative", "11 size=-1\n", FALSE, GP_ERROR_INVALID, "is not a size"},
    {"size-empty", "8 size=\n", FALSE, GP_ERROR_INVALID, "is not a size"},
    {"global-path", "9 path=x\n", TRUE, GP_ERROR_UNSUPPORTED, "for all entries at once"},
    {"global-size", "9 size=1\n", TRUE, GP_ERROR_UNSUPPORTED, "for all entries at once"},
    {"global-xattr", "25 SCHILY.xattr.user.a=x\n", TRUE, GP_ERROR_UNSUPPORTED, "for all entries at once"},
};

static void test_refused_records(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        GpUnpackPax pax = {0};
        g_autoptr(GError) error = NULL;
        g_autofree char *text = g_strdup(refused[i].text);
        gsize length = strlen(text);
        for (gsize at = 0; at < length; at++)
            if (text[at] == '%')
                text[at] = '\0';
        g_assert_false(gp_unpack_pax_read(&pax, (const guint8 *) text, length, refused[i].global, &error));
        g_test_message("%s: %s", refused[i].name, error->message);
        g_assert_error(error, GP_ERROR, (gint) refused[i].code);
        g_assert_nonnull(strstr(error->message, refused[i].reason));
        gp_unpack_pax_clear(&pax);
    }
}

static void test_last_counts_and_empty_takes_back(void)
{
    GpUnpackPax pax = {.has_uid = TRUE, .uid = 5, .has_mtime = TRUE};
    const char *const rows[][2] = {{"path", "a"}, {"path", "b"}, {"uid", ""}, {"gid", "7"}, {"gid", "8"},
        {"linkpath", "l"}, {"linkpath", ""}, {"mtime", ""}, {"comment", ""}, {"GNU.sparse.name", "real"},
        {"path", "made-up"}};
    g_autoptr(GString) all = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *one = record(rows[i][0], rows[i][1]);
        g_string_append(all, one);
    }
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_unpack_pax_read(&pax, (const guint8 *) all->str, all->len, FALSE, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(pax.path, ==, "real");
    g_assert_null(pax.link_target);
    g_assert_false(pax.has_uid || pax.has_mtime);
    g_assert_cmpuint(pax.gid, ==, 8);
    gp_unpack_pax_clear(&pax);
}

/* ---- blocks */

static void add_header(GByteArray *tar, const char *name, char type, gsize size)
{
    guint8 block[BLOCK] = {0};
    guint sum = 0;
    (void) g_snprintf((char *) block, 100, "%s", name);
    (void) g_snprintf((char *) block + 100, 8, "0000644");
    (void) g_snprintf((char *) block + 108, 8, "0000012");
    (void) g_snprintf((char *) block + 116, 8, "0000013");
    (void) g_snprintf((char *) block + 124, 12, "%011o", (guint) size);
    (void) g_snprintf((char *) block + 136, 12, "00000000017");
    memset(block + 148, ' ', 8);
    block[156] = (guint8) type;
    memcpy(block + 257, "ustar\00000", 8);
    for (gsize i = 0; i < BLOCK; i++)
        sum += block[i];
    (void) g_snprintf((char *) block + 148, 8, "%06o", sum);
    g_byte_array_append(tar, block, BLOCK);
}

static void add_body(GByteArray *tar, const char *text)
{
    guint8 block[BLOCK] = {0};
    memcpy(block, text, strlen(text));
    g_byte_array_append(tar, block, BLOCK);
}

/* However the bytes come, one at a time or all at once, the same entries come out. */
static void test_any_pieces(void)
{
    g_autoptr(GByteArray) tar = g_byte_array_new();
    g_autofree char *path = record("path", "long"), *uid = record("uid", "77"), *gid = record("gid", "9");
    g_autofree char *both = g_strconcat(path, uid, NULL);
    add_header(tar, "a", '0', 5);
    add_body(tar, "hello");
    add_header(tar, "pax_global_header", 'g', strlen(gid));
    add_body(tar, gid);
    add_header(tar, "PaxHeaders/b", 'x', strlen(both));
    add_body(tar, both);
    add_header(tar, "b", '0', 0);
    add_header(tar, "././@LongLink", 'L', 6);
    add_body(tar, "other");
    add_header(tar, "c", '5', 0);
    g_byte_array_set_size(tar, tar->len + 2 * BLOCK);
    memset(tar->data + tar->len - 2 * BLOCK, 0, 2 * BLOCK);
    static const struct {
        guint64 offset;
        const char *path;
        guint32 uid, gid;
    } expected[] = {{0, "a", 10, 11}, {2 * BLOCK, "long", 77, 9}, {7 * BLOCK, "other", 10, 9}};
    for (gsize piece = 1; piece <= tar->len; piece = piece < 2000 ? piece + 131 : piece * 2) {
        g_autoptr(GpUnpackHeaders) headers = gp_unpack_headers_new();
        g_autoptr(GError) error = NULL;
        for (gsize at = 0; at < tar->len; at += piece)
            gp_unpack_headers_feed(headers, tar->data + at, MIN(piece, tar->len - at));
        for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
            g_autoptr(GpUnpackHeader) header = gp_unpack_headers_next(headers, expected[i].offset, &error);
            g_assert_no_error(error);
            g_assert_cmpstr(header->path, ==, expected[i].path);
            g_assert_cmpuint(header->uid, ==, expected[i].uid);
            g_assert_cmpuint(header->gid, ==, expected[i].gid);
            g_assert_cmpint(header->mtime.tv_sec, ==, 15);
        }
        g_assert_true(gp_unpack_headers_finish(headers, &error));
    }
}

static void test_other_offset_is_refused(void)
{
    g_autoptr(GByteArray) tar = g_byte_array_new();
    add_header(tar, "a", '0', 0);
    add_header(tar, "b", '0', 0);
    g_autoptr(GpUnpackHeaders) headers = gp_unpack_headers_new();
    gp_unpack_headers_feed(headers, tar->data, tar->len);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpUnpackHeader) a = gp_unpack_headers_next(headers, 0, &error);
    g_assert_nonnull(a);
    g_assert_false(gp_unpack_headers_finish(headers, &error)); /* "b" was not taken */
    g_assert_nonnull(strstr(error->message, "header at byte 512: ambiguous"));
    g_clear_error(&error);
    g_assert_null(gp_unpack_headers_next(headers, 1024, &error));
    g_assert_nonnull(strstr(error->message, "header at byte 512: ambiguous"));
    g_clear_error(&error);
    g_assert_null(gp_unpack_headers_next(headers, 1024, &error)); /* nothing there at all */
    g_assert_nonnull(strstr(error->message, "header at byte 1024: ambiguous"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/headers/numbers", test_numbers);
    g_test_add_func("/storage/headers/times", test_times);
    g_test_add_func("/storage/headers/refused-records", test_refused_records);
    g_test_add_func("/storage/headers/last-counts-and-empty-takes-back", test_last_counts_and_empty_takes_back);
    g_test_add_func("/storage/headers/any-pieces", test_any_pieces);
    g_test_add_func("/storage/headers/other-offset-is-refused", test_other_offset_is_refused);
    return g_test_run();
}
