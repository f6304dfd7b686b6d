#include "puller/worker_sandbox.h"

#include <seccomp.h>

#include "base/limits.h"
#include "base/sandbox.h"

/* Files are opened (the resolver's, the roots) and looked at; Landlock says which. A socket pair wakes the resolver
 * thread's reader. */
static const int allowed[] = {SCMP_SYS(openat), SCMP_SYS(newfstatat), SCMP_SYS(pread64), SCMP_SYS(getdents64),
    SCMP_SYS(socketpair), SCMP_SYS(ioctl), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(sched_getaffinity), SCMP_SYS(eventfd2), SCMP_SYS(pipe2),
    SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(clock_getres), SCMP_SYS(sigaltstack), GP_SANDBOX_END};

static const int refused[] = {SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(open), SCMP_SYS(stat), SCMP_SYS(statx), SCMP_SYS(getcwd), SCMP_SYS(prctl),
    SCMP_SYS(prlimit64), SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
    GP_SANDBOX_END};

static const char *const readable[] = {"/etc/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
    "/etc/pki", "/usr/lib/ssl", "/etc/resolv.conf", "/run/systemd/resolve", "/etc/hosts", "/etc/nsswitch.conf",
    "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", NULL};

static const GpSandboxProfile profile = {
    .name = "guest-pull-fetch",
    .allow = allowed,
    .deny_errno = refused,
    .read_below = readable,
    .network = TRUE,
    .threads = TRUE,
    .max_memory = 4 * GP_GIB,
    .max_files = 1024,
};

gboolean gp_fetch_worker_confine(GError **error)
{
    return gp_sandbox_enter(&profile, error);
}
