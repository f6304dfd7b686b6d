#include "storage/entry.h"

#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits.h"

/* The wire form, all integers little-endian: the fixed part below, then path, link target, and per xattr u16 name
 * length, u32 value length, name, value. No terminators, no padding, nothing behind the last xattr. */
#define FLAG_HARDLINK 1
#define FLAG_LINK 2 /* a link target is there, as opposed to an empty one */
#define FIXED_SIZE (1 + 4 + 4 + 4 + 8 + 4 + 8 + 4 + 4 + 2 + 2 + 2)

/* What the kernel's dev_t holds (include/linux/kdev_t.h: 12 and 20 bits); more would be cut silently. */
#define MAX_MAJOR 0xfff
#define MAX_MINOR 0xfffff

void gp_entry_clear(GpEntry *entry)
{
    g_free(entry->path);
    g_free(entry->link_target);
    if (entry->xattrs)
        g_array_unref(entry->xattrs);
    *entry = (GpEntry){0};
}

void gp_entry_free(GpEntry *entry)
{
    if (!entry)
        return;
    gp_entry_clear(entry);
    g_free(entry);
}

static void clear_xattr(gpointer data)
{
    GpXattr *xattr = data;
    g_free(xattr->name);
    g_free(xattr->value);
}

GArray *gp_xattrs_new(void)
{
    GArray *xattrs = g_array_new(FALSE, TRUE, sizeof(GpXattr));
    g_array_set_clear_func(xattrs, clear_xattr);
    return xattrs;
}

void gp_xattrs_add(GArray *xattrs, const char *name, const void *value, gsize size)
{
    GpXattr xattr = {.name = g_strdup(name), .value = g_memdup2(value, size), .size = size};
    g_array_append_val(xattrs, xattr);
}

static gint compare_xattrs(gconstpointer a, gconstpointer b)
{
    return strcmp(((const GpXattr *) a)->name, ((const GpXattr *) b)->name);
}

void gp_xattrs_sort(GArray *xattrs)
{
    g_array_sort(xattrs, compare_xattrs);
}

static gboolean forbidden_path(const char *path, const char *why, GError **error)
{
    g_autofree char *shown = gp_escape(path, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "forbidden path \"%s\": %s", shown, why);
    return FALSE;
}

static gboolean path_too_big(const char *path, const char *why, GError **error)
{
    g_autofree char *shown = gp_escape(path, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "path \"%s\": %s", shown, why);
    return FALSE;
}

/* Relative, normalized and within limits: what every path on the wire must be, so that no later code needs to think
 * about
 * ".." at all (CVE-2018-1002100 and its many relatives). */
static gboolean check_path(const char *path, GError **error)
{
    if (path[0] == '/')
        return forbidden_path(path, "it is absolute", error);
    if (strlen(path) > GP_LIMIT_PATH)
        return path_too_big(path, "longer than 4095 bytes", error);
    if (path[0] == '\0')
        return TRUE;
    guint depth = 0;
    for (const char *part = path;; part++) {
        gsize length = strcspn(part, "/");
        if (length == 0)
            return forbidden_path(path, "a component is empty", error);
        if (length == 1 && part[0] == '.')
            return forbidden_path(path, "a component is \".\"", error);
        if (length == 2 && part[0] == '.' && part[1] == '.')
            return forbidden_path(path, "\"..\" leads out of the layer", error);
        if (length > GP_LIMIT_NAME)
            return path_too_big(path, "a name is longer than 255 bytes", error);
        if (++depth > GP_LIMIT_PATH_DEPTH)
            return path_too_big(path, "deeper than 128 directories", error);
        part += length;
        if (*part == '\0')
            return TRUE;
    }
}

static gboolean bad_entry(const GpEntry *entry, const char *why, GError **error)
{
    g_autofree char *shown = gp_escape(entry->path, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "entry \"%s\": %s", shown, why);
    return FALSE;
}

static gboolean check_type(const GpEntry *entry, GError **error)
{
    mode_t type = entry->mode & S_IFMT;
    if (entry->hardlink)
        return TRUE;
    switch (type) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFIFO:
    case S_IFBLK:
    case S_IFLNK:
        break;
    case S_IFCHR:
        /* overlayfs takes any 0:0 character device for a whiteout: only the puller may make one, out of a whiteout
         * entry. */
        if (entry->rdev_major == 0 && entry->rdev_minor == 0)
            return bad_entry(entry, "a character device 0:0 would be a whiteout in disguise", error);
        break;
    case S_IFSOCK:
        return bad_entry(entry, "a socket cannot be part of a layer", error);
    default:
        return bad_entry(entry, "of no known type", error);
    }
    if ((entry->mode & ~(mode_t) (S_IFMT | 07777)) != 0)
        return bad_entry(entry, "unknown mode bits", error);
    if (entry->path[0] == '\0' && type != S_IFDIR)
        return bad_entry(entry, "the layer's root can only be a directory", error);
    if (entry->size > 0 && type != S_IFREG)
        return bad_entry(entry, "only a regular file has a size", error);
    gboolean device = type == S_IFCHR || type == S_IFBLK;
    if ((entry->rdev_major > 0 || entry->rdev_minor > 0) && !device)
        return bad_entry(entry, "only a device has a device number", error);
    if (entry->rdev_major > MAX_MAJOR || entry->rdev_minor > MAX_MINOR)
        return bad_entry(entry, "device number beyond Linux's range", error);
    return TRUE;
}

