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
#include "puller/cancel.h"
#include "storage/entry.h"
#include "storage/rootfs_directory.h"

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

/* The answer of one layer for one prefix of a path. */
typedef struct {
    Presence presence;
    gboolean hides;       /* an opaque directory on the way, or this one, hides what is in it in lower layers */
    gboolean hides_above; /* one on the way: hides the directory itself, too, with its attributes */
} Answer;

/* The last path that a layer was asked for, with the answers for its prefixes. Paths are asked for in order, so nearly
 * all of the next one is known already: without this, a few deep layers keep the kernel busy for hours. */
typedef struct {
    char *path;      /* NULL: nothing asked yet */
    GArray *answers; /* Answer: of "", of the first component, of the first two, …; ends where the path leads nowhere */
} Memory;

typedef struct {
    const int *layers;
    gsize n_layers;
    GPtrArray *implied;   /* a set of paths (GHashTable) for each layer */
    GPtrArray *whiteouts; /* the same */
    Memory *memories;     /* one for each layer */
} Stack;

static void stack_clear(Stack *stack)
{
    for (gsize i = 0; i < stack->n_layers; i++) {
        g_free(stack->memories[i].path);
        g_clear_pointer(&stack->memories[i].answers, g_array_unref);
    }
    g_free(stack->memories);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Stack, stack_clear)

/* Keeps the answers for what @path has in common with the last one: a number of components, and the root. */
static void keep_common(Memory *memory, const char *path)
{
    guint common = 0; /* whole components */
    gsize at = 0;
    while (memory->path && memory->path[at] && memory->path[at] == path[at])
        common += path[at++] == '/';
    gboolean old_ends = memory->path && (memory->path[at] == '\0' || memory->path[at] == '/');
    if (at > 0 && old_ends && (path[at] == '\0' || path[at] == '/'))
        common++;
    if (!memory->answers)
        memory->answers = g_array_new(FALSE, FALSE, sizeof(Answer));
    g_array_set_size(memory->answers, MIN(memory->answers->len, memory->path ? common + 1 : 0));
    g_free(memory->path);
    memory->path = g_strdup(path);
}

static gboolean ask(int root, const char *prefix, Answer *answer, GError **error)
{
    GP_AUTOFD int fd = open_beneath(root, prefix, O_RDONLY | O_DIRECTORY);
    answer->hides_above = answer->hides;
    if (fd >= 0) {
        answer->presence = PRESENT;
        answer->hides = answer->hides || is_opaque(fd);
        return TRUE;
    }
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
        gp_set_errno(error, errno, "looking at a layer's directory");
        return FALSE;
    }
    answer->presence = errno == ENOENT ? ABSENT : COVERED;
    return TRUE;
}

/* What layer @i says about @path, by what it says about every prefix. */
static gboolean look(const Stack *stack, gsize i, const char *path, Answer *last, GError **error)
{
    Memory *memory = &stack->memories[i];
    keep_common(memory, path);
    *last = (Answer){.presence = PRESENT};
    if (memory->answers->len > 0)
        *last = g_array_index(memory->answers, Answer, memory->answers->len - 1);
    gsize length = strlen(path);
    guint n = 0; /* of the prefix that ends at @end */
    for (gsize end = 0; end <= length && last->presence == PRESENT; end++) {
        if ((end > 0 && end < length && path[end] != '/') || n++ < memory->answers->len)
            continue;
        g_autofree char *prefix = g_strndup(path, end);
        if (!ask(stack->layers[i], prefix, last, error)) {
            g_clear_pointer(&memory->path, g_free);
            return FALSE;
        }
        g_array_append_val(memory->answers, *last);
    }
    return TRUE;
}

/* The layer whose attributes @path shows: the topmost that has a tar entry for it, else the topmost that has it at all;
 * -1: none.
 * *@masked tells that overlayfs by itself would show another layer's. */
