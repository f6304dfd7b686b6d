#include "storage/user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"

void gp_user_clear(GpUser *user)
{
    g_clear_pointer(&user->additional_gids, g_array_unref);
    g_clear_pointer(&user->home, g_free);
}

/* Opens @path below @rootfs_fd if it is a regular file. First without opening it for real: a device node in the image
 * must not be touched. *@fd is -1 when there is none. */
static gboolean open_inside(int rootfs_fd, const char *path, int *fd, GError **error)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    GP_AUTOFD int found = (int) syscall(SYS_openat2, rootfs_fd, path, &how, sizeof how);
    struct stat st;
    *fd = -1;
    if (found < 0 && (errno == ENOENT || errno == ENOTDIR))
        return TRUE;
    if (found < 0 && errno == ELOOP) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the image's /%s: symbolic links lead nowhere", path);
        return FALSE;
    }
    if (found < 0 || fstat(found, &st) < 0) {
        gp_set_errno(error, errno, "the image's /%s", path);
        return FALSE;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the image's /%s: not a regular file", path);
        return FALSE;
    }
    char name[32];
    g_snprintf(name, sizeof name, "/proc/self/fd/%d", found);
    *fd = open(name, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        gp_set_errno(error, errno, "the image's /%s", path);
    return *fd >= 0;
}

/* The lines of a database, none if the file is absent. */
static char **read_lines(int rootfs_fd, const char *path, GError **error)
{
    GP_AUTOFD int fd = -1;
    if (!open_inside(rootfs_fd, path, &fd, error))
        return NULL;
    if (fd < 0)
        return g_new0(char *, 1);
    g_autofree char *what = g_strdup_printf("the image's /%s", path);
    g_autoptr(GBytes) bytes = gp_read_all(fd, GP_LIMIT_PASSWD, what, error);
    if (!bytes)
        return NULL;
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);
    g_autofree char *text = g_strndup(data ? data : "", length); /* ends at a NUL, should there be one */
    return g_strsplit(text, "\n", -1);
}

/* The colon-separated fields of a line that has at least @n of them, else NULL. */
static char **split_line(const char *line, guint n)
{
    g_auto(GStrv) fields = g_strsplit(line, ":", -1);
    return g_strv_length(fields) >= n ? g_steal_pointer(&fields) : NULL;
}

/* Digits only; the last value is (uid_t) -1, "unchanged" to the kernel. */
static gboolean parse_id(const char *text, guint32 *id)
{
    guint64 value;
    if (!g_ascii_isdigit(text[0]) || !g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32 - 1, &value, NULL))
        return FALSE;
    *id = (guint32) value;
    return TRUE;
}

static gboolean is_number(const char *text)
{
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text);
}

static gboolean no_such(const char *what, const char *name, const char *file, GError **error)
{
    g_autofree char *shown = gp_escape(name, -1, 64);
    if (is_number(name))
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "%s \"%s\" of the image's configuration is no valid id", what, shown);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "%s \"%s\" of the image's configuration is not in its /etc/%s\nthe image must have the name, or its "
            "configuration a number",
            what, shown, file);
    return FALSE;
}

/* name:password:uid:gid:gecos:home:shell. @name receives the line's name, or stays NULL without one. */
static gboolean find_user(int rootfs_fd, const char *wanted, GpUser *user, char **name, GError **error)
{
    gboolean numeric = is_number(wanted);
    if (numeric && !parse_id(wanted, &user->uid))
        return no_such("user", wanted, "passwd", error);
    g_auto(GStrv) lines = read_lines(rootfs_fd, "etc/passwd", error);
    if (!lines)
        return FALSE;
    for (gsize i = 0; lines[i]; i++) {
        g_auto(GStrv) fields = split_line(lines[i], 4);
        guint32 uid, gid;
        if (!fields || !parse_id(fields[2], &uid) || !parse_id(fields[3], &gid))
            continue;
        if (numeric ? uid != user->uid : strcmp(fields[0], wanted) != 0)
            continue;
        user->uid = uid;
        user->gid = gid;
        *name = g_strdup(fields[0]);
        if (g_strv_length(fields) >= 6 && fields[5][0] == '/' && g_utf8_validate(fields[5], -1, NULL)) {
            g_free(user->home);
            user->home = g_strdup(fields[5]);
        }
        return TRUE;
    }
    return numeric ? TRUE : no_such("user", wanted, "passwd", error);
}

static int compare_ids(gconstpointer a, gconstpointer b)
{
    guint32 left = *(const guint32 *) a, right = *(const guint32 *) b;
    return left < right ? -1 : left > right;
}

static void remove_repeats(GArray *ids, guint32 other)
{
    g_array_sort(ids, compare_ids);
    for (guint i = ids->len; i-- > 0;) {
        guint32 id = g_array_index(ids, guint32, i);
        if (id == other || (i > 0 && g_array_index(ids, guint32, i - 1) == id))
            g_array_remove_index(ids, i);
    }
}

/* name:password:gid:member,member */
static gboolean find_group(int rootfs_fd, const char *wanted, guint32 *gid, GError **error)
{
    if (is_number(wanted))
        return parse_id(wanted, gid) || no_such("group", wanted, "group", error);
    g_auto(GStrv) lines = read_lines(rootfs_fd, "etc/group", error);
    if (!lines)
        return FALSE;
    for (gsize i = 0; lines[i]; i++) {
        g_auto(GStrv) fields = split_line(lines[i], 3);
        if (fields && strcmp(fields[0], wanted) == 0 && parse_id(fields[2], gid))
            return TRUE;
    }
    return no_such("group", wanted, "group", error);
}

static gboolean find_memberships(int rootfs_fd, const char *name, GpUser *user, GError **error)
{
    g_auto(GStrv) lines = read_lines(rootfs_fd, "etc/group", error);
    if (!lines)
        return FALSE;
    for (gsize i = 0; lines[i]; i++) {
        g_auto(GStrv) fields = split_line(lines[i], 4);
        guint32 gid;
        if (!fields || !parse_id(fields[2], &gid))
            continue;
        g_auto(GStrv) members = g_strsplit(fields[3], ",", -1);
        if (g_strv_contains((const char *const *) members, name))
            g_array_append_val(user->additional_gids, gid);
    }
    remove_repeats(user->additional_gids, user->gid);
    if (user->additional_gids->len > GP_LIMIT_GROUPS) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_LIMIT, "the image's user is a member of more than %d groups", GP_LIMIT_GROUPS);
        return FALSE;
    }
    return TRUE;
}

gboolean gp_user_resolve(int rootfs_fd, const char *text, GpUser *user, GError **error)
{
    g_auto(GpUser) found = {.home = g_strdup("/")};
    found.additional_gids = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_autofree char *name = NULL;
    g_auto(GStrv) parts = g_strsplit(text ? text : "", ":", -1);
    const char *wanted = parts[0] && parts[0][0] ? parts[0] : "0";
    const char *group = parts[0] && parts[1] && parts[1][0] ? parts[1] : NULL;
    if (g_strv_length(parts) > 2) {
        g_autofree char *shown = gp_escape(text, -1, 64);
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "user \"%s\" of the image's configuration is not user[:group]", shown);
        return FALSE;
    }
    if (!find_user(rootfs_fd, wanted, &found, &name, error))
        return FALSE;
    if (group && !find_group(rootfs_fd, group, &found.gid, error))
        return FALSE;
    if (!group && name && !find_memberships(rootfs_fd, name, &found, error))
        return FALSE;
    *user = found;
    found = (GpUser){0};
    return TRUE;
}
