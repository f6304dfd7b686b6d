#include "base/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

#define FIRST_FD 3
#define CHILD_STACK (64 * 1024)
#define ABANDON_US 500000 /* as long as a process that can die at all may take */

struct _GpWorker {
    char *name;
    pid_t pid;
    gboolean reaped;
};

/* Every live worker of this process, for gp_worker_kill_all(). A worker is reaped only under the lock, so a pid in the
 * list is never somebody else's. */
static GMutex lock;
static GPtrArray *live;
static gboolean verbose;

void gp_worker_set_verbose(gboolean value)
{
    verbose = value;
}

const char *gp_worker_directory(void)
{
    static gsize once;
    static char *directory;
    if (g_once_init_enter(&once)) {
        const char *given = g_getenv("GUEST_PULL_LIBEXEC");
        if (given && given[0] == '/') {
            directory = g_strdup(given);
        } else {
            g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
            g_autofree char *bin = g_path_get_dirname(self ? self : "/usr/local/bin/guest-pull");
            g_autofree char *prefix = g_path_get_dirname(bin);
            directory = g_build_filename(prefix, "libexec", "guest-pull", NULL);
        }
        g_once_init_leave(&once, 1);
    }
    return directory;
}

/* What the child needs, all made before it is started. */
typedef struct {
    const char *path;
    char **argv;
    char **envp;
    const int *fds;
    gsize n_fds;
    int error_fd;
    int stderr_fd;
    pid_t parent;
} Launch;

static int arrange_descriptors(const Launch *launch, int *error_fd)
{
    /* First out of the way of the numbers that are about to be assigned, then into place. */
    int base = FIRST_FD + (int) launch->n_fds + 1;
    int moved[8];
    *error_fd = fcntl(launch->error_fd, F_DUPFD_CLOEXEC, base);
    int stderr_fd = fcntl(launch->stderr_fd, F_DUPFD_CLOEXEC, base);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    null_fd = null_fd < 0 ? -1 : fcntl(null_fd, F_DUPFD_CLOEXEC, base);
    if (*error_fd < 0 || stderr_fd < 0 || null_fd < 0)
        return -1;
    for (gsize i = 0; i < launch->n_fds; i++)
        if ((moved[i] = fcntl(launch->fds[i], F_DUPFD_CLOEXEC, base)) < 0)
            return -1;
    for (gsize i = 0; i < launch->n_fds; i++)
        if (dup2(moved[i], FIRST_FD + (int) i) < 0)
            return -1;
    if (dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(stderr_fd, 2) < 0)
        return -1;
    /* The error pipe stays, and closes itself at exec. */
    int keep = base - 1;
    if (dup3(*error_fd, keep, O_CLOEXEC) < 0)
        return -1;
    *error_fd = keep;
    return (int) syscall(SYS_close_range, (unsigned) keep + 1, ~0U, 0U);
}

/* In the new process, which shares our memory until exec: nothing but system calls. */
static int run_child(void *data)
{
    const Launch *launch = data;
    int error_fd = launch->error_fd;
    sigset_t none;
    sigemptyset(&none);
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        (void) sigaction(number, &standard, NULL);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    /* The parent may have died before prctl() took effect. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == launch->parent && setsid() >= 0 &&
        arrange_descriptors(launch, &error_fd) == 0)
        (void) execve(launch->path, launch->argv, launch->envp);
    int err = errno;
    ssize_t ignored = write(error_fd, &err, sizeof err);
    (void) ignored;
    _exit(127);
}

static char **make_environment(void)
{
    GPtrArray *list = g_ptr_array_new();
    g_ptr_array_add(list, g_strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"));
    g_ptr_array_add(list, g_strdup("LC_ALL=C.UTF-8"));
    /* So that a log line or a core of a worker says whose it is. */
    if (g_getenv("GUEST_PULL_REQUEST_ID"))
        g_ptr_array_add(list, g_strconcat("GUEST_PULL_REQUEST_ID=", g_getenv("GUEST_PULL_REQUEST_ID"), NULL));
#ifdef GP_SANITIZED
    static const char *const kept[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};
    for (gsize i = 0; i < G_N_ELEMENTS(kept); i++)
        if (g_getenv(kept[i]))
            g_ptr_array_add(list, g_strconcat(kept[i], "=", g_getenv(kept[i]), NULL));
#endif
    g_ptr_array_add(list, NULL);
    return (char **) g_ptr_array_free(list, FALSE);
}

/* As posix_spawn(3) does it, which cannot ask for PR_SET_PDEATHSIG: our memory is not copied, and we sleep until the
 * child is another program. No signal may run a handler of ours in it. */
