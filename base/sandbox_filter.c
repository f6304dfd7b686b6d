#include "base/sandbox_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/error.h"

/* What any program needs to compute, wait and end. No opening, no creating, no starting of anything. */
static const int core[] = {SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close),
    SCMP_SYS(fstat), SCMP_SYS(lseek), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(munmap), SCMP_SYS(mremap),
    SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrandom), SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
#ifdef GP_SANITIZED
    SCMP_SYS(sigaltstack), SCMP_SYS(sched_getaffinity), SCMP_SYS(prlimit64), SCMP_SYS(getrlimit), SCMP_SYS(readlink),
    SCMP_SYS(getrusage), SCMP_SYS(tgkill), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(prctl),
#endif
    GP_SANDBOX_END};

static const int network_calls[] = {SCMP_SYS(connect), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
    SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(shutdown), SCMP_SYS(bind), GP_SANDBOX_END};

static int add_list(scmp_filter_ctx filter, guint32 action, const int *calls)
{
    int status = 0;
    for (const int *call = calls; call && *call != GP_SANDBOX_END && status == 0; call++)
        status = seccomp_rule_add(filter, action, *call, 0);
    return status;
}

/* Memory is written or executed, never made executable by us. */
static int add_memory(scmp_filter_ctx filter)
{
    int status = 0;
    const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    for (gsize i = 0; i < G_N_ELEMENTS(calls) && status == 0; i++) {
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (status == 0)
            status = seccomp_rule_add(
                filter, SCMP_ACT_ERRNO(EACCES), calls[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    }
    /* glibc's fstat() is newfstatat with an empty path. */
    if (status == 0)
        status = seccomp_rule_add(
            filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1, SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
    /* F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL: asking and flags; no leases, no owners. */
    for (guint64 command = 0; command <= 4 && status == 0; command++)
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, command));
    return status;
}

static int add_network(scmp_filter_ctx filter)
{
    int status = add_list(filter, SCMP_ACT_ALLOW, network_calls);
    const guint64 families[] = {AF_INET, AF_INET6, AF_NETLINK};
    for (gsize i = 0; i < G_N_ELEMENTS(families) && status == 0; i++)
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, families[i]));
    /* The resolver asks a caching daemon over a unix socket first and takes "no" for an answer. */
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    return status;
}

static int add_threads(scmp_filter_ctx filter)
{
    const guint64 flags = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
    int status =
        seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flags, flags));
    return status ? status : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

gboolean gp_filter_enter(const GpSandboxProfile *profile, GError **error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int status = filter ? 0 : -ENOMEM;
    if (status == 0)
        status = add_list(filter, SCMP_ACT_ALLOW, core);
    if (status == 0)
        status = add_memory(filter);
    if (status == 0 && profile->network)
        status = add_network(filter);
    if (status == 0 && profile->threads)
        status = add_threads(filter);
    if (status == 0)
        status = add_list(filter, SCMP_ACT_ALLOW, profile->allow);
    if (status == 0)
        status = add_list(filter, SCMP_ACT_ERRNO(EACCES), profile->deny_errno);
    if (status == 0)
        status = seccomp_load(filter);
    seccomp_release(filter);
    if (status != 0) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_SANDBOX, "cannot confine %s: seccomp: %s", profile->name, g_strerror(-status));
        return FALSE;
    }
    return TRUE;
}
