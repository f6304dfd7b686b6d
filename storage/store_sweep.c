/* What dead processes and failed layers leave in the store, and how it goes away. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

/* An empty file: objects that no commit names may lie in the repository. */
#define GARBAGE_MARK "garbage"

/* *@held is closed when the removal is done. */
typedef gboolean (*IsLeftover)(GpStore *store, int directory, const char *name, int *held);

/* Removes what @is_leftover says from folder @name of the store; how many. What cannot be removed now is there the next
 * time. */
static guint sweep_folder(GpStore *store, const char *name, IsLeftover is_leftover)
{
    int fd = openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    guint removed = 0;
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        g_autoptr(GError) error = NULL;
        GP_AUTOFD int held = -1;
        if (g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, "..") ||
            !is_leftover(store, fd, entry->d_name, &held))
            continue;
        removed++;
        if (!gp_remove_tree(fd, entry->d_name, &error))
            g_debug("store: %s/%s stays: %s", name, entry->d_name, error->message);
    }
    if (dir)
        closedir(dir);
    else
        gp_close_fd(&fd);
    return removed;
}

/* A staging directory is locked by whoever fills it; the lock dies with the process. We keep it until the directory is
 * gone: whoever has just made one must notice that it was taken away. */
static gboolean is_abandoned(GpStore *store, int directory, const char *name, int *held)
{
    *held = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *held < 0 || flock(*held, LOCK_EX | LOCK_NB) == 0;
}

/* A layer directory whose process died before the ref was written, or after the ref was dropped. */
static gboolean is_orphan(GpStore *store, int directory, const char *name, int *held)
{
    g_autofree char *ref = g_strconcat("repo/refs/heads/layer/", name, NULL);
    char *dash = strchr(ref, '-');
    if (dash)
        *dash = '/';
    return faccessat(store->fd, ref, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static gboolean is_anything(GpStore *store, int directory, const char *name, int *held)
{
    return TRUE;
}

static void note_garbage(GpStore *store)
{
    g_atomic_int_set(&store->garbage, 1);
}

void gp_store_sweep_layers(GpStore *store)
{
    if (sweep_folder(store, "layers", is_orphan) > 0)
        note_garbage(store);
}

/* A process that died between moving its layers into place and dropping their refs in the making has left no staging
 * directory that would tell. */
static gboolean has_dead_refs(GpStore *store)
{
    g_autoptr(GPtrArray) names = gp_store_making(store, NULL);
    for (guint i = 0; names && i < names->len; i++) {
        const char *name = names->pdata[i];
        g_autofree char *staging = g_build_filename("staging", name, NULL);
        if (name[0] != '.' && faccessat(store->fd, staging, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            return TRUE;
    }
    return FALSE;
}

void gp_store_sweep(GpStore *store)
{
    guint removed = sweep_folder(store, "staging", is_abandoned);
    if (removed > 0 || has_dead_refs(store) || faccessat(store->fd, GARBAGE_MARK, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        note_garbage(store);
}

/* Alone with the store: whatever lies in locks/ is nobody's. */
static gboolean clear_away(GpStore *store, GError **error)
{
    gboolean ok = !g_atomic_int_get(&store->garbage) || gp_store_prune_objects(store, error);
    if (store->mode == GP_STORE_REMOVE)
        (void) sweep_folder(store, "locks", is_anything);
    if (ok) {
        g_atomic_int_set(&store->garbage, 0);
        (void) unlinkat(store->fd, GARBAGE_MARK, 0);
    }
    return ok;
}

void gp_store_collect(GpStore *store)
{
    g_autoptr(GError) error = NULL;
    if (store->mode == GP_STORE_READ || (store->mode == GP_STORE_WRITE && !g_atomic_int_get(&store->garbage)))
        return;
    /* It costs a look at every object, which nobody who pulls should wait for: only alone. */
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        if (clear_away(store, &error))
            return;
        g_debug("%s", error->message);
    }
    if (!g_atomic_int_get(&store->garbage))
        return;
    GP_AUTOFD int mark = openat(store->fd, GARBAGE_MARK, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (mark < 0)
        g_debug("store: %s: %s", GARBAGE_MARK, g_strerror(errno));
}
