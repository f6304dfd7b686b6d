#include "base/sandbox_landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

/* Debian 12's headers end at ABI 2; the kernel's documentation (userspace-api/landlock.rst) gives the rest. */
#define RIGHTS_ABI_1 ((G_GUINT64_CONSTANT(1) << 13) - 1)
#define RIGHT_REFER (G_GUINT64_CONSTANT(1) << 13)     /* ABI 2 */
#define RIGHT_TRUNCATE (G_GUINT64_CONSTANT(1) << 14)  /* ABI 3 */
#define RIGHT_IOCTL_DEV (G_GUINT64_CONSTANT(1) << 15) /* ABI 5 */
#define NET_BIND_TCP (G_GUINT64_CONSTANT(1) << 0)     /* ABI 4 */
#define NET_CONNECT_TCP (G_GUINT64_CONSTANT(1) << 1)
#define SCOPE_ABSTRACT_UNIX (G_GUINT64_CONSTANT(1) << 0) /* ABI 6 */
#define SCOPE_SIGNAL (G_GUINT64_CONSTANT(1) << 1)

typedef struct {
    guint64 handled_fs, handled_net, scoped;
} Ruleset;

static Ruleset ruleset_for(int abi, gboolean network, gsize *size)
{
    Ruleset rules = {.handled_fs = RIGHTS_ABI_1};
    if (abi >= 2)
        rules.handled_fs |= RIGHT_REFER;
    if (abi >= 3)
        rules.handled_fs |= RIGHT_TRUNCATE;
    if (abi >= 5)
        rules.handled_fs |= RIGHT_IOCTL_DEV;
    if (abi >= 4)
        rules.handled_net = NET_BIND_TCP | (network ? 0 : NET_CONNECT_TCP);
    if (abi >= 6)
        rules.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    *size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    return rules;
}

static gboolean fail(GError **error, const GpSandboxProfile *profile, const char *what, int err)
{
    g_set_error(
        error, GP_ERROR, GP_ERROR_SANDBOX, "cannot confine %s: Landlock: %s: %s", profile->name, what, g_strerror(err));
    return FALSE;
}

static gboolean allow_reading(int ruleset, const char *path, const GpSandboxProfile *profile, GError **error)
{
    GP_AUTOFD int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? TRUE : fail(error, profile, path, errno);
    if (fstat(fd, &st) < 0)
        return fail(error, profile, path, errno);
    struct landlock_path_beneath_attr rule = {.parent_fd = fd, .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE};
    if (S_ISDIR(st.st_mode))
        rule.allowed_access |= LANDLOCK_ACCESS_FS_READ_DIR;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return fail(error, profile, path, errno);
    return TRUE;
}

gboolean gp_landlock_enter(const GpSandboxProfile *profile, GError **error)
{
    int abi = (int) syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
        return TRUE;
    if (abi < 1)
        return fail(error, profile, "asking for the version", errno);

    gsize size;
    Ruleset rules = ruleset_for(abi, profile->network, &size);
    GP_AUTOFD int ruleset = (int) syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (ruleset < 0)
        return fail(error, profile, "ruleset", errno);
    for (const char *const *path = profile->read_below; path && *path; path++)
        if (!allow_reading(ruleset, *path, profile, error))
            return FALSE;
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return fail(error, profile, "restricting", errno);
    return TRUE;
}
