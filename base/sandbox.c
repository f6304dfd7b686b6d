#include "base/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/sandbox_filter.h"
#include "base/sandbox_landlock.h"

#define NOBODY 65534

static gboolean fail(GError **error, const GpSandboxProfile *profile, const char *step, int err)
{
    g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "cannot confine %s: %s: %s", profile->name, step, g_strerror(err));
    return FALSE;
}

/* Namespaces and seccomp below confine the calling thread alone. */
static gboolean is_single_threaded(void)
{
    DIR *tasks = opendir("/proc/self/task");
    guint count = 0;
    const struct dirent *entry;
    while (tasks && (entry = readdir(tasks)))
        count += entry->d_name[0] != '.';
    if (tasks)
        closedir(tasks);
    return count <= 1;
}

/* The kernel "does not offer" a namespace when it was built or configured without it, or when this user may not have
 * one. */
static gboolean not_offered(int err)
{
    return err == EPERM || err == EINVAL || err == ENOSYS || err == ENOSPC || err == EUSERS;
}

static gboolean enter_namespaces(const GpSandboxProfile *profile, GError **error)
{
    int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (profile->network ? 0 : CLONE_NEWNET);
    if (unshare(flags) == 0) {
        /* Unmounting elsewhere must reach this copy, or it would keep containers' memory alive. In a chroot that is no
         * mount point (EINVAL) everything stays as it was, which is the same for whoever may not mount. */
        if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 && errno != EINVAL)
            return fail(error, profile, "mount propagation", errno);
        return TRUE;
    }
    if (!not_offered(errno))
        return fail(error, profile, "namespaces", errno);
    if (unshare(CLONE_NEWUSER | flags) < 0 && !not_offered(errno))
        return fail(error, profile, "user namespace", errno);
    return TRUE;
}

static gboolean set_limit(int resource, guint64 value)
{
    struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t) resource, &now) == 0 && now.rlim_max < value)
        limit.rlim_cur = limit.rlim_max = now.rlim_max;
    return setrlimit((__rlimit_resource_t) resource, &limit) == 0;
}

static gboolean set_limits(const GpSandboxProfile *profile, GError **error)
{
    guint64 memory = profile->max_memory;
#ifdef GP_SANITIZED
    memory = 0; /* AddressSanitizer reserves terabytes of address space */
#endif
    if (!set_limit(RLIMIT_CORE, 0) || !set_limit(RLIMIT_FSIZE, 0) || !set_limit(RLIMIT_MEMLOCK, 0) ||
        !set_limit(RLIMIT_MSGQUEUE, 0) || !set_limit(RLIMIT_NOFILE, profile->max_files) ||
        (memory && !set_limit(RLIMIT_AS, memory)))
        return fail(error, profile, "resource limits", errno);
    return TRUE;
}

/* Root becomes nobody: a process of ours without capabilities would still own root's files and processes. */
static gboolean drop_privileges(const GpSandboxProfile *profile, GError **error)
{
    gboolean was_root = geteuid() == 0;
    if (was_root) {
        for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
            if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM)
                return fail(error, profile, "capability bounding set", errno);
        if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
            return fail(error, profile, "changing to nobody", errno);
    }
    (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* absent before Linux 4.3 */
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capset, &header, none) < 0)
        return fail(error, profile, "dropping capabilities", errno);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail(error, profile, "no_new_privs", errno);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fail(error, profile, "undumpable", errno);
    return TRUE;
}

gboolean gp_sandbox_enter(const GpSandboxProfile *profile, GError **error)
{
    if (!is_single_threaded())
        return fail(error, profile, "the process already has threads", EBUSY);
    /* Changing the user id clears the death signal that the parent asked for: it is set again below. */
    int death_signal = 0;
    if (prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0) < 0)
        return fail(error, profile, "death signal", errno);
    pid_t parent = getppid();
    if (!enter_namespaces(profile, error) || !set_limits(profile, error) || !drop_privileges(profile, error))
        return FALSE;
    if (prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) < 0 || getppid() != parent)
        return fail(error, profile, "death signal", ESRCH);
    return gp_landlock_enter(profile, error) && gp_filter_enter(profile, error);
}

static gboolean write_proc(const char *path, const char *text)
{
    GP_AUTOFD int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && gp_write_all(fd, text, strlen(text), NULL);
}

gboolean gp_sandbox_leave_network(gboolean *entered, GError **error)
{
    *entered = TRUE;
    if (unshare(CLONE_NEWNET) == 0)
        return TRUE;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (not_offered(errno) && unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) {
        g_autofree char *uid_map = g_strdup_printf("%u %u 1\n", uid, uid);
        g_autofree char *gid_map = g_strdup_printf("%u %u 1\n", gid, gid);
        if (write_proc("/proc/self/setgroups", "deny") && write_proc("/proc/self/uid_map", uid_map) &&
            write_proc("/proc/self/gid_map", gid_map))
            return TRUE;
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "cannot map our own user into a new namespace");
        return FALSE;
    }
    *entered = FALSE;
    if (not_offered(errno))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "cannot leave the network: %s", g_strerror(errno));
    return FALSE;
}
