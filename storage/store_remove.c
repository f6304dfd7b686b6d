/* Removing images and layers while others go on pulling. What somebody uses (store_use.c) stays; a layer's directory
 * leaves layers/ by a rename, so that no half of one is ever there, and is deleted as the staging directory of a dead
 * process would be. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/mounts.h"
#include "storage/store_internal.h"

static gboolean check_mode(GpStore *store, GError **error)
{
    if (store->mode != GP_STORE_READ)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "store %s: not open for changes", store->path);
    return FALSE;
}

/* ---- layers */

gboolean gp_store_move_layer(GpStore *store, const GpDigest *blob, const char *folder, GError **error)
{
    g_autofree char *name = gp_store_file_name(blob);
    g_autofree char *from = g_build_filename("layers", name, NULL);
    for (int attempt = 0; attempt < 100; attempt++) {
        g_autofree char *to = g_strdup_printf("%s/%08x%08x", folder, g_random_int(), g_random_int());
        if (renameat2(store->fd, from, store->fd, to, RENAME_NOREPLACE) == 0 || errno == ENOENT)
            return TRUE;
        if (errno != EEXIST)
            break;
    }
    gp_set_errno(error, errno, "store %s: moving %s to %s", store->path, from, folder);
    return FALSE;
}

/* The ref first: a ref without a directory would be a layer that cannot be mounted. *@gone: nobody uses it. */
static gboolean drop_layer(GpStore *store, const GpDigest *blob, gboolean *gone, GError **error)
{
    *gone = gp_store_claim(store, "layer", blob, FALSE, NULL);
    if (!*gone)
        return TRUE;
    gboolean ok = gp_store_drop_ref(store, "layer", blob, error) && gp_store_move_layer(store, blob, "staging", error);
    gp_store_disclaim(store, "layer", blob);
    return ok;
}

/* The layers (GpDigest) that images name. Metadata is enough: an image whose manifest is damaged can still be removed.
 */
static GHashTable *layers_in_use(GpStore *store, GError **error)
{
    g_autoptr(GArray) images = gp_store_list(store, "image", error);
    g_autoptr(GHashTable) used = g_hash_table_new_full(gp_digest_hash, (GEqualFunc) gp_digest_equal, g_free, NULL);
    for (guint i = 0; images && i < images->len; i++) {
        g_autoptr(GArray) layers = gp_store_image_layers(store, &g_array_index(images, GpDigest, i), error);
        if (!layers)
            return NULL;
        for (guint k = 0; k < layers->len; k++)
            g_hash_table_add(used, g_memdup2(&g_array_index(layers, GpDigest, k), sizeof(GpDigest)));
    }
    return images ? g_steal_pointer(&used) : NULL;
}

static gboolean drop_unused_layers(GpStore *store, GpPruned *pruned, GError **error)
{
    g_autoptr(GHashTable) used = layers_in_use(store, error);
    g_autoptr(GArray) layers = used ? gp_store_list(store, "layer", error) : NULL;
    if (!layers)
        return FALSE;
    for (guint i = 0; i < layers->len; i++) {
        const GpDigest *blob = &g_array_index(layers, GpDigest, i);
        gboolean gone;
        if (g_hash_table_contains(used, blob))
            continue;
        guint64 bytes = gp_store_layer_bytes(store, blob);
        if (!drop_layer(store, blob, &gone, error))
            return FALSE;
        pruned->layers += gone;
        pruned->bytes += gone ? bytes : 0;
    }
    return TRUE;
}

/* What was dropped leaves the disk: directories, then objects. The caller holds locks/writing. */
static gboolean sweep_out(GpStore *store, GError **error)
{
    gp_store_sweep_layers(store);
    gp_store_sweep(store);
    return gp_store_prune_objects(store, error);
}

/* ---- images */

/* Where @manifest (NULL: anything) of this store is mounted. */
static GPtrArray *mounted_in(GpStore *store, const GpDigest *manifest, const char *runtime_dir, GError **error)
{
    if (!runtime_dir)
        return g_ptr_array_new();
    return gp_mounts_using(runtime_dir, (GpMountsOf){store->fd, manifest}, error);
}

/* Errors: INVALID. The caller has claimed the image, so that it is not being mounted just now. */
static gboolean refuse_mounted(GpStore *store, const GpDigest *manifest, const char *runtime_dir, GError **error)
{
    g_autoptr(GPtrArray) bundles = mounted_in(store, manifest, runtime_dir, error);
    if (!bundles || bundles->len == 0)
        return bundles != NULL;
    g_autofree char *text = gp_digest_to_string(manifest);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s is mounted in %s\nFirst: guest-pull umount %s", text,
        (char *) bundles->pdata[0], (char *) bundles->pdata[0]);
    return FALSE;
}

static gboolean remove_claimed(
    GpStore *store, const GpDigest *manifest, const char *runtime_dir, GpPruned *pruned, GError **error)
{
    if (!gp_store_has_ref(store, "image", manifest)) {
        g_autofree char *text = gp_digest_to_string(manifest);
        g_set_error(
            error, GP_ERROR, GP_ERROR_NOT_FOUND, "%s: no such image in the store\nSee guest-pull images.", text);
        return FALSE;
    }
    GP_AUTOFD int writing =
        refuse_mounted(store, manifest, runtime_dir, error) ? gp_store_lock_writing(store, error) : -1;
    if (writing < 0 || !gp_store_drop_ref(store, "image", manifest, error))
        return FALSE;
    pruned->images = 1;
    return drop_unused_layers(store, pruned, error) && sweep_out(store, error);
}

