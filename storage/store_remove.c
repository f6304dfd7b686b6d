/* Removing an image and what only it used. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

static gboolean drop_ref(GpStore *store, const char *kind, const GpDigest *digest, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *ref = gp_store_ref(kind, digest);
    if (ostree_repo_set_ref_immediate(store->repo, NULL, ref, NULL, NULL, &cause))
        return TRUE;
    gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "store: removing %s", ref);
    return FALSE;
}

/* The ref first: a layer without a directory would be a layer that cannot be mounted. */
static gboolean drop_layer(GpStore *store, const GpDigest *blob, GError **error)
{
    g_autofree char *name = gp_store_file_name(blob);
    GP_AUTOFD int layers = openat(store->fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!drop_ref(store, "layer", blob, error))
        return FALSE;
    if (layers >= 0)
        return gp_remove_tree(layers, name, error);
    gp_set_errno(error, errno, "store: layers");
    return FALSE;
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

static gboolean check_exclusive(GpStore *store, GError **error)
{
    if (store->mode == GP_STORE_EXCLUSIVE)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "store %s: not open exclusively", store->path);
    return FALSE;
}

gboolean gp_store_prune(GpStore *store, guint64 *freed_layers, GError **error)
{
    *freed_layers = 0;
    if (!check_exclusive(store, error))
        return FALSE;
    g_autoptr(GHashTable) used = layers_in_use(store, error);
    g_autoptr(GArray) layers = used ? gp_store_list(store, "layer", error) : NULL;
    if (!layers)
        return FALSE;
    for (guint i = 0; i < layers->len; i++) {
        const GpDigest *blob = &g_array_index(layers, GpDigest, i);
        if (g_hash_table_contains(used, blob))
            continue;
        if (!drop_layer(store, blob, error))
            return FALSE;
        ++*freed_layers;
    }
    return gp_store_prune_objects(store, error);
}

gboolean gp_store_remove_image(GpStore *store, const GpDigest *manifest, guint64 *freed_layers, GError **error)
{
    *freed_layers = 0;
    if (!check_exclusive(store, error))
        return FALSE;
    g_autofree char *ref = gp_store_ref("repo/refs/heads/image", manifest);
    if (faccessat(store->fd, ref, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        g_autofree char *text = gp_digest_to_string(manifest);
        g_set_error(
            error, GP_ERROR, GP_ERROR_NOT_FOUND, "%s: no such image in the store\nSee guest-pull images.", text);
        return FALSE;
    }
    return drop_ref(store, "image", manifest, error) && gp_store_prune(store, freed_layers, error);
}
