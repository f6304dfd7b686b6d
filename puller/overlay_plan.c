#include "puller/overlay_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/entry.h"
#include "storage/rootfs_directory.h"

typedef struct {
    const int *layers;
    gsize n_layers;
    GPtrArray *implied; /* a set of paths (GHashTable) for each layer */
} Stack;

/* What one layer says about a path. */
typedef enum {
    ABSENT,  /* nothing: look below */
    COVERED, /* a whiteout or something else that is no directory: nothing below counts */
    PRESENT,
} Presence;

static int open_beneath(int root, const char *path, guint64 flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int) syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

static gboolean is_opaque(int fd)
{
    char value = 0;
    return fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* Looks at every prefix of @path in one layer. *@hides: an opaque directory on the way hides all lower layers. */
static Presence look(int root, const char *path, gboolean *hides, GError **error)
{
    gsize length = strlen(path);
    *hides = FALSE;
    for (gsize end = 0; end <= length; end++) {
        if (end > 0 && end < length && path[end] != '/')
            continue;
        g_autofree char *prefix = g_strndup(path, end);
        GP_AUTOFD int fd = open_beneath(root, prefix, O_RDONLY | O_DIRECTORY);
        if (fd < 0 && errno == ENOENT)
            return ABSENT;
        if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
            return COVERED;
        if (fd < 0) {
            gp_set_errno(error, errno, "looking at a layer's directory");
            return ABSENT;
        }
        *hides = *hides || is_opaque(fd);
    }
    return PRESENT;
}

/* The layer whose attributes @path shows: the topmost that has a tar entry for it, else the topmost that has it at all;
 * -1: none.
 * *@masked tells that overlayfs by itself would show another layer's. */
static int find_owner(const Stack *stack, const char *path, gboolean *masked, GError **error)
{
    int topmost = -1;
    *masked = FALSE;
    for (gsize i = stack->n_layers; i-- > 0;) {
        gboolean hides;
        g_autoptr(GError) problem = NULL;
        Presence presence = look(stack->layers[i], path, &hides, &problem);
        if (problem) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return -1;
        }
        if (presence == PRESENT && topmost < 0)
            topmost = (int) i;
        if (presence == PRESENT && !g_hash_table_contains(stack->implied->pdata[i], path)) {
            *masked = topmost != (int) i;
            return (int) i;
        }
        if (presence == COVERED || hides)
            break;
    }
    return topmost;
}

static void xattr_clear(gpointer data)
{
    GpXattr *xattr = data;
    g_free(xattr->name);
    g_free(xattr->value);
}

static gint by_xattr_name(gconstpointer a, gconstpointer b)
{
    return strcmp(((const GpXattr *) a)->name, ((const GpXattr *) b)->name);
}

static GArray *read_xattrs(int fd, GError **error)
{
    g_autoptr(GArray) xattrs = g_array_new(FALSE, TRUE, sizeof(GpXattr));
    g_array_set_clear_func(xattrs, xattr_clear);
    g_autofree char *names = g_malloc(GP_LIMIT_XATTR_TOTAL);
    ssize_t size = flistxattr(fd, names, GP_LIMIT_XATTR_TOTAL);
    if (size < 0 && errno != EOPNOTSUPP) {
        gp_set_errno(error, errno, "listing a directory's attributes");
        return NULL;
    }
    for (const char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
        if (g_str_has_prefix(name, "trusted.overlay."))
            continue;
        GpXattr xattr = {.value = g_malloc(GP_LIMIT_XATTR_VALUE)};
        ssize_t length = fgetxattr(fd, name, xattr.value, GP_LIMIT_XATTR_VALUE);
        if (length < 0) {
            gp_set_errno(error, errno, "reading a directory's attribute %s", name);
            g_free(xattr.value);
            return NULL;
        }
        xattr.name = g_strdup(name);
        xattr.size = (gsize) length;
        g_array_append_val(xattrs, xattr);
    }
    g_array_sort(xattrs, by_xattr_name);
    return g_steal_pointer(&xattrs);
}