static gboolean check_link(const GpEntry *entry, GError **error)
{
    gboolean symlink = !entry->hardlink && S_ISLNK(entry->mode);
    if (!entry->hardlink && !symlink) {
        if (entry->link_target)
            return bad_entry(entry, "a link target on something that is no link", error);
        return TRUE;
    }
    if (!entry->link_target || !*entry->link_target)
        return bad_entry(entry, "a link without a target", error);
    if (strlen(entry->link_target) > GP_LIMIT_LINK_TARGET) {
        g_autofree char *shown = gp_escape(entry->path, -1, 256);
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "entry \"%s\": link target longer than %d bytes", shown,
            GP_LIMIT_LINK_TARGET);
        return FALSE;
    }
    if (symlink)
        return TRUE;
    if (!*entry->path)
        return bad_entry(entry, "the layer's root cannot be a hard link", error);
    if (!check_path(entry->link_target, error)) {
        g_autofree char *shown = gp_escape(entry->path, -1, 256);
        g_prefix_error(error, "hard link \"%s\": ", shown);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_xattrs(const GpEntry *entry, GError **error)
{
    gsize total = 0;
    g_autofree char *shown = NULL;
    for (guint i = 0; entry->xattrs && i < entry->xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(entry->xattrs, GpXattr, i);
        total += strlen(xattr->name) + xattr->size;
        if (entry->xattrs->len > GP_LIMIT_XATTRS || strlen(xattr->name) > GP_LIMIT_XATTR_NAME ||
            xattr->size > GP_LIMIT_XATTR_VALUE || total > GP_LIMIT_XATTR_TOTAL) {
            shown = gp_escape(entry->path, -1, 256);
            g_set_error(
                error, GP_ERROR, GP_ERROR_LIMIT, "entry \"%s\": too many or too big extended attributes", shown);
            return FALSE;
        }
        if (i > 0 && strcmp(g_array_index(entry->xattrs, GpXattr, i - 1).name, xattr->name) >= 0)
            return bad_entry(entry, "extended attributes unsorted or named twice", error);
        /* user.overlay.* means something only to mounts with "userxattr", which ours never have, and builders leave it
         * behind in ordinary images (guest-components#1737). */
        if (g_str_has_prefix(xattr->name, "trusted.overlay.")) {
            shown = gp_escape(entry->path, -1, 256);
            g_autofree char *name = gp_escape(xattr->name, -1, 256);
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
                "entry \"%s\": extended attribute %s is overlayfs's own and forbidden in a layer", shown, name);
            return FALSE;
        }
        if (!strchr(xattr->name, '.'))
            return bad_entry(entry, "an extended attribute without a namespace", error);
    }
    return TRUE;
}

static gboolean check_entry(const GpEntry *entry, GError **error)
{
    if (!check_path(entry->path, error) || !check_type(entry, error) || !check_link(entry, error) ||
        !check_xattrs(entry, error))
        return FALSE;
    /* (uid_t) -1 means "leave it" to chown(2). */
    if (entry->uid == G_MAXUINT32 || entry->gid == G_MAXUINT32)
        return bad_entry(entry, "owner 4294967295 is no owner", error);
    if (entry->mtime.tv_nsec < 0 || entry->mtime.tv_nsec > 999999999)
        return bad_entry(entry, "nanoseconds out of range", error);
    if (entry->size > G_MAXINT64)
        return bad_entry(entry, "size out of range", error);
    return TRUE;
}

static guint8 *put(guint8 *at, guint64 value, guint size)
{
    for (guint i = 0; i < size; i++)
        *at++ = (guint8) (value >> (8 * i));
    return at;
}

static guint8 *put_bytes(guint8 *at, const void *data, gsize size)
{
    if (size)
        memcpy(at, data, size);
    return at + size;
}