gboolean gp_store_remove_image(
    GpStore *store, const GpDigest *manifest, const char *runtime_dir, GpPruned *pruned, GError **error)
{
    *pruned = (GpPruned){0};
    if (!check_mode(store, error) || !gp_store_claim(store, "image", manifest, TRUE, error))
        return FALSE;
    gboolean ok = remove_claimed(store, manifest, runtime_dir, pruned, error);
    gp_store_disclaim(store, "image", manifest);
    return ok;
}

/* ---- prune */

guint64 gp_store_size(GpStore *store)
{
    struct statvfs fs;
    return fstatvfs(store->fd, &fs) == 0 ? (guint64) fs.f_blocks * fs.f_frsize : 0;
}

guint64 gp_store_free_bytes(GpStore *store)
{
    struct statvfs fs;
    return fstatvfs(store->fd, &fs) == 0 ? (guint64) fs.f_bavail * fs.f_frsize : 0;
}

/* Drops the image's ref unless somebody uses it or it is mounted, which is asked for when nobody can mount it any more.
 */
static gboolean drop_image(
    GpStore *store, const GpDigest *manifest, const char *runtime_dir, gboolean *gone, GError **error)
{
    *gone = FALSE;
    if (!gp_store_claim(store, "image", manifest, FALSE, NULL))
        return TRUE;
    g_autoptr(GPtrArray) bundles = mounted_in(store, manifest, runtime_dir, error);
    *gone = bundles && bundles->len == 0 && gp_store_drop_ref(store, "image", manifest, error);
    gp_store_disclaim(store, "image", manifest);
    return *gone || (bundles && bundles->len > 0);
}

static gint oldest_first(gconstpointer a, gconstpointer b)
{
    gint64 x = ((const GpImageFacts *) a)->pulled, y = ((const GpImageFacts *) b)->pulled;
    return x < y ? -1 : x > y ? 1 : 0;
}

typedef struct {
    GpStore *store;
    const GpPruneOptions *options;
    GpPruned *pruned;
} Prune;

/* A date in the future is of a clock that was wrong: such an image counts as fresh. */
static gboolean is_old(const GpPruneOptions *options, gint64 pulled)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    return options->by_age && pulled <= now && (guint64) (now - pulled) >= options->older_than;
}

/* Images go in the order of their last pull, for their age or until there is room. What room there will be is counted,
 * since the disk tells only after the objects have gone. */
static gboolean drop_images(Prune *prune, GArray *images, GError **error)
{
    GpPruned *pruned = prune->pruned;
    guint64 free_before = gp_store_free_bytes(prune->store), bytes_before = pruned->bytes;
    for (guint i = 0; i < images->len; i++) {
        const GpImageFacts *image = &g_array_index(images, GpImageFacts, i);
        guint64 room = free_before + (pruned->bytes - bytes_before);
        gboolean gone, needed = room < prune->options->free_bytes;
        if (!needed && !is_old(prune->options, image->pulled))
            continue;
        if (!drop_image(prune->store, &image->manifest, prune->options->runtime_dir, &gone, error))
            return FALSE;
        pruned->images += gone;
        if (gone && !drop_unused_layers(prune->store, pruned, error))
            return FALSE;
    }
    return TRUE;
}

/* Whatever is mounted may have a layer in quarantine below it. */
static gboolean clear_quarantine(GpStore *store, const char *runtime_dir, GError **error)
{
    g_autoptr(GPtrArray) bundles = mounted_in(store, NULL, runtime_dir, error);
    return bundles && (bundles->len > 0 || gp_remove_tree(store->fd, "quarantine", error));
}

static gboolean prune_locked(Prune *prune, GError **error)
{
    GpStore *store = prune->store;
    guint64 images_before;
    if (!drop_unused_layers(store, prune->pruned, error) || !sweep_out(store, error))
        return FALSE;
    if (!clear_quarantine(store, prune->options->runtime_dir, error))
        return FALSE;
    /* A second turn where less came free than was counted: equal files that other layers still have. */
    do {
        g_autoptr(GArray) images = gp_store_image_facts(store, error);
        if (!images)
            return FALSE;
        g_array_sort(images, oldest_first);
        images_before = prune->pruned->images;
        if (!drop_images(prune, images, error))
            return FALSE;
        if (prune->pruned->images > images_before && !sweep_out(store, error))
            return FALSE;
    } while (prune->pruned->images > images_before);
    return TRUE;
}

gboolean gp_store_prune(GpStore *store, const GpPruneOptions *options, GpPruned *pruned, GError **error)
{
    *pruned = (GpPruned){0};
    if (!check_mode(store, error))
        return FALSE;
    GP_AUTOFD int writing = gp_store_lock_writing(store, error);
    Prune prune = {.store = store, .options = options, .pruned = pruned};
    return writing >= 0 && prune_locked(&prune, error);
}
