/* Workers here are shell scripts in a temporary libexec: what matters is how they are started and how their end is
 * told. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/worker.h"

static void install(const char *name, const char *script)
{
    g_autofree char *path = g_build_filename(gp_worker_directory(), name, NULL);
    g_autofree char *text = g_strconcat("#!/bin/sh\n", script, "\n", NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
}

/* Starts @script with the write end of a pipe as descriptor 3 and returns all that it wrote there. */
static char *output_of(const char *script, GError **error)
{
    int fds[2];
    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    GP_AUTOFD int read_end = fds[0];
    GP_AUTOFD int write_end = fds[1];
    install("probe", script);
    const char *const arguments[] = {"one", "two words", NULL};
    g_autoptr(GpWorker) worker = gp_worker_spawn("probe", arguments, &write_end, 1, error);
    g_assert_nonnull(worker);
    gp_close_fd(&write_end);
    g_autoptr(GBytes) bytes = gp_read_all(read_end, 100000, "output", NULL);
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);
    char *text = g_strndup(data ? data : "", length);
    (void) gp_worker_wait(worker, error);
    return text;
}

static void descriptors_are_exactly_the_given_ones(void)
{
    GP_AUTOFD int stray = open("/etc/passwd", O_RDONLY); /* not close-on-exec on purpose */
    g_assert_cmpint(stray, >=, 0);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = output_of("ls /proc/$$/fd >&3", &error);
    g_assert_no_error(error);
    /* 0, 1, 2, 3, and what the shell opened for its own script. */
    g_assert_true(g_str_has_prefix(text, "0\n1\n"));
    g_assert_null(strstr(text, "\n4\n"));
    g_assert_nonnull(strstr(text, "3\n"));
}

static void environment_is_clean_and_arguments_arrive(void)
{
    g_setenv("SECRET", "x", TRUE);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = output_of("env >&3; echo \"$1|$2\" >&3; readlink /proc/$$/fd/0 >&3", &error);
    g_assert_no_error(error);
    g_assert_null(strstr(text, "SECRET"));
    g_assert_nonnull(strstr(text, "one|two words\n"));
    g_assert_nonnull(strstr(text, "/dev/null\n"));
    g_unsetenv("SECRET");
}

static void its_end_is_named(void)
{
    g_autoptr(GError) status = NULL, killed = NULL, forbidden = NULL;
    g_autofree char *a = output_of("exit 3", &status);
    g_assert_error(status, GP_ERROR, GP_ERROR_SANDBOX);
    g_assert_cmpstr(status->message, ==, "probe ended with status 3");
    g_autofree char *b = output_of("kill -KILL $$", &killed);
    g_assert_cmpstr(killed->message, ==, "probe was killed by SIGKILL");
    g_autofree char *c = output_of("kill -SYS $$", &forbidden);
    g_assert_nonnull(strstr(forbidden->message, "SIGSYS: it tried a system call outside its sandbox"));
}

static void a_missing_program_is_an_error(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_worker_spawn("absent", NULL, NULL, 0, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_SANDBOX);
    g_assert_nonnull(strstr(error->message, "absent: No such file"));
}

static void all_are_killed_at_once(void)
{
    install("sleeper", "sleep 100");
    g_autoptr(GpWorker) one = gp_worker_spawn("sleeper", NULL, NULL, 0, NULL);
    g_autoptr(GpWorker) two = gp_worker_spawn("sleeper", NULL, NULL, 0, NULL);
    g_assert_nonnull(one);
    g_assert_nonnull(two);
    gp_worker_kill_all();
    g_autoptr(GError) error = NULL;
    g_assert_false(gp_worker_wait(one, &error));
    g_assert_nonnull(strstr(error->message, "SIGKILL"));
    g_assert_false(gp_worker_wait(two, NULL));
    gp_worker_kill(two); /* harmless after the end */
}

static void an_abandoned_worker_is_killed_and_reaped(void)
{
    int fds[2];
    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    GP_AUTOFD int read_end = fds[0];
    GP_AUTOFD int write_end = fds[1];
    install("probe", "echo $$ >&3; exec 3>&-; exec sleep 1000");
    g_autoptr(GError) error = NULL;
    GpWorker *worker = gp_worker_spawn("probe", NULL, &write_end, 1, &error);
    g_assert_no_error(error);
    gp_close_fd(&write_end);
    g_autoptr(GBytes) bytes = gp_read_all(read_end, 100, "pid", NULL);
    g_autofree char *text = g_strndup(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    gp_worker_abandon(worker);
    gp_worker_abandon(NULL);
    g_assert_cmpint(kill((pid_t) g_ascii_strtoll(text, NULL, 10), 0), <, 0);
    g_assert_cmpint(errno, ==, ESRCH);
}

int main(int argc, char **argv)
{
    g_autofree char *directory = g_dir_make_tmp("gp-worker-XXXXXX", NULL);
    g_setenv("GUEST_PULL_LIBEXEC", directory, TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/worker/descriptors-are-exactly-the-given-ones", descriptors_are_exactly_the_given_ones);
    g_test_add_func(
        "/base/worker/environment-is-clean-and-arguments-arrive", environment_is_clean_and_arguments_arrive);
    g_test_add_func("/base/worker/its-end-is-named", its_end_is_named);
    g_test_add_func("/base/worker/a-missing-program-is-an-error", a_missing_program_is_an_error);
    g_test_add_func("/base/worker/all-are-killed-at-once", all_are_killed_at_once);
    g_test_add_func("/base/worker/an-abandoned-worker-is-killed-and-reaped", an_abandoned_worker_is_killed_and_reaped);
    int status = g_test_run();
    (void) gp_remove_tree(AT_FDCWD, directory, NULL);
    return status;
}