/* The element as the caller owns it. */
static void directory_free(gpointer data)
{
    GpRootfsDirectory *directory = data;
    if (directory->xattrs)
        g_array_unref((GArray *) (guintptr) directory->xattrs);
    g_free((char *) (guintptr) directory->path);
    g_free(directory);
}

static GpRootfsDirectory *describe(int layer, const char *path, GError **error)
{
    GP_AUTOFD int fd = open_beneath(layer, path, O_RDONLY | O_DIRECTORY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "reading a layer's directory");
        return NULL;
    }
    g_autoptr(GArray) xattrs = read_xattrs(fd, error);
    if (!xattrs)
        return NULL;
    GpRootfsDirectory *directory = g_new0(GpRootfsDirectory, 1);
    directory->path = g_strdup(path);
    directory->uid = st.st_uid;
    directory->gid = st.st_gid;
    directory->mode = st.st_mode;
    directory->mtime = st.st_mtim;
    directory->xattrs = g_steal_pointer(&xattrs);
    return directory;
}

/* Adds @path and its parents. */
static void add_with_parents(GHashTable *set, const char *path)
{
    g_autofree char *copy = g_strdup(path);
    for (;;) {
        g_hash_table_add(set, g_strdup(copy));
        char *slash = strrchr(copy, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static GHashTable *find_masked(const Stack *stack, GError **error)
{
    g_autoptr(GHashTable) wanted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (gsize i = 0; i < stack->n_layers; i++) {
        GHashTableIter iter;
        gpointer path;
        g_hash_table_iter_init(&iter, stack->implied->pdata[i]);
        while (g_hash_table_iter_next(&iter, &path, NULL)) {
            gboolean masked;
            g_autoptr(GError) problem = NULL;
            (void) find_owner(stack, path, &masked, &problem);
            if (problem) {
                g_propagate_error(error, g_steal_pointer(&problem));
                return NULL;
            }
            if (masked)
                add_with_parents(wanted, path);
        }
    }
    return g_steal_pointer(&wanted);
}

static gint by_path(gconstpointer a, gconstpointer b)
{
    return strcmp((*(GpRootfsDirectory *const *) a)->path, (*(GpRootfsDirectory *const *) b)->path);
}

static GPtrArray *describe_all(const Stack *stack, GHashTable *wanted, GError **error)
{
    g_autoptr(GPtrArray) plan = g_ptr_array_new_with_free_func(directory_free);
    GHashTableIter iter;
    gpointer path;
    g_hash_table_iter_init(&iter, wanted);
    while (g_hash_table_iter_next(&iter, &path, NULL)) {
        gboolean masked;
        g_autoptr(GError) problem = NULL;
        int owner = find_owner(stack, path, &masked, &problem);
        GpRootfsDirectory *directory = problem || owner < 0 ? NULL : describe(stack->layers[owner], path, &problem);
        if (problem) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return NULL;
        }
        if (directory)
            g_ptr_array_add(plan, directory);
    }
    /* A parent is a prefix of its children, so it sorts before them. */
    g_ptr_array_sort(plan, by_path);
    return g_steal_pointer(&plan);
}

GPtrArray *gp_overlay_plan(const int *layers, gsize n_layers, GPtrArray *implied, GError **error)
{
    g_return_val_if_fail(implied->len == n_layers, NULL);
    g_autoptr(GPtrArray) sets = g_ptr_array_new_with_free_func((GDestroyNotify) g_hash_table_unref);
    for (gsize i = 0; i < n_layers; i++) {
        GHashTable *set = g_hash_table_new(g_str_hash, g_str_equal);
        const GPtrArray *paths = implied->pdata[i];
        for (guint k = 0; k < paths->len; k++)
            g_hash_table_add(set, paths->pdata[k]);
        g_ptr_array_add(sets, set);
    }
    Stack stack = {.layers = layers, .n_layers = n_layers, .implied = sets};
    g_autoptr(GHashTable) wanted = find_masked(&stack, error);
    return wanted ? describe_all(&stack, wanted, error) : NULL;
}
