/* What the store holds, for lists and for mounts. */
#include <unistd.h>

#include "base/error.h"
#include "base/limits.h"
#include "storage/store_internal.h"

#define MOST_LOOKED_AT 100 /* images, by gp_store_knows(): 40 us each */

void gp_stored_image_free(GpStoredImage *image)
{
    if (!image)
        return;
    g_free(image->reference);
    g_clear_pointer(&image->manifest, g_bytes_unref);
    g_clear_pointer(&image->config, g_bytes_unref);
    g_clear_pointer(&image->layers, g_array_unref);
    g_free(image);
}

void gp_stored_layer_free(GpStoredLayer *layer)
{
    g_free(layer);
}

static gboolean read_layers(GVariant *metadata, GArray *layers)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(metadata, GP_META_LAYERS, G_VARIANT_TYPE_STRING_ARRAY);
    gsize n = list ? g_variant_n_children(list) : 0;
    for (gsize i = 0; i < n; i++) {
        const char *text;
        GpDigest digest;
        g_variant_get_child(list, i, "&s", &text);
        if (!gp_digest_parse(text, &digest, NULL))
            return FALSE;
        g_array_append_val(layers, digest);
    }
    return list != NULL;
}

static gboolean lacks_metadata(const char *ref, GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "store: the commit of %s lacks its metadata", ref);
    return FALSE;
}

GArray *gp_store_image_layers(GpStore *store, const GpDigest *manifest, GError **error)
{
    g_autofree char *ref = gp_store_ref("image", manifest);
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    g_autoptr(GArray) layers = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    if (!gp_store_load(store, ref, &commit, &metadata, error) ||
        (!read_layers(metadata, layers) && !lacks_metadata(ref, error)))
        return NULL;
    return g_steal_pointer(&layers);
}

static gboolean load_facts(GpStore *store, const GpDigest *manifest, GpImageFacts *facts, GError **error)
{
    g_autofree char *ref = gp_store_ref("image", manifest);
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    facts->manifest = *manifest;
    return gp_store_load(store, ref, &commit, &metadata, error) &&
           gp_store_ref_time(store, "image", manifest, &facts->pulled, error);
}

GArray *gp_store_image_facts(GpStore *store, GError **error)
{
    g_autoptr(GArray) digests = gp_store_list(store, "image", error);
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(GpImageFacts));
    for (guint i = 0; digests && i < digests->len; i++) {
        const GpDigest *manifest = &g_array_index(digests, GpDigest, i);
        GpImageFacts facts;
        g_autoptr(GError) cause = NULL;
        if (load_facts(store, manifest, &facts, &cause)) {
            g_array_append_val(all, facts);
        } else if (gp_store_has_ref(store, "image", manifest)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
    }
    return digests ? g_steal_pointer(&all) : NULL;
}

GpStoredImage *gp_store_load_image(GpStore *store, const GpDigest *digest, GError **error)
{
    g_autofree char *ref = gp_store_ref("image", digest);
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    if (!gp_store_load(store, ref, &commit, &metadata, error))
        return NULL;
    g_autoptr(GpStoredImage) image = g_new0(GpStoredImage, 1);
    image->manifest_digest = *digest;
    image->layers = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    if (!g_variant_lookup(metadata, GP_META_REFERENCE, "s", &image->reference) ||
        !read_layers(metadata, image->layers)) {
        (void) lacks_metadata(ref, error);
        return NULL;
    }
    if (!gp_store_ref_time(store, "image", digest, &image->pulled, error))
        return NULL;
    image->manifest = gp_store_read_file(store, commit, GP_FILE_MANIFEST, GP_LIMIT_MANIFEST, error);
    image->config = image->manifest ? gp_store_read_file(store, commit, GP_FILE_CONFIG, GP_LIMIT_CONFIG, error) : NULL;
    return image->config ? g_steal_pointer(&image) : NULL;
}

/* As far as can be seen now: a volume may be mounted there later. */
static gboolean has_images(const char *path)
{
    g_autofree char *refs = g_build_filename(path, "repo/refs/heads/image", NULL);
    return access(refs, F_OK) == 0;
}

static gboolean is_named(GpStore *store, const GpDigest *manifest, const char *reference)
{
    const char *name;
    g_autofree char *ref = gp_store_ref("image", manifest);
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    return gp_store_load(store, ref, &commit, &metadata, NULL) &&
           g_variant_lookup(metadata, GP_META_REFERENCE, "&s", &name) && g_str_equal(name, reference);
}

