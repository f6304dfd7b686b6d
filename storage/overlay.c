#include "storage/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/mount_api.h"

/* Every option that a distribution's kernel configuration could decide otherwise is written out; docs/architecture.md
 * ("The root filesystem") says what each would cost the other way.
 *
 * - xino=off: "on" sets the top bit of 64 in inode numbers, which 32-bit programs and those that keep them in a double
 *   (Node) cannot take. Its other use, a number that stays over the copy-up, the kernel has for files with one link
 *   only, and a file that is an object too has two.
 * - redirect_dir=on: rename(2) of a directory of the image works instead of failing with EXDEV. Its attribute is
 * trusted only because layers cannot bring it: entries with trusted.overlay.* are refused.
 * - metacopy=on: chmod and chown copy no content; a "chown -R" at start would otherwise fill the memory. Trusted for
 *   the same reason.
 * - index=off: "on" would keep hard links together at the first write, but the file's second name, the object, is one
 *   that no container can remove: what is changed and then deleted would keep its memory until the unmount.
 * - nfs_export=off: needs the index, and nobody exports a container's root.
 *
 * Left out: volatile (a tmpfs has nothing to sync), userxattr (attributes that the container itself may write would
 * steer the overlay), verity (the store checks what it hands out), default_permissions and uuid (no use here). */
static const struct {
    const char *key, *value;
} options[] = {
    {"xino", "off"},
    {"redirect_dir", "on"},
    {"metacopy", "on"},
    {"index", "off"},
    {"nfs_export", "off"},
};

typedef struct {
    const int *lowers; /* topmost first */
    gsize n_lowers;
    const GpRootfsUpper *upper;
    int place;
} Request;

/* By descriptor, so that /proc/self/mountinfo shows which layers these are; Linux before 6.13 wants a name. */
static gboolean set_directory(int context, const char *key, int fd)
{
    char path[32];
    if (fsconfig(context, FSCONFIG_SET_FD, key, NULL, fd) == 0)
        return TRUE;
    g_snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return gp_mount_set(context, key, path);
}

/* Layer by layer, each named by its descriptor. -1 with errno, and the kernel's words in @log (to be freed). */
static int make_by_context(const Request *request, char **log)
{
    GP_AUTOFD int context = gp_mount_open("overlay");
    if (context < 0)
        return -1;
    gboolean ok = TRUE;
    for (gsize i = 0; ok && i < G_N_ELEMENTS(options); i++)
        ok = gp_mount_set(context, options[i].key, options[i].value);
    for (gsize i = 0; ok && i < request->n_lowers; i++)
        ok = set_directory(context, "lowerdir+", request->lowers[i]);
    ok = ok && set_directory(context, "upperdir", request->upper->upper_fd) &&
         set_directory(context, "workdir", request->upper->work_fd);
    int fd = ok ? gp_mount_create(context) : -1;
    if (fd < 0)
        *log = gp_mount_log(context);
    return fd;
}

