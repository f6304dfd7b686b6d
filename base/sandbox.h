/* What a worker gives up before it reads its first hostile byte. A profile is data; entering it is one call that either
 * confines the process completely or fails (GP_ERROR_SANDBOX): a part that this kernel offers is never skipped. */
#pragma once

#include <glib.h>

/* A system call that the profile allows beyond the common core (read, write, poll, memory, futex, clocks, exit, threads
 * of the own process…), by libseccomp's name table. */
typedef struct {
    const char *name;              /* as strace prints it, e.g. "socket"; shown by tests and docs */
    const int *allow;              /* libseccomp numbers (SCMP_SYS) beyond the core, ended by GP_SANDBOX_END */
    const int *deny_errno;         /* calls answered with EACCES instead of death (libraries probe them), same end */
    const char *const *read_below; /* Landlock: paths that may be read (files or trees), NULL-ended; NULL: none */
    gboolean network;              /* keeps the network namespace; sockets only AF_INET, AF_INET6 and AF_NETLINK */
    gboolean threads;              /* may start threads */
    guint64 max_memory;            /* RLIMIT_AS, bytes; 0: no limit */
    guint64 max_files;             /* RLIMIT_NOFILE */
} GpSandboxProfile;

#define GP_SANDBOX_END (-100000)

/* Confines the calling process, which must be single-threaded: user (nobody, if we are root), network, mount, IPC and
 * UTS namespaces as far as the kernel lets us have them, rlimits, no capabilities (bounding set too), no_new_privs,
 * Landlock by the kernel's ABI, seccomp allowlist that kills. Errors: SANDBOX naming the step.
 *
 * Root becomes nobody, so files that only root may read (client keys) are to be read before. End with _exit():
 * sanitizer builds check for leaks in exit handlers with system calls that are not allowed here. */
gboolean gp_sandbox_enter(const GpSandboxProfile *profile, GError **error);

/* Moves the calling process into an empty network namespace (in a user namespace of its own if it lacks the right).
 * FALSE only if the kernel offers it and it failed; *@entered says whether it happened. Errors: SANDBOX. */
gboolean gp_sandbox_leave_network(gboolean *entered, GError **error);