static pid_t start_child(Launch *launch)
{
    sigset_t all, before;
    g_autofree guint8 *stack = g_malloc(CHILD_STACK);
    sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(run_child, stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, launch);
    int err = errno;
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = err;
    return pid;
}

static pid_t launch_and_check(Launch *launch, GError **error)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return -1;
    }
    GP_AUTOFD int read_end = pipe_fds[0];
    GP_AUTOFD int write_end = pipe_fds[1];
    launch->error_fd = write_end;
    launch->parent = getpid();
    pid_t pid = start_child(launch);
    if (pid < 0) {
        gp_set_errno(error, errno, "clone");
        return -1;
    }
    gp_close_fd(&write_end);
    int err = 0;
    if (gp_read_full(read_end, &err, sizeof err, NULL) == sizeof err) {
        (void) waitpid(pid, NULL, 0);
        gboolean absent = err == ENOENT || err == EACCES || err == ENOEXEC;
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "cannot start %s: %s%s", launch->path, g_strerror(err),
            absent ? "\nIs guest-pull installed completely?" : "");
        return -1;
    }
    return pid;
}

GpWorker *gp_worker_spawn(const char *name, const char *const *arguments, const int *fds, gsize n_fds, GError **error)
{
    g_return_val_if_fail(n_fds <= 8, NULL);
    g_autofree char *path = g_build_filename(gp_worker_directory(), name, NULL);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, (gpointer) (guintptr) name);
    for (gsize i = 0; arguments && arguments[i]; i++)
        g_ptr_array_add(argv, (gpointer) (guintptr) arguments[i]);
    g_ptr_array_add(argv, NULL);
    g_auto(GStrv) envp = make_environment();
#ifdef GP_SANITIZED
    gboolean show = TRUE;
#else
    gboolean show = verbose;
#endif
    GP_AUTOFD int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    Launch launch = {.path = path,
        .argv = (char **) argv->pdata,
        .envp = envp,
        .fds = fds,
        .n_fds = n_fds,
        .stderr_fd = show ? 2 : null_fd};

    g_autoptr(GpWorker) worker = g_new0(GpWorker, 1);
    worker->name = g_strdup(name);
    worker->pid = launch_and_check(&launch, error);
    if (worker->pid < 0) {
        worker->reaped = TRUE;
        return NULL;
    }
    g_mutex_lock(&lock);
    if (!live)
        live = g_ptr_array_new();
    g_ptr_array_add(live, worker);
    g_mutex_unlock(&lock);
    return g_steal_pointer(&worker);
}

void gp_worker_kill(GpWorker *worker)
{
    g_mutex_lock(&lock);
    if (!worker->reaped)
        (void) kill(worker->pid, SIGKILL);
    g_mutex_unlock(&lock);
}

void gp_worker_kill_all(void)
{
    g_mutex_lock(&lock);
    for (guint i = 0; live && i < live->len; i++)
        (void) kill(((GpWorker *) live->pdata[i])->pid, SIGKILL);
    g_mutex_unlock(&lock);
}

/* Waits without reaping, then reaps under the lock. */
static int reap(GpWorker *worker)
{
    siginfo_t info;
    while (waitid(P_PID, (id_t) worker->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    int status = -1;
    g_mutex_lock(&lock);
    (void) waitpid(worker->pid, &status, 0);
    worker->reaped = TRUE;
    g_ptr_array_remove_fast(live, worker);
    g_mutex_unlock(&lock);
    return status;
}

gboolean gp_worker_wait(GpWorker *worker, GError **error)
{
    g_return_val_if_fail(!worker->reaped, FALSE);
    int status = reap(worker);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return TRUE;
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "%s was killed by SIG%s%s", worker->name, sigabbrev_np(number),
            number == SIGSYS ? ": it tried a system call outside its sandbox" : "");
    } else {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "%s ended with status %d", worker->name, WEXITSTATUS(status));
    }
    return FALSE;
}

void gp_worker_free(GpWorker *worker)
{
    if (!worker)
        return;
    if (!worker->reaped) {
        gp_worker_kill(worker);
        (void) reap(worker);
    }
    g_free(worker->name);
    g_free(worker);
}

static gboolean is_dead(const GpWorker *worker)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t) worker->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

void gp_worker_abandon(GpWorker *worker)
{
    if (!worker)
        return;
    if (!worker->reaped) {
        gp_worker_kill(worker);
        for (gulong waited = 0, nap = 100; !is_dead(worker) && waited < ABANDON_US;
             waited += nap, nap = MIN(2 * nap, 10000))
            g_usleep(nap);
        if (is_dead(worker)) {
            (void) reap(worker);
        } else {
            g_mutex_lock(&lock);
            g_ptr_array_remove_fast(live, worker);
            g_mutex_unlock(&lock);
        }
    }
    g_free(worker->name);
    g_free(worker);
}
