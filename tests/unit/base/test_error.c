#include <errno.h>
#include <gio/gio.h>

#include "base/error.h"

/* The outside contract of design/cli.md, row by row. */
static void codes_have_their_statuses_and_names(void)
{
    static const struct {
        GpErrorCode code;
        int status;
        const char *name;
        gboolean retryable;
    } rows[] = {
        {GP_ERROR_INTERNAL, 1, "internal", FALSE},
        {GP_ERROR_USAGE, 2, "usage", FALSE},
        {GP_ERROR_POLICY, 3, "policy", FALSE},
        {GP_ERROR_SIGNATURE, 4, "signature", FALSE},
        {GP_ERROR_DIGEST, 5, "digest", FALSE},
        {GP_ERROR_AUTH, 6, "auth", FALSE},
        {GP_ERROR_NOT_FOUND, 7, "not-found", FALSE},
        {GP_ERROR_NETWORK, 8, "network", TRUE},
        {GP_ERROR_INVALID, 9, "invalid", FALSE},
        {GP_ERROR_LIMIT, 10, "limit", FALSE},
        {GP_ERROR_SPACE, 11, "space", TRUE},
        {GP_ERROR_UNSUPPORTED, 12, "unsupported", FALSE},
        {GP_ERROR_KEY, 13, "key", FALSE},
        {GP_ERROR_SANDBOX, 14, "sandbox", FALSE},
        {GP_ERROR_CANCELLED, 15, "cancelled", TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const GpErrorInfo *info = gp_error_info((int) rows[i].code);
        GpErrorCode back;
        g_assert_cmpint(info->exit_status, ==, rows[i].status);
        g_assert_cmpstr(info->name, ==, rows[i].name);
        g_assert_cmpint(info->retryable, ==, rows[i].retryable);
        g_assert_true(gp_error_code_from_name(rows[i].name, &back));
        g_assert_cmpint((int) back, ==, (int) rows[i].code);
    }
    g_assert_cmpstr(gp_error_info(-1)->name, ==, "internal");
    g_assert_cmpstr(gp_error_info(99)->name, ==, "internal");
}

static void foreign_errors_become_ours(void)
{
    g_autoptr(GError) error = NULL;
    GError *foreign = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_NO_SPACE, "no room");
    gp_propagate_foreign(&error, &foreign, GP_ERROR_INTERNAL, "writing %s", "x");
    g_assert_error(error, GP_ERROR, GP_ERROR_SPACE);
    g_assert_cmpstr(error->message, ==, "writing x: no room");
    g_assert_null(foreign);
    g_autoptr(GError) memory = NULL;
    foreign = g_error_new(G_IO_ERROR, g_io_error_from_errno(ENOMEM), "openat: %s", g_strerror(ENOMEM));
    gp_propagate_foreign(&memory, &foreign, GP_ERROR_INTERNAL, "reading");
    g_assert_error(memory, GP_ERROR, GP_ERROR_SPACE);
}

static void errno_keeps_its_meaning(void)
{
    g_autoptr(GError) full = NULL, other = NULL, fixed = NULL;
    gp_set_errno(&full, EDQUOT, "f");
    g_assert_error(full, GP_ERROR, GP_ERROR_SPACE);
    gp_set_errno(&fixed, EROFS, "f");
    g_assert_error(fixed, GP_ERROR, GP_ERROR_UNSUPPORTED);
    gp_set_errno(&other, ENOTDIR, "f");
    g_assert_error(other, GP_ERROR, GP_ERROR_INTERNAL);
    g_assert_cmpstr(other->message, ==, "f: Not a directory");
    g_assert_false(gp_error_is_integrity(other));
}

static void errors_of_the_disk_name_integrity(void)
{
    static const int numbers[] = {EIO, EILSEQ, EBADMSG, EUCLEAN};
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autoptr(GError) error = NULL;
        gp_set_errno(&error, numbers[i], "f");
        g_assert_error(error, GP_ERROR, GP_ERROR_DIGEST);
        g_assert_nonnull(strstr(error->message, "(integrity: what the disk gives is not what was written"));
        g_assert_true(gp_error_is_integrity(error));
    }
    g_autoptr(GError) told = NULL;
    GError *foreign = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_FAILED, "fsetxattr: Input/output error");
    gp_propagate_foreign(&told, &foreign, GP_ERROR_INTERNAL, "writing");
    g_assert_error(told, GP_ERROR, GP_ERROR_DIGEST);
    g_assert_true(gp_error_is_integrity(told));
    g_assert_true(g_str_has_prefix(told->message, "writing: fsetxattr: Input/output error (integrity: what"));
    g_autofree char *once = gp_foreign_text(told);
    g_assert_cmpstr(once, ==, told->message);
}

static void hint_is_behind_the_first_newline(void)
{
    g_autoptr(GError) error = g_error_new_literal(GP_ERROR, GP_ERROR_USAGE, "what\ndo this\nand that");
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(error, &message, &hint);
    g_assert_cmpstr(message, ==, "what");
    g_assert_cmpstr(hint, ==, "do this\nand that");
}

static void escape_shows_what_terminals_would_obey(void)
{
    static const struct {
        const char *in, *out;
        gsize max;
    } rows[] = {
        {"plain", "plain", 100},
        {"a\033[2Jb", "a\\x1b[2Jb", 100},
        {"line\nfeed", "line\\x0afeed", 100},
        {"back\\slash", "back\\\\slash", 100},
        {"\xff\xfe", "\\xff\\xfe", 100},
        {"na\xc3\xafve", "na\xc3\xafve", 100},
        {"a\xe2\x80\xae"
         "b",
            "a\\u{202e}b", 100},
        {"abcdefgh", "abcd…", 4},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *out = gp_escape(rows[i].in, -1, rows[i].max);
        g_assert_cmpstr(out, ==, rows[i].out);
    }
    g_autofree char *with_nul = gp_escape("a\0b", 3, 100);
    g_assert_cmpstr(with_nul, ==, "a\\x00b");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/error/codes-have-their-statuses-and-names", codes_have_their_statuses_and_names);
    g_test_add_func("/base/error/foreign-errors-become-ours", foreign_errors_become_ours);
    g_test_add_func("/base/error/errno-keeps-its-meaning", errno_keeps_its_meaning);
    g_test_add_func("/base/error/disk-errors-name-integrity", errors_of_the_disk_name_integrity);
    g_test_add_func("/base/error/hint-is-behind-the-first-newline", hint_is_behind_the_first_newline);
    g_test_add_func("/base/error/escape-shows-what-terminals-would-obey", escape_shows_what_terminals_would_obey);
    return g_test_run();
}