static gboolean attach(int mount_fd, int place)
{
    return move_mount(mount_fd, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
}

/* Takes the mount whose root @mount_fd is, and all below it, out of the tree; the descriptor stays good. */
static void detach(int mount_fd)
{
    char path[32];
    g_snprintf(path, sizeof path, "/proc/self/fd/%d", mount_fd);
    (void) umount2(path, MNT_DETACH);
}

/* "1:2:3…" and the rest of the options, all as names in /proc/self/fd. NULL if a page does not hold it. */
static char *one_page(const Request *request)
{
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        g_string_append_printf(text, "%s=%s,", options[i].key, options[i].value);
    g_string_append_printf(text, "upperdir=%d,workdir=%d,lowerdir=", request->upper->upper_fd, request->upper->work_fd);
    for (gsize i = 0; i < request->n_lowers; i++)
        g_string_append_printf(text, "%s%d", i ? ":" : "", request->lowers[i]);
    gboolean fits = text->len < 4096;
    return g_string_free(text, !fits);
}

/* The working directory belongs to the whole process, so a child does it; between fork and _exit only system calls,
 * because other threads may have held locks. The mount is in our own mount namespace. FALSE and errno on failure. */
static gboolean mount_from_descriptors(int target, const char *data)
{
    char name[16];
    g_snprintf(name, sizeof name, "%d", target);
    pid_t child = fork();
    if (child < 0)
        return FALSE;
    if (child == 0) {
        if (chdir("/proc/self/fd") < 0 || mount(GP_MOUNT_SOURCE, name, "overlay", 0, data) < 0)
            _exit(errno);
        _exit(0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return FALSE;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return errno == 0;
}

/* The overlay is mounted inside the tmpfs, of which a copy is taken that survives the tmpfs's own detaching. */
static int make_in_one_page(const Request *request, char **log)
{
    g_autofree char *data = one_page(request);
    int tmpfs = request->upper->mount_fd;
    if (!data) {
        *log = g_strdup("the layers' names do not fit in one page");
        errno = E2BIG;
        return -1;
    }
    if (mkdirat(tmpfs, "merged", 0700) < 0)
        return -1;
    GP_AUTOFD int target = openat(tmpfs, "merged", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0 || !mount_from_descriptors(target, data))
        return -1;
    return open_tree(tmpfs, "merged", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

typedef struct {
    GpOverlayMethod method;
    const char *name;
    gboolean attached; /* with the tmpfs at its place */
    int (*make)(const Request *request, char **log);
} Method;

static const Method methods_table[] = {
    {GP_OVERLAY_DETACHED, "detached", FALSE, make_by_context},
    {GP_OVERLAY_ATTACHED, "attached", TRUE, make_by_context},
    {GP_OVERLAY_ONE_PAGE, "in one page", TRUE, make_in_one_page},
};

/* What an older kernel answers to something that it does not know; anything else would meet the next way just the same.
 */
static gboolean is_unknown(int err)
{
    return err == EINVAL || err == ENOSYS || err == EOPNOTSUPP || err == E2BIG;
}

/* Tries one way. A mount that was detached cannot be attached again: *@attached says that it is and stays so. */
static int try_method(const Request *request, const Method *method, gboolean *attached, GString *said)
{
    g_autofree char *log = NULL;
    if (method->attached && !*attached)
        *attached = attach(request->upper->mount_fd, request->place);
    int fd = method->attached && !*attached ? -1 : method->make(request, &log);
    int err = errno;
    if (fd < 0)
        g_string_append_printf(said, "%s%s: %s%s%s", said->len ? "; " : "", method->name, g_strerror(err),
            log && *log ? ": " : "", log ? log : "");
    errno = err;
    return fd;
}

int gp_overlay_make(
    const int *lowers, gsize n_lowers, const GpRootfsUpper *upper, int place, guint methods, GError **error)
{
    const Request request = {.lowers = lowers, .n_lowers = n_lowers, .upper = upper, .place = place};
    g_autoptr(GString) said = g_string_new(NULL);
    gboolean attached = FALSE;
    int fd = -1, err = EINVAL;
    for (gsize i = 0; fd < 0 && is_unknown(err) && i < G_N_ELEMENTS(methods_table); i++) {
        if (methods != 0 && !(methods & methods_table[i].method))
            continue;
        fd = try_method(&request, &methods_table[i], &attached, said);
        err = errno;
    }
    if (attached)
        detach(upper->mount_fd);
    if (fd >= 0)
        return fd;
    if (is_unknown(err) || err == ENODEV)
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "overlay of %" G_GSIZE_FORMAT " layers (%s)\nthe kernel needs overlayfs, and tmpfs with trusted attributes "
            "(CONFIG_OVERLAY_FS, CONFIG_TMPFS_XATTR)",
            n_lowers, said->str);
    else
        gp_set_errno(error, err, "overlay of %" G_GSIZE_FORMAT " layers (%s)", n_lowers, said->str);
    return -1;
}