gboolean gp_store_knows(const char *path, const char *reference)
{
    g_autoptr(GpStore) store = has_images(path) ? gp_store_open(path, GP_STORE_READ, TRUE, NULL) : NULL;
    g_autoptr(GArray) images = store ? gp_store_list(store, "image", NULL) : NULL;
    for (guint i = 0; images && i < MIN(images->len, MOST_LOOKED_AT); i++)
        if (is_named(store, &g_array_index(images, GpDigest, i), reference))
            return TRUE;
    return FALSE;
}

GBytes *gp_store_config_at(const char *path, const GpDigest *manifest, const GpDigest *config)
{
    g_autoptr(GpStore) store = has_images(path) ? gp_store_open(path, GP_STORE_READ, TRUE, NULL) : NULL;
    g_autoptr(GpStoredImage) image =
        store && gp_store_has_ref(store, "image", manifest) ? gp_store_load_image(store, manifest, NULL) : NULL;
    return image && gp_digest_check_bytes(config, image->config, "the configuration", NULL) ? g_bytes_ref(image->config)
                                                                                            : NULL;
}

static gint newest_first(gconstpointer a, gconstpointer b)
{
    gint64 x = (*(GpStoredImage *const *) a)->pulled, y = (*(GpStoredImage *const *) b)->pulled;
    return x < y ? 1 : x > y ? -1 : 0;
}

GPtrArray *gp_store_images(GpStore *store, GError **error)
{
    g_autoptr(GArray) digests = gp_store_list(store, "image", error);
    if (!digests)
        return NULL;
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify) gp_stored_image_free);
    for (guint i = 0; i < digests->len; i++) {
        g_autoptr(GError) cause = NULL;
        GpStoredImage *image = gp_store_load_image(store, &g_array_index(digests, GpDigest, i), &cause);
        if (image) {
            g_ptr_array_add(images, image);
        } else if (gp_store_has_ref(store, "image", &g_array_index(digests, GpDigest, i))) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
    }
    g_ptr_array_sort(images, newest_first);
    return g_steal_pointer(&images);
}

static gboolean load_layer(GpStore *store, const GpDigest *blob, GVariant **metadata, GpDigest *diff_id, GError **error)
{
    g_autofree char *ref = gp_store_ref("layer", blob);
    g_autofree char *commit = NULL;
    g_autofree char *text = NULL;
    g_autoptr(GVariant) loaded = NULL;
    if (!gp_store_load(store, ref, &commit, &loaded, error))
        return FALSE;
    if (!g_variant_lookup(loaded, GP_META_DIFF_ID, "s", &text) || !gp_digest_parse(text, diff_id, NULL))
        return lacks_metadata(ref, error);
    *metadata = g_steal_pointer(&loaded);
    return TRUE;
}

guint64 gp_store_layer_bytes(GpStore *store, const GpDigest *blob)
{
    guint64 bytes = 0, entries = 0;
    return gp_store_layer_counts(store, blob, &bytes, &entries, NULL) ? bytes : 0;
}

gboolean gp_store_layer_diff_id(GpStore *store, const GpDigest *blob, GpDigest *diff_id, GError **error)
{
    g_autoptr(GVariant) metadata = NULL;
    return load_layer(store, blob, &metadata, diff_id, error);
}

gboolean gp_store_layer_counts(GpStore *store, const GpDigest *blob, guint64 *bytes, guint64 *entries, GError **error)
{
    GpDigest diff_id;
    g_autoptr(GVariant) metadata = NULL;
    *bytes = *entries = 0;
    if (!load_layer(store, blob, &metadata, &diff_id, error))
        return FALSE;
    (void) g_variant_lookup(metadata, GP_META_BYTES, "t", bytes);
    (void) g_variant_lookup(metadata, GP_META_ENTRIES, "t", entries);
    return TRUE;
}

gboolean gp_store_layer_form(GpStore *store, const GpDigest *blob, guint64 *size, char **form, GError **error)
{
    GpDigest diff_id;
    g_autoptr(GVariant) metadata = NULL;
    *form = NULL;
    *size = 0;
    if (!load_layer(store, blob, &metadata, &diff_id, error))
        return FALSE;
    (void) g_variant_lookup(metadata, GP_META_BLOB_SIZE, "t", size);
    (void) g_variant_lookup(metadata, GP_META_FORM, "s", form);
    return TRUE;
}

