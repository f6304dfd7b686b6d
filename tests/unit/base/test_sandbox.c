/* Each probe is a forked child that enters a sandbox and then does one thing; how it ends is the assertion. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <seccomp.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sandbox.h"

/* What a probe found; anything else is an errno value. */
#define WORKED 0
#define NOT_CONFINED 200

typedef int (*Probe)(void);

static const int files[] = {SCMP_SYS(openat), SCMP_SYS(unlinkat), GP_SANDBOX_END};
static const char *const etc_only[] = {"/etc", NULL};
static const GpSandboxProfile closed = {.name = "probe", .max_files = 16, .max_memory = 0};
static const GpSandboxProfile reading = {.name = "probe", .max_files = 16, .allow = files, .read_below = etc_only};
static const GpSandboxProfile networked = {.name = "probe", .max_files = 16, .network = TRUE, .threads = TRUE};

/* Runs @probe confined; returns the wait status. */
static int run(const GpSandboxProfile *profile, Probe probe)
{
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        if (!gp_sandbox_enter(profile, NULL))
            _exit(NOT_CONFINED);
        _exit(probe());
    }
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return status;
}

static void assert_killed(const GpSandboxProfile *profile, Probe probe)
{
    int status = run(profile, probe);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGSYS);
}

static void assert_result(const GpSandboxProfile *profile, Probe probe, int expected)
{
    int status = run(profile, probe);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, expected);
}

static int nothing(void)
{
    return WORKED;
}
static int open_shadow(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0 ? WORKED : errno;
}
static int open_root_file(void)
{
    return open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0 ? WORKED : errno;
}
static int open_outside(void)
{
    return open("/usr/bin/env", O_RDONLY | O_CLOEXEC) >= 0 ? WORKED : errno;
}
static int open_writing(void)
{
    return open("/etc/gp-probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 ? WORKED : errno;
}
static int make_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? WORKED : errno;
}
static int make_unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? WORKED : errno;
}
static int make_raw_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0) >= 0 ? WORKED : errno;
}
static int listen_tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(fd, (struct sockaddr *) &address, sizeof address) == 0 ? WORKED : errno;
}
static int start_program(void)
{
    char *const argv[] = {(char *) (guintptr) "true", NULL};
    (void) execv("/bin/true", argv);
    return errno;
}
static int fork_child(void)
{
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0 ? WORKED : errno;
}
static int trace_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0 ? WORKED : errno;
}
static int make_executable(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ? WORKED : errno;
}
static int kill_parent(void)
{
    return syscall(SYS_kill, 1, 0) == 0 ? WORKED : errno;
}

static void a_closed_worker_computes_and_nothing_else(void)
{
    assert_result(&closed, nothing, WORKED);
    assert_killed(&closed, open_shadow);
    assert_killed(&closed, make_socket);
    assert_killed(&closed, start_program);
    assert_killed(&closed, fork_child);
    assert_killed(&closed, trace_parent);
    assert_killed(&closed, kill_parent);
    assert_result(&closed, make_executable, EACCES);
}

/* With the calls allowed, Landlock and the user id still decide. */
static void reading_is_limited_to_the_given_trees(void)
{
    assert_result(&reading, open_shadow, WORKED);
    assert_result(&reading, open_outside, EACCES);
    assert_result(&reading, open_writing, EACCES);
    if (geteuid() == 0)
        assert_result(&reading, open_root_file, EACCES);
}

static void a_networked_worker_connects_and_nothing_else(void)
{
    assert_result(&networked, make_socket, WORKED);
    assert_result(&networked, make_unix_socket, EACCES);
    assert_killed(&networked, make_raw_socket);
    assert_killed(&networked, start_program);
    assert_killed(&networked, fork_child);
    assert_result(&networked, listen_tcp, EACCES);
}

static int report_identity(void)
{
    return getuid() == 0 ? 1 : prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ? 2 : WORKED;
}

static void root_becomes_nobody_without_privileges(void)
{
    static const int identity_calls[] = {SCMP_SYS(getuid), SCMP_SYS(prctl), GP_SANDBOX_END};
    GpSandboxProfile profile = closed;
    profile.allow = identity_calls;
    assert_result(&profile, report_identity, WORKED);
}

static gpointer wait_a_little(gpointer flag)
{
    while (!g_atomic_int_get((gint *) flag))
        g_usleep(1000);
    return NULL;
}

static void a_process_with_threads_is_not_confined(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        gint stop = 0;
        GThread *thread = g_thread_new("other", wait_a_little, &stop);
        g_autoptr(GError) error = NULL;
        gboolean entered = gp_sandbox_enter(&closed, &error);
        g_atomic_int_set(&stop, 1);
        (void) g_thread_join(thread);
        _exit(!entered && strstr(error->message, "threads") ? 0 : 1);
    }
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

static void leaving_the_network_leaves_no_route(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        gboolean entered = FALSE;
        gboolean ok = gp_sandbox_leave_network(&entered, NULL);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int result = connect(fd, (struct sockaddr *) &address, sizeof address);
        _exit(ok && entered && result < 0 && errno == ENETUNREACH ? 0 : 1);
    }
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func(
        "/base/sandbox/a-closed-worker-computes-and-nothing-else", a_closed_worker_computes_and_nothing_else);
    g_test_add_func("/base/sandbox/reading-is-limited-to-the-given-trees", reading_is_limited_to_the_given_trees);
    g_test_add_func(
        "/base/sandbox/a-networked-worker-connects-and-nothing-else", a_networked_worker_connects_and_nothing_else);
    g_test_add_func("/base/sandbox/root-becomes-nobody-without-privileges", root_becomes_nobody_without_privileges);
    g_test_add_func("/base/sandbox/a-process-with-threads-is-not-confined", a_process_with_threads_is_not_confined);
    g_test_add_func("/base/sandbox/leaving-the-network-leaves-no-route", leaving_the_network_leaves_no_route);
    return g_test_run();
}
