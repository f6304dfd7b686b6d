/* The time limit, and that nothing is left: with programs that stand in for gpg and misbehave. */
#include "sigstore/gpg_home.h"

#include "tests/unit/sigstore/gpg_kit.h"

/* A program that answers --version, as gpgme asks, and otherwise does @body; owned by the caller. */
static char *stand_in(const char *name, const char *body)
{
    char *path = g_build_filename(kit_dir, name, NULL);
    g_autofree char *script =
        g_strdup_printf("#!/bin/sh\n[ \"$1\" = --version ] && exec /usr/bin/gpg --version\n%s\n", body);
    g_assert_true(g_file_set_contents_full(path, script, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL));
    return path;
}

static void assert_stopped(const char *name, const char *body)
{
    g_autofree char *program = stand_in(name, body);
    g_autoptr(GError) error = NULL;
    gint64 start = g_get_monotonic_time();
    {
        g_autoptr(GpGpgHome) home = gp_gpg_home_new(program, 1, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(kit_entries(kit_tmp), ==, 1);
        g_autoptr(GBytes) keyring = g_bytes_new_static("key", 3);
        g_assert_false(gp_gpg_home_import(home, keyring, "the key", &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
        g_assert_true(g_str_has_prefix(error->message, "gpg-timeout: "));
        g_clear_error(&error);
        g_assert_false(gp_gpg_home_in_time(home, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
    }
    gint64 took = g_get_monotonic_time() - start;
    g_assert_cmpint(took, >=, 900 * G_TIME_SPAN_MILLISECOND);
    g_assert_cmpint(took, <, 5 * G_TIME_SPAN_SECOND);
    kit_assert_clean();
}

static void test_sleeping(void)
{
    assert_stopped("sleeping", "while :; do sleep 0.05; done");
}

static void test_busy(void)
{
    assert_stopped("busy", "trap '' TERM PIPE HUP INT; while :; do :; done");
}

/* Closing the status pipe makes gpgme return; the process must go all the same. */
static void test_left_behind(void)
{
    g_autofree char *program =
        stand_in("left-behind", "for f in /proc/$$/fd/*; do f=${f##*/}; [ $f -gt 9 ] || eval \"exec "
                                "$f>&-\"; done; trap '' TERM PIPE HUP; while :; do :; done");
    g_autoptr(GError) error = NULL;
    {
        g_autoptr(GpGpgHome) home = gp_gpg_home_new(program, 3, &error);
        g_assert_no_error(error);
        g_autoptr(GBytes) keyring = g_bytes_new_static("key", 3);
        g_assert_false(gp_gpg_home_import(home, keyring, "the key", &error));
    }
    kit_assert_clean();
}

static void test_failing(void)
{
    g_autofree char *program = stand_in("failing", "exit 2");
    g_autoptr(GError) error = NULL;
    {
        g_autoptr(GpGpgHome) home = gp_gpg_home_new(program, 5, &error);
        g_assert_no_error(error);
        g_autoptr(GBytes) keyring = g_bytes_new_static("key", 3);
        g_assert_false(gp_gpg_home_import(home, keyring, "the key", &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
        g_assert_true(g_str_has_prefix(error->message, "no-usable-key: the key "));
    }
    kit_assert_clean();
}

static void test_no_program(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_gpg_home_new("/nonexistent/gpg", 5, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INTERNAL);
    g_assert_true(g_str_has_prefix(error->message, "GnuPG (/nonexistent/gpg) cannot be used"));
    kit_assert_clean();
}

static void test_no_temporary_directory(void)
{
    g_autoptr(GError) error = NULL;
    g_setenv("TMPDIR", "/nonexistent", TRUE);
    GpGpgHome *home = gp_gpg_home_new(NULL, 5, &error);
    g_setenv("TMPDIR", kit_tmp, TRUE);
    g_assert_null(home);
    g_assert_error(error, GP_ERROR, GP_ERROR_INTERNAL);
    g_assert_true(g_str_has_prefix(error->message, "cannot create a directory for GnuPG in /nonexistent"));
}

static void test_private(void)
{
    g_autoptr(GError) error = NULL;
    {
        g_autoptr(GpGpgHome) home = gp_gpg_home_new(NULL, 5, &error);
        g_assert_no_error(error);
        g_autoptr(GDir) dir = g_dir_open(kit_tmp, 0, NULL);
        g_autofree char *path = g_build_filename(kit_tmp, g_dir_read_name(dir), NULL);
        GStatBuf st;
        g_assert_cmpint(g_stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0700);
        g_assert_false(gp_gpg_home_has_key(home, "0000000000000000000000000000000000000000"));
    }
    kit_assert_clean();
}

static void add_tests(void)
{
    g_test_add_func("/sigstore/gpg-home/sleeping-gpg-is-stopped", test_sleeping);
    g_test_add_func("/sigstore/gpg-home/busy-gpg-is-stopped", test_busy);
    g_test_add_func("/sigstore/gpg-home/left-behind-gpg-is-stopped", test_left_behind);
    g_test_add_func("/sigstore/gpg-home/failing-gpg-gives-no-key", test_failing);
    g_test_add_func("/sigstore/gpg-home/no-gpg-at-all", test_no_program);
    g_test_add_func("/sigstore/gpg-home/no-temporary-directory", test_no_temporary_directory);
    g_test_add_func("/sigstore/gpg-home/directory-is-private", test_private);
}

int main(int argc, char **argv)
{
    return kit_main(argc, argv, NULL, add_tests);
}
