#include "service/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

#define FIRST_FD 3

/* Everything that the child needs, made before fork(): between fork and exec only async-signal-safe calls are allowed.
 */
typedef struct {
    char **argv;
    const GpChildStart *asked;
    int stdin_fd, error_fd;
    pid_t parent;
} Start;

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        (void) sigaction(number, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

/* First out of the way of the numbers that are about to be assigned, then into place. */
static gboolean arrange_descriptors(Start *start)
{
    const GpChildStart *asked = start->asked;
    int beyond = FIRST_FD + (int) asked->n_fds;
    int moved[GP_CHILD_FDS];
    start->error_fd = fcntl(start->error_fd, F_DUPFD_CLOEXEC, beyond);
    int stdout_fd = fcntl(asked->stdout_fd >= 0 ? asked->stdout_fd : STDERR_FILENO, F_DUPFD_CLOEXEC, beyond);
    if (start->error_fd < 0 || stdout_fd < 0 || dup2(start->stdin_fd, STDIN_FILENO) < 0 ||
        dup2(stdout_fd, STDOUT_FILENO) < 0)
        return FALSE;
    for (gsize i = 0; i < asked->n_fds; i++)
        if ((moved[i] = fcntl(asked->fds[i], F_DUPFD_CLOEXEC, beyond)) < 0)
            return FALSE;
    for (gsize i = 0; i < asked->n_fds; i++)
        if (dup2(moved[i], FIRST_FD + (int) i) < 0)
            return FALSE;
    return close_range((unsigned) beyond, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

/* ---- whom the kernel ends when memory runs out: /proc/self/oom_score_adj, of -1000 to 1000, where containers are at
 * about 0. Anybody may raise his own; a kernel without it has no killer. */

static char inherited_score[16] = "0"; /* what whoever is no puller gets back */

static void set_score(const char *score)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    (void) !write(fd, score, strlen(score));
    (void) close(fd);
}

void gp_child_outlive_pullers(void)
{
    GP_AUTOFD int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, inherited_score, sizeof inherited_score - 1) : -1;
    if (length <= 0)
        return;
    inherited_score[length] = '\0';
    set_score("-900");
}

static gboolean prepare(Start *start)
{
    set_score(start->asked->expendable ? "500" : inherited_score);
    reset_signals();
    if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, start->asked->death_signal) < 0)
        return FALSE;
    if (getppid() != start->parent) { /* it died before the line above could count */
        errno = ECHILD;
        return FALSE;
    }
    return arrange_descriptors(start);
}

G_GNUC_NORETURN static void run_child(Start *start)
{
    if (prepare(start))
        (void) execve(start->argv[0], start->argv, start->asked->envp);
    int err = errno;
    (void) !write(start->error_fd, &err, sizeof err);
    _exit(127);
}

/* The errno that the child could not get past; 0: it runs. */
static int wait_for_exec(int fd)
{
    int err = 0;
    ssize_t got;
    do
        got = read(fd, &err, sizeof err);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t) sizeof err ? err : 0;
}

gboolean gp_child_spawn(const GpChildStart *asked, GpChild *child, GError **error)
{
    const char *program = asked->argv[0];
    GP_AUTOFD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int pipe_fds[2];
    if (null_fd < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "starting %s", program);
        return FALSE;
    }
    GP_AUTOFD int read_fd = pipe_fds[0];
    GP_AUTOFD int write_fd = pipe_fds[1];
    g_auto(GStrv) arguments = g_strdupv((char **) (gsize) asked->argv);
    Start start = {arguments, asked, null_fd, write_fd, getpid()};

    pid_t pid = fork();
    if (pid == 0)
        run_child(&start);
    if (pid < 0) {
        gp_set_errno(error, errno, "starting %s", program);
        return FALSE;
    }
    gp_close_fd(&write_fd);
    int err = wait_for_exec(read_fd);
    GP_AUTOFD int pidfd = err == 0 ? pidfd_open(pid, 0) : -1;
    if (pidfd < 0) {
        if (err == 0)
            err = errno;
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        if (err == ENOENT)
            g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "starting %s: no such program", program);
        else
            gp_set_errno(error, err, "starting %s", program);
        return FALSE;
    }
    *child = (GpChild){pid, gp_steal_fd(&pidfd)};
    return TRUE;
}

char **gp_child_environment(void)
{
    static const char *const ours_alone[] = {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"};
    char **environment = g_get_environ();
    for (gsize i = 0; i < G_N_ELEMENTS(ours_alone); i++)
        environment = g_environ_unsetenv(environment, ours_alone[i]);
    return environment;
}

void gp_child_signal(const GpChild *child, int signal, gboolean group)
{
    if (child->pid > 0)
        (void) kill(group ? -child->pid : child->pid, signal);
}

int gp_child_reap(GpChild *child)
{
    int status = 0;
    /* Before the leader is reaped its number cannot belong to anybody else, group included. */
    gp_child_signal(child, SIGKILL, TRUE);
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    gp_close_fd(&child->pidfd);
    child->pid = 0;
    return status;
}

char *gp_child_describe(int wait_status)
{
    if (WIFSIGNALED(wait_status))
        return g_strdup_printf("killed by signal %d (%s)", WTERMSIG(wait_status), g_strsignal(WTERMSIG(wait_status)));
    return g_strdup_printf("exit status %d", WEXITSTATUS(wait_status));
}