static int find_owner(const Stack *stack, const char *path, gboolean *masked, GError **error)
{
    int topmost = -1;
    *masked = FALSE;
    for (gsize i = stack->n_layers; i-- > 0;) {
        Answer answer;
        if (!look(stack, i, path, &answer, error))
            return -1;
        if (answer.presence == PRESENT && topmost < 0)
            topmost = (int) i;
        if (answer.presence == PRESENT && !g_hash_table_contains(stack->implied->pdata[i], path)) {
            *masked = topmost != (int) i;
            return (int) i;
        }
        if (answer.presence == COVERED || answer.hides_above)
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

static gint by_string(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* The members of all @sets, each once and in order. Borrowed. */
static GPtrArray *in_order(const GPtrArray *sets)
{
    g_autoptr(GHashTable) all = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer path;
    for (guint i = 0; i < sets->len; i++) {
        g_hash_table_iter_init(&iter, sets->pdata[i]);
        while (g_hash_table_iter_next(&iter, &path, NULL))
            g_hash_table_add(all, path);
    }
    GPtrArray *list = g_ptr_array_sized_new(g_hash_table_size(all));
    g_hash_table_iter_init(&iter, all);
    while (g_hash_table_iter_next(&iter, &path, NULL))
        g_ptr_array_add(list, path);
    g_ptr_array_sort(list, by_string);
    return list;
}

/* A layer that occurs twice does not merge with itself. */
static gboolean is_same(const Stack *stack, gsize a, gsize b)
{
    struct stat x, y;
    return fstat(stack->layers[a], &x) == 0 && fstat(stack->layers[b], &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

/* Is @path a directory of one visible layer alone, and are there whiteouts in it? In the writable layer it is merged.
 */
static gboolean find_phantoms(const Stack *stack, const char *path, GError **error)
{
    gsize topmost = G_MAXSIZE;
    for (gsize i = stack->n_layers; i-- > 0;) {
        Answer answer;
        if (!look(stack, i, path, &answer, error))
            return FALSE;
        if (answer.presence == PRESENT && topmost != G_MAXSIZE && !is_same(stack, topmost, i))
            return FALSE;
        if (answer.presence == PRESENT && topmost == G_MAXSIZE)
            topmost = i;
        if (answer.presence == COVERED || answer.hides)
            break;
    }
    return topmost != G_MAXSIZE && g_hash_table_contains(stack->whiteouts->pdata[topmost], path);
}

static gboolean add_phantoms(const Stack *stack, GHashTable *wanted, GError **error)
{
    g_autoptr(GPtrArray) paths = in_order(stack->whiteouts);
    for (guint i = 0; i < paths->len; i++) {
        const char *path = paths->pdata[i];
        g_autoptr(GError) problem = NULL;
        if (!gp_cancelled(&problem) && *path && find_phantoms(stack, path, &problem))
            add_with_parents(wanted, path);
        if (problem) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
    }
    return TRUE;
}

static GHashTable *find_masked(const Stack *stack, GError **error)
{
    g_autoptr(GHashTable) wanted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) paths = in_order(stack->implied);
    for (guint i = 0; i < paths->len; i++) {
        gboolean masked = FALSE;
        g_autoptr(GError) problem = NULL;
        /* The layers decide how many these are, so the deadline counts here too. */
        if (!gp_cancelled(&problem))
            (void) find_owner(stack, paths->pdata[i], &masked, &problem);
        if (problem) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return NULL;
        }
        if (masked)
            add_with_parents(wanted, paths->pdata[i]);
    }
    return g_steal_pointer(&wanted);
}

static GPtrArray *describe_all(const Stack *stack, GHashTable *wanted, GError **error)
{
    g_autoptr(GPtrArray) plan = g_ptr_array_new_with_free_func(directory_free);
    g_autoptr(GPtrArray) sets = g_ptr_array_new();
    g_ptr_array_add(sets, wanted);
    /* A parent is a prefix of its children, so it comes before them. */
    g_autoptr(GPtrArray) paths = in_order(sets);
    for (guint i = 0; i < paths->len; i++) {
        const char *path = paths->pdata[i];
        gboolean masked = FALSE;
        g_autoptr(GError) problem = NULL;
        int owner = gp_cancelled(&problem) ? -1 : find_owner(stack, path, &masked, &problem);
        GpRootfsDirectory *directory = problem || owner < 0 ? NULL : describe(stack->layers[owner], path, &problem);
        if (problem) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return NULL;
        }
        if (directory)
            g_ptr_array_add(plan, directory);
    }
    return g_steal_pointer(&plan);
}

/* Lists of paths as sets, which borrow them. */
static GPtrArray *as_sets(const GPtrArray *lists)
{
    GPtrArray *sets = g_ptr_array_new_with_free_func((GDestroyNotify) g_hash_table_unref);
    for (guint i = 0; i < lists->len; i++) {
        GHashTable *set = g_hash_table_new(g_str_hash, g_str_equal);
        const GPtrArray *paths = lists->pdata[i];
        for (guint k = 0; k < paths->len; k++)
            g_hash_table_add(set, paths->pdata[k]);
        g_ptr_array_add(sets, set);
    }
    return sets;
}

GPtrArray *gp_overlay_plan(const GpOverlayStack *given, GError **error)
{
    g_return_val_if_fail(given->implied->len == given->n_layers && given->whiteouts->len == given->n_layers, NULL);
    g_autoptr(GPtrArray) implied = as_sets(given->implied);
    g_autoptr(GPtrArray) whiteouts = as_sets(given->whiteouts);
    g_auto(Stack) stack = {.layers = given->layers,
        .n_layers = given->n_layers,
        .implied = implied,
        .whiteouts = whiteouts,
        .memories = g_new0(Memory, given->n_layers)};
    g_autoptr(GHashTable) wanted = find_masked(&stack, error);
    return wanted && add_phantoms(&stack, wanted, error) ? describe_all(&stack, wanted, error) : NULL;
}
