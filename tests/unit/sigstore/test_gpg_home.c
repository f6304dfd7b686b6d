/* The time limit, and that nothing is left: with programs that stand in for gpg and misbehave. */
#include "sigstore/gpg_home.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

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
        g_assert_null(gp_gpg_home_key_of(home, "0000000000000000000000000000000000000000"));
    }
    kit_assert_clean();
}

/* The path of the one entry of the temporary directory. */
static char *only_home(void)
{
    g_autoptr(GDir) dir = g_dir_open(kit_tmp, 0, NULL);
    return g_build_filename(kit_tmp, g_dir_read_name(dir), NULL);
}

static void make_old(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    g_assert_cmpint(utimensat(AT_FDCWD, path, times, 0), ==, 0);
}

/* SIGKILL in the middle leaves the home and a busy gpg: the next one that makes a home removes both. */
static void test_killed(void)
{
    g_autofree char *program = stand_in("killed", "trap '' TERM PIPE HUP INT; while :; do sleep 0.05; done");
    pid_t pid = fork();
    if (pid == 0) {
        GpGpgHome *home = gp_gpg_home_new(program, 600, NULL);
        GBytes *keyring = g_bytes_new_static("key", 3);
        gp_gpg_home_import(home, keyring, "the key", NULL);
        _exit(1);
    }
    g_usleep(500 * G_TIME_SPAN_MILLISECOND);
    g_autofree char *left = only_home();
    {
        /* While its owner lives it stays, however old it is. */
        make_old(left);
        g_autoptr(GpGpgHome) home = gp_gpg_home_new(NULL, 5, NULL);
        g_assert_cmpuint(kit_entries(kit_tmp), ==, 2);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    make_old(left);
    {
        g_autoptr(GpGpgHome) home = gp_gpg_home_new(NULL, 5, NULL);
        g_assert_cmpuint(kit_entries(kit_tmp), ==, 1);
        g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
    }
    kit_assert_clean();
}

/* Only what is surely ours and surely nobody's any more. */
static void test_others_stay(void)
{
    static const char *const names[] = {"guest-pull-gpg-abcdefg", "guest-pull-gpg-abc", "other-pull-gpg-abcdef", NULL};
    for (int i = 0; names[i]; i++) {
        g_autofree char *path = g_build_filename(kit_tmp, names[i], NULL);
        g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
        make_old(path);
    }
    g_autofree char *link = g_build_filename(kit_tmp, "guest-pull-gpg-abcdef", NULL);
    g_assert_cmpint(symlink("guest-pull-gpg-abc", link), ==, 0);
    g_autofree char *young = g_build_filename(kit_tmp, "guest-pull-gpg-young0", NULL);
    g_assert_cmpint(g_mkdir(young, 0700), ==, 0);
    {
        g_autoptr(GpGpgHome) home = gp_gpg_home_new(NULL, 5, NULL);
        g_assert_cmpuint(kit_entries(kit_tmp), ==, 6);
    }
    g_assert_cmpint(g_remove(link), ==, 0);
    g_assert_cmpint(g_rmdir(young), ==, 0);
    for (int i = 0; names[i]; i++) {
        g_autofree char *path = g_build_filename(kit_tmp, names[i], NULL);
        g_assert_cmpint(g_rmdir(path), ==, 0);
    }
    kit_assert_clean();
}

static void add_tests(void)
{
    g_test_add_func("/sigstore/gpg-home/killed-owner-leaves-nothing-for-long", test_killed);
    g_test_add_func("/sigstore/gpg-home/what-is-not-ours-stays", test_others_stay);
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