GBytes *gp_entry_encode(const GpEntry *entry, GError **error)
{
    if (!check_entry(entry, error))
        return NULL;
    gsize path_length = strlen(entry->path), link_length = entry->link_target ? strlen(entry->link_target) : 0;
    gsize size = FIXED_SIZE + path_length + link_length;
    guint n_xattrs = entry->xattrs ? entry->xattrs->len : 0;
    for (guint i = 0; i < n_xattrs; i++) {
        const GpXattr *xattr = &g_array_index(entry->xattrs, GpXattr, i);
        size += 6 + strlen(xattr->name) + xattr->size;
    }
    guint8 *data = g_malloc(size), *at = data;
    at = put(at, (entry->hardlink ? FLAG_HARDLINK : 0) | (entry->link_target ? FLAG_LINK : 0), 1);
    at = put(at, entry->mode, 4);
    at = put(at, entry->uid, 4);
    at = put(at, entry->gid, 4);
    at = put(at, (guint64) entry->mtime.tv_sec, 8);
    at = put(at, (guint64) entry->mtime.tv_nsec, 4);
    at = put(at, entry->size, 8);
    at = put(at, entry->rdev_major, 4);
    at = put(at, entry->rdev_minor, 4);
    at = put(at, path_length, 2);
    at = put(at, link_length, 2);
    at = put(at, n_xattrs, 2);
    at = put_bytes(at, entry->path, path_length);
    at = put_bytes(at, entry->link_target, link_length);
    for (guint i = 0; i < n_xattrs; i++) {
        const GpXattr *xattr = &g_array_index(entry->xattrs, GpXattr, i);
        at = put(at, strlen(xattr->name), 2);
        at = put(at, xattr->size, 4);
        at = put_bytes(at, xattr->name, strlen(xattr->name));
        at = put_bytes(at, xattr->value, xattr->size);
    }
    return g_bytes_new_take(data, size);
}

/* A place in the bytes being decoded; @bad sticks once something was not there. */
typedef struct {
    const guint8 *at;
    gsize left;
    gboolean bad;
} Cursor;

static guint64 get(Cursor *cursor, guint size)
{
    guint64 value = 0;
    if (cursor->left < size) {
        cursor->bad = TRUE;
        cursor->left = 0;
        return 0;
    }
    for (guint i = 0; i < size; i++)
        value |= (guint64) cursor->at[i] << (8 * i);
    cursor->at += size;
    cursor->left -= size;
    return value;
}

/* @size bytes that must not contain NUL, as a string. */
static char *get_text(Cursor *cursor, gsize size)
{
    if (cursor->bad || cursor->left < size || memchr(cursor->at, 0, size)) {
        cursor->bad = TRUE;
        return g_strdup("");
    }
    char *text = g_strndup((const char *) cursor->at, size);
    cursor->at += size;
    cursor->left -= size;
    return text;
}

static void get_xattrs(Cursor *cursor, guint n_xattrs, GpEntry *entry)
{
    for (guint i = 0; i < n_xattrs && !cursor->bad; i++) {
        gsize name_size = get(cursor, 2), value_size = get(cursor, 4);
        g_autofree char *name = get_text(cursor, name_size);
        if (cursor->bad || cursor->left < value_size) {
            cursor->bad = TRUE;
            return;
        }
        if (!entry->xattrs)
            entry->xattrs = gp_xattrs_new();
        gp_xattrs_add(entry->xattrs, name, cursor->at, value_size);
        cursor->at += value_size;
        cursor->left -= value_size;
    }
}

GpEntry *gp_entry_decode(const guint8 *data, gsize length, GError **error)
{
    Cursor cursor = {.at = data, .left = length};
    g_autoptr(GpEntry) entry = g_new0(GpEntry, 1);
    guint flags = (guint) get(&cursor, 1);
    entry->hardlink = (flags & FLAG_HARDLINK) != 0;
    entry->mode = (mode_t) get(&cursor, 4);
    entry->uid = (guint32) get(&cursor, 4);
    entry->gid = (guint32) get(&cursor, 4);
    entry->mtime.tv_sec = (time_t) get(&cursor, 8);
    entry->mtime.tv_nsec = (long) get(&cursor, 4);
    entry->size = get(&cursor, 8);
    entry->rdev_major = (guint32) get(&cursor, 4);
    entry->rdev_minor = (guint32) get(&cursor, 4);
    gsize path_length = get(&cursor, 2), link_length = get(&cursor, 2);
    guint n_xattrs = (guint) get(&cursor, 2);
    entry->path = get_text(&cursor, path_length);
    if (flags & FLAG_LINK)
        entry->link_target = get_text(&cursor, link_length);
    get_xattrs(&cursor, n_xattrs, entry);
    if (cursor.bad || cursor.left > 0 || flags > (FLAG_HARDLINK | FLAG_LINK) ||
        (!(flags & FLAG_LINK) && link_length > 0)) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_SANDBOX, "the unpack worker broke the protocol: an entry that does not parse");
        return NULL;
    }
    if (!check_entry(entry, error))
        return NULL;
    return g_steal_pointer(&entry);
}