gboolean gp_store_layer_key_proof(GpStore *store, const GpDigest *blob, char **proof, GError **error)
{
    GpDigest diff_id;
    g_autoptr(GVariant) metadata = NULL;
    *proof = NULL;
    if (!load_layer(store, blob, &metadata, &diff_id, error))
        return FALSE;
    (void) g_variant_lookup(metadata, GP_META_KEY_PROOF, "s", proof);
    return TRUE;
}

static GPtrArray *read_paths(GVariant *metadata, const char *key)
{
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GVariant) list = g_variant_lookup_value(metadata, key, G_VARIANT_TYPE_BYTESTRING_ARRAY);
    gsize n = list ? g_variant_n_children(list) : 0;
    for (gsize i = 0; i < n; i++) {
        g_autoptr(GVariant) path = g_variant_get_child_value(list, i);
        g_ptr_array_add(paths, g_variant_dup_bytestring(path, NULL));
    }
    return paths;
}

gboolean gp_store_layer_directories(
    GpStore *store, const GpDigest *blob, GPtrArray **implied, GPtrArray **whiteouts, GError **error)
{
    GpDigest diff_id;
    g_autoptr(GVariant) metadata = NULL;
    if (!load_layer(store, blob, &metadata, &diff_id, error))
        return FALSE;
    *implied = read_paths(metadata, GP_META_IMPLIED);
    *whiteouts = read_paths(metadata, GP_META_WHITEOUTS);
    return TRUE;
}

/* The layers (GArray of GpDigest) of every image. */
static GPtrArray *layers_of_images(GpStore *store, GError **error)
{
    g_autoptr(GArray) images = gp_store_list(store, "image", error);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify) g_array_unref);
    for (guint i = 0; images && i < images->len; i++) {
        g_autoptr(GError) cause = NULL;
        GArray *layers = gp_store_image_layers(store, &g_array_index(images, GpDigest, i), &cause);
        if (layers) {
            g_ptr_array_add(all, layers);
        } else if (gp_store_has_ref(store, "image", &g_array_index(images, GpDigest, i))) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
    }
    return images ? g_steal_pointer(&all) : NULL;
}

/* How many of @images (layers_of_images()) have @blob among their layers. */
static guint count_users(GPtrArray *images, const GpDigest *blob)
{
    guint count = 0;
    for (guint i = 0; i < images->len; i++) {
        const GArray *layers = images->pdata[i];
        gboolean uses = FALSE;
        for (guint k = 0; k < layers->len && !uses; k++)
            uses = gp_digest_equal(&g_array_index(layers, GpDigest, k), blob);
        count += uses;
    }
    return count;
}

GPtrArray *gp_store_layers(GpStore *store, GError **error)
{
    g_autoptr(GPtrArray) images = layers_of_images(store, error);
    g_autoptr(GArray) blobs = images ? gp_store_list(store, "layer", error) : NULL;
    if (!blobs)
        return NULL;
    g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func((GDestroyNotify) gp_stored_layer_free);
    for (guint i = 0; i < blobs->len; i++) {
        g_autofree GpStoredLayer *layer = g_new0(GpStoredLayer, 1);
        g_autoptr(GVariant) metadata = NULL;
        g_autoptr(GError) cause = NULL;
        layer->blob = g_array_index(blobs, GpDigest, i);
        if (!load_layer(store, &layer->blob, &metadata, &layer->diff_id, &cause)) {
            if (!gp_store_has_ref(store, "layer", &layer->blob))
                continue; /* removed since it was listed */
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
        (void) g_variant_lookup(metadata, GP_META_BLOB_SIZE, "t", &layer->blob_size);
        (void) g_variant_lookup(metadata, GP_META_BYTES, "t", &layer->bytes);
        (void) g_variant_lookup(metadata, GP_META_ENTRIES, "t", &layer->entries);
        layer->encrypted = g_variant_lookup(metadata, GP_META_KEY_PROOF, "&s", NULL);
        layer->images = count_users(images, &layer->blob);
        g_ptr_array_add(layers, g_steal_pointer(&layer));
    }
    return g_steal_pointer(&layers);
}
