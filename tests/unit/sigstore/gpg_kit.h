/* For tests that need GnuPG: keys and signatures made on the spot, in a temporary home with its own agent. The tests
 * run in a child process, so that the agent is stopped and the directories are removed also when an assertion aborts.
 */
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib/gstdio.h>

#include "base/error.h"
#include "base/io.h"
#include "sigstore/simple_signing.h"

static char *kit_dir;  /* everything is below it */
static char *kit_home; /* GnuPG home of the signers */
static char *kit_tmp;  /* TMPDIR of the code under test: must be empty after each call */

/* Runs gpg in the signers' home with @input on its standard input and returns what it writes; @arguments ends with
 * NULL. */
static inline GBytes *kit_gpg(const char *input, const char *const *arguments)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    const char *const fixed[] = {"/usr/bin/gpg", "--homedir", kit_home, "--batch", "--yes", "--quiet", "--no-tty",
        "--passphrase", "", "--pinentry-mode", "loopback"};
    for (gsize i = 0; i < G_N_ELEMENTS(fixed); i++)
        g_ptr_array_add(argv, (gpointer) (guintptr) fixed[i]);
    for (gsize i = 0; arguments[i]; i++)
        g_ptr_array_add(argv, (gpointer) (guintptr) arguments[i]);
    g_ptr_array_add(argv, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocess) process = g_subprocess_newv((const char *const *) argv->pdata,
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) in = g_bytes_new(input ? input : "", input ? strlen(input) : 0);
    GBytes *out = NULL;
    g_autoptr(GBytes) log = NULL;
    g_subprocess_communicate(process, in, NULL, &out, &log, &error);
    g_assert_no_error(error);
    if (!g_subprocess_get_successful(process))
        g_error("gpg failed: %.*s", (int) g_bytes_get_size(log), (const char *) g_bytes_get_data(log, NULL));
    return out;
}

#define KIT_GPG(input, ...) kit_gpg(input, (const char *const[]){__VA_ARGS__, NULL})
/* When what it writes is of no interest. */
#define KIT_DO(input, ...) g_bytes_unref(KIT_GPG(input, __VA_ARGS__))

static inline GBytes *kit_concat(GBytes *a, GBytes *b)
{
    g_autoptr(GByteArray) both = g_byte_array_new();
    g_byte_array_append(both, g_bytes_get_data(a, NULL), (guint) g_bytes_get_size(a));
    g_byte_array_append(both, g_bytes_get_data(b, NULL), (guint) g_bytes_get_size(b));
    return g_byte_array_free_to_bytes(g_steal_pointer(&both));
}

static inline guint kit_entries(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint count = 0;
    while (dir && g_dir_read_name(dir))
        count++;
    return count;
}

/* How many processes were given a path below @path; each is sent @signal if that is not 0. */
static inline guint kit_processes(const char *path, int signal)
{
    guint count = 0;
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    for (const char *pid; (pid = g_dir_read_name(proc));) {
        g_autofree char *file = g_build_filename("/proc", pid, "cmdline", NULL);
        g_autofree char *line = NULL;
        gsize size = 0;
        if (!g_ascii_isdigit(*pid) || !g_file_get_contents(file, &line, &size, NULL))
            continue;
        if (!memmem(line, size, path, strlen(path)))
            continue;
        count++;
        if (signal)
            kill((pid_t) g_ascii_strtoll(pid, NULL, 10), signal);
    }
    return count;
}

/* The code under test must leave nothing: no file, no process, no open descriptor. */
static inline void kit_assert_clean(void)
{
    g_assert_cmpuint(kit_entries(kit_tmp), ==, 0);
    g_assert_cmpuint(kit_processes(kit_tmp, 0), ==, 0);
}

/* One signature, with keys that are imported for it alone. */
static inline GpSignatureFacts *kit_verify(GBytes *blob, GPtrArray *keyrings, GError **error)
{
    g_autoptr(GpGpgHome) keys = gp_simple_signing_import(keyrings, error);
    return keys ? gp_simple_signing_verify(blob, keys, error) : NULL;
}

static inline int kit_main(int argc, char **argv, void (*set_up)(void), void (*add_tests)(void))
{
    g_autofree char *dir = g_dir_make_tmp("gp-sigstore-XXXXXX", NULL);
    g_assert_nonnull(dir);
    kit_dir = dir;
    kit_home = g_build_filename(dir, "home", NULL);
    kit_tmp = g_build_filename(dir, "tmp", NULL);
    g_assert_cmpint(g_mkdir(kit_home, 0700), ==, 0);
    g_assert_cmpint(g_mkdir(kit_tmp, 0700), ==, 0);
    g_setenv("TMPDIR", kit_tmp, TRUE);
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        g_test_init(&argc, &argv, NULL);
        if (set_up)
            set_up();
        add_tests();
        status = g_test_run();
        g_free(kit_home);
        g_free(kit_tmp);
        g_free(g_steal_pointer(&dir));
        exit(status);
    }
    waitpid(child, &status, 0);
    const char *stop[] = {"/usr/bin/gpgconf", "--homedir", kit_home, "--kill", "all", NULL};
    g_spawn_sync(NULL, (char **) (guintptr) stop, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL, NULL, NULL);
    kit_processes(dir, SIGKILL);
    gp_remove_tree(AT_FDCWD, dir, NULL);
    g_free(kit_home);
    g_free(kit_tmp);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
