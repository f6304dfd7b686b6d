/* Starting and ending the worker programs (guest-pull-fetch, guest-pull-unpack, and what the service starts): fork and
 * exec of our own binaries with exactly the descriptors that they need, a clean environment, and a death signal. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct _GpWorker GpWorker;

/* Starts libexec program @name. The child sees @fds[i] as descriptor 3 + i, /dev/null as 0 and 1, our standard error as
 * 2 only when gp_worker_set_verbose(TRUE), and nothing else; its argv is @name and then @arguments (NULL or
 * NULL-ended). It dies with the thread that started it (PR_SET_PDEATHSIG). @fds stay the caller's. Errors: SANDBOX. */
GpWorker *gp_worker_spawn(const char *name, const char *const *arguments, const int *fds, gsize n_fds, GError **error);

/* The directory of the worker programs: "../libexec/guest-pull" seen from our own executable, so that an installation
 * can be moved; GUEST_PULL_LIBEXEC replaces it (tests of workers that lie; whoever sets our environment owns us
 * anyway). */
const char *gp_worker_directory(void);

void gp_worker_set_verbose(gboolean value);

/* SIGKILL; may be called from any thread and more than once. */
void gp_worker_kill(GpWorker *worker);

/* Waits for the end. TRUE if it exited with 0. Errors: SANDBOX naming the worker and its signal ("killed by SIGSYS: a
 * system call outside its sandbox") or status. May be called once. */
gboolean gp_worker_wait(GpWorker *worker, GError **error);

/* Kills and reaps if that has not happened. */
void gp_worker_free(GpWorker *worker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpWorker, gp_worker_free)

/* The same, but does not wait long: a worker that is in a system call that nothing can interrupt (a filesystem whose
 * server does not answer) cannot be killed before the call ends. It is left to the kernel then, and to whoever
 * inherits our children. NULL is fine. */
void gp_worker_abandon(GpWorker *worker);

/* Kills every worker of this process that is still alive: what a deadline or a signal does. Thread-safe. */
void gp_worker_kill_all(void);
