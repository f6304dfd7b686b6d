/* Removing objects while other processes write layers.
 *
 * Objects that no ref reaches yet are of three sorts. Content of layers in the making also lies in their staging
 * directories: it may go, and gp_store_relink() brings it back before the layer's commit is written. Trees and commits
 * are written under a shared locks/objects, at the end of which a ref names them (making/…, layer/…, image/…). All else
 * is garbage. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/object.h"
#include "storage/store_internal.h"

#define LOCK "locks/objects"
#define LOCK_WAIT 60

int gp_store_lock_objects(GpStore *store, int operation, GError **error)
{
    GP_AUTOFD int fd = openat(store->fd, LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && gp_store_flock(fd, operation, LOCK_WAIT))
        return gp_steal_fd(&fd);
    if (fd >= 0 && errno == EWOULDBLOCK)
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
            "store %s: another process has held " LOCK " for more than %d s\nTry again later.", store->path, LOCK_WAIT);
    else
        gp_set_errno(error, errno, "store %s: " LOCK, store->path);
    return -1;
}

/* ---- the count of removals */

guint64 gp_store_generation(GpStore *store)
{
    guint64 count = 0;
    GP_AUTOFD int fd = openat(store->fd, LOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && pread(fd, &count, sizeof count, 0) == sizeof count ? count : 0;
}

static gboolean set_generation(GpStore *store, int fd, guint64 count, GError **error)
{
    if (pwrite(fd, &count, sizeof count, 0) == sizeof count)
        return TRUE;
    gp_set_errno(error, errno, "store %s: " LOCK, store->path);
    return FALSE;
}

/* ---- putting back */

typedef struct {
    GpLayerTree *tree;
    int objects_fd;
} Relinking;

static gboolean relink_children(const Relinking *relinking, int directory, const GpNode *node, GError **error);

static gboolean relink_node(const Relinking *relinking, int directory, const GpNode *node, GError **error)
{
    if (S_ISDIR(node->inode->mode)) {
        GP_AUTOFD int fd = openat(directory, node->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
            gp_set_errno(error, errno, "store: a directory of a new layer");
            return FALSE;
        }
        return relink_children(relinking, fd, node, error);
    }
    return !node->inode->has_object ||
           gp_object_link(relinking->objects_fd, node->inode->object, directory, node->name, error);
}

static gboolean relink_children(const Relinking *relinking, int directory, const GpNode *node, GError **error)
{
    for (const GpNode *child = node->first; child; child = child->next) {
        gp_layer_tree_passed(relinking->tree);
        if (!relink_node(relinking, directory, child, error))
            return FALSE;
    }
    return TRUE;
}

gboolean gp_store_relink(GpStaging *staging, GpLayerTree *tree, GError **error)
{
    guint64 now = gp_store_generation(staging->store);
    if (now == staging->generation && now % 2 == 0)
        return TRUE;
    const Relinking relinking = {tree, staging->store->objects_fd};
    return relink_children(&relinking, staging->root_fd, tree->root, error);
}

/* ---- removing */

/* Refs of layers in the making whose staging directory is gone: their process has died. */
static gboolean drop_dead_refs(GpStore *store, GError **error)
{
    g_autoptr(GPtrArray) names = gp_store_making(store, error);
    for (guint i = 0; names && i < names->len; i++) {
        const char *name = names->pdata[i];
        g_autofree char *staging = g_build_filename("staging", name, NULL);
        g_autofree char *path = g_strconcat("repo/refs/heads/making/", name, NULL);
        if (name[0] == '.' || faccessat(store->fd, staging, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (unlinkat(store->fd, path, 0) < 0 && errno != ENOENT) {
            gp_set_errno(error, errno, "store %s: %s", store->path, path);
            return FALSE;
        }
    }
    return names != NULL;
}

/* Commits first: whoever is killed on the way must not leave one whose trees are gone. */
static gboolean drop_commits(GpStore *store, GHashTable *reachable, GError **error)
{
    g_autoptr(GHashTable) commits = NULL;
    if (!ostree_repo_list_commit_objects_starting_with(store->repo, "", &commits, NULL, error))
        return FALSE;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, commits);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const char *checksum;
        OstreeObjectType type;
        ostree_object_name_deserialize(key, &checksum, &type);
        if (!g_hash_table_contains(reachable, key) &&
            !ostree_repo_delete_object(store->repo, type, checksum, NULL, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean remove_unreachable(GpStore *store, GError **error)
{
    gint total, pruned;
    guint64 size;
    g_autoptr(GHashTable) refs = NULL;
    g_autoptr(GHashTable) reachable = ostree_repo_traverse_new_reachable();
    if (!ostree_repo_list_refs_ext(store->repo, NULL, &refs, OSTREE_REPO_LIST_REFS_EXT_NONE, NULL, error))
        return FALSE;
    GHashTableIter iter;
    gpointer checksum;
    g_hash_table_iter_init(&iter, refs);
    while (g_hash_table_iter_next(&iter, NULL, &checksum))
        if (!ostree_repo_traverse_commit_union(store->repo, checksum, 0, reachable, NULL, error))
            return FALSE;
    OstreeRepoPruneOptions options = {.flags = OSTREE_REPO_PRUNE_FLAGS_REFS_ONLY, .reachable = reachable};
    return drop_commits(store, reachable, error) &&
           ostree_repo_prune_from_reachable(store->repo, &options, &total, &pruned, &size, NULL, error);
}

gboolean gp_store_prune_objects(GpStore *store, GError **error)
{
    if (!gp_store_repository(store, error))
        return FALSE;
    GP_AUTOFD int lock = gp_store_lock_objects(store, LOCK_EX, error);
    if (lock < 0)
        return FALSE;
    guint64 odd = gp_store_generation(store) | 1;
    if (!set_generation(store, lock, odd, error) || !drop_dead_refs(store, error))
        return FALSE;
    g_autoptr(GError) cause = NULL;
    g_mutex_lock(&store->lock);
    gboolean ok = remove_unreachable(store, &cause);
    g_mutex_unlock(&store->lock);
    if (!ok) {
        gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "store %s: removing unused objects", store->path);
        return FALSE;
    }
    return set_generation(store, lock, odd + 1, error);
}
