/* Removing an image and what only it used. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

static const GpStoredImage *find(GPtrArray *images, const GpDigest *manifest)
{
    for (guint i = 0; i < images->len; i++)
        if (gp_digest_equal(&((GpStoredImage *) images->pdata[i])->manifest_digest, manifest))
            return images->pdata[i];
    return NULL;
}

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

static gboolean prune(GpStore *store, GError **error)
{
    g_autoptr(GError) cause = NULL;
    gint total, pruned;
    guint64 size;
    if (ostree_repo_prune(store->repo, OSTREE_REPO_PRUNE_FLAGS_REFS_ONLY, -1, &total, &pruned, &size, NULL, &cause))
        return TRUE;
    gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "store: pruning");
    return FALSE;
}

gboolean gp_store_remove_image(GpStore *store, const GpDigest *manifest, guint64 *freed_layers, GError **error)
{
    g_autoptr(GPtrArray) images = gp_store_images(store, error);
    if (!images)
        return FALSE;
    *freed_layers = 0;
    if (!find(images, manifest)) {
        g_autofree char *text = gp_digest_to_string(manifest);
        g_set_error(
            error, GP_ERROR, GP_ERROR_NOT_FOUND, "%s: no such image in the store\nSee guest-pull images.", text);
        return FALSE;
    }
    if (!drop_ref(store, "image", manifest, error))
        return FALSE;
    g_autoptr(GPtrArray) layers = gp_store_layers(store, error);
    if (!layers)
        return FALSE;
    for (guint i = 0; i < layers->len; i++) {
        const GpStoredLayer *layer = layers->pdata[i];
        if (layer->images > 0)
            continue;
        if (!drop_layer(store, &layer->blob, error))
            return FALSE;
        (*freed_layers)++;
    }
    return prune(store, error);
}
