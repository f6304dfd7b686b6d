/* Damaged layers: taking them out of use, and finding them before they are used. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/mounts.h"
#include "storage/store_internal.h"

/* ---- out of use */

static gboolean contains(const GArray *digests, const GpDigest *digest)
{
    for (guint i = 0; digests && i < digests->len; i++)
        if (gp_digest_equal(&g_array_index(digests, GpDigest, i), digest))
            return TRUE;
    return FALSE;
}

static gboolean put_aside(GpStore *store, const GArray *layers, GError **error)
{
    if (mkdirat(store->fd, "quarantine", 0700) < 0 && errno != EEXIST) {
        gp_set_errno(error, errno, "store %s: creating quarantine", store->path);
        return FALSE;
    }
    for (guint i = 0; layers && i < layers->len; i++) {
        const GpDigest *blob = &g_array_index(layers, GpDigest, i);
        if (gp_store_has_ref(store, "layer", blob) && !gp_store_drop_ref(store, "layer", blob, error))
            return FALSE;
        if (!gp_store_move_layer(store, blob, "quarantine", error))
            return FALSE;
    }
    return TRUE;
}

/* An image that is mounted keeps its ref: it holds the layers that are not damaged. */
static gboolean drop_image(GpStore *store, const GpDigest *manifest, const char *runtime_dir, GError **error)
{
    g_autoptr(GPtrArray) bundles = gp_mounts_using(runtime_dir, (GpMountsOf){store->fd, manifest}, error);
    return bundles && (bundles->len > 0 || gp_store_drop_ref(store, "image", manifest, error));
}

static gboolean drop_images(
    GpStore *store, const GArray *layers, const GArray *images, const char *runtime_dir, GError **error)
{
    g_autoptr(GArray) all = gp_store_list(store, "image", error);
    for (guint i = 0; all && i < all->len; i++) {
        const GpDigest *manifest = &g_array_index(all, GpDigest, i);
        g_autoptr(GArray) used = gp_store_image_layers(store, manifest, NULL);
        gboolean damaged = contains(images, manifest);
        for (guint k = 0; used && k < used->len && !damaged; k++)
            damaged = contains(layers, &g_array_index(used, GpDigest, k));
        if (damaged && !drop_image(store, manifest, runtime_dir, error))
            return FALSE;
    }
    return all != NULL;
}

gboolean gp_store_quarantine(
    GpStore *store, const GArray *layers, const GArray *images, const char *runtime_dir, GError **error)
{
    GP_AUTOFD int writing = gp_store_lock_writing(store, error);
    /* Damaged objects go with the rest, or the layer would be linked to them again when it comes back. */
    return writing >= 0 && put_aside(store, layers, error) && drop_images(store, layers, images, runtime_dir, error) &&
           gp_store_prune_objects(store, error);
}

/* ---- before the first use in a boot */

/* What a note says: this commit, in this directory. A layer that came back has another one. */
static char *note_of(GpStore *store, const GpDigest *blob)
{
    g_autofree char *ref = gp_store_ref("layer", blob);
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    struct stat st;
    GP_AUTOFD int root = gp_store_open_layer_root(store, blob, NULL);
    if (root < 0 || fstat(root, &st) < 0 || !gp_store_load(store, ref, &commit, &metadata, NULL))
        return NULL;
    return g_strdup_printf("%s %ju:%ju %" G_GINT64_FORMAT ".%09ld\n", commit, (uintmax_t) st.st_dev,
        (uintmax_t) st.st_ino, (gint64) st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static char *note_path(GpStore *store, const GpDigest *blob)
{
    g_autofree char *name = gp_store_file_name(blob);
    return g_build_filename(store->runtime_dir, "verified", name, NULL);
}

static gboolean is_noted(GpStore *store, const GpDigest *blob, const char *note)
{
    g_autofree char *path = note_path(store, blob);
    g_autoptr(GBytes) bytes = gp_read_file(AT_FDCWD, path, GP_KIB, "note of a verified layer", NULL);
    gsize length;
    const char *data = bytes ? g_bytes_get_data(bytes, &length) : NULL;
    return data && length == strlen(note) && memcmp(data, note, length) == 0;
}

void gp_store_note_verified(GpStore *store, const GpDigest *blob)
{
    if (!store->runtime_dir)
        return;
    g_autofree char *note = note_of(store, blob);
    g_autofree char *path = note_path(store, blob);
    g_autofree char *folder = g_path_get_dirname(path);
    if (note && gp_mkdir_p(folder, 0700, NULL) && !is_noted(store, blob, note) &&
        !g_file_set_contents_full(path, note, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL))
        g_debug("store: %s cannot be written", path);
}

gboolean gp_store_is_verified(GpStore *store, const GpDigest *blob)
{
    g_autofree char *note = store->runtime_dir ? note_of(store, blob) : NULL;
    return !store->runtime_dir || (note && is_noted(store, blob, note));
}

gboolean gp_store_verify_layer(GpStore *store, const GpDigest *blob, char **problem, GError **error)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    if (gp_store_is_verified(store, blob))
        return TRUE;
    gp_store_check_layer(store, blob, problems);
    if (problems->len == 0) {
        gp_store_note_verified(store, blob);
        return TRUE;
    }
    g_autoptr(GArray) damaged = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    g_array_append_vals(damaged, blob, 1);
    if (gp_store_quarantine(store, damaged, NULL, store->runtime_dir, error))
        *problem = g_strdup(problems->pdata[0]);
    return FALSE;
}
