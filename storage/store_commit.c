/* gp_store_commit(): layer trees and images become libostree commits and refs, in one transaction. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

/* One gp_store_commit(): what is cached while it runs, and what must be taken back if it fails. */
typedef struct {
    GpStore *store;
    GHashTable *directory_metadata; /* GVariant's bytes to checksum: most directories have the same attributes */
    GPtrArray *moved;               /* GpStaging* whose directory has become a layer's */
} Commit;

static char *hex_of(const guint8 *checksum)
{
    return ostree_checksum_from_bytes(checksum);
}

/* ---- trees */

static GVariant *xattrs_variant(const GArray *xattrs)
{
    GVariantBuilder builder;
    g_variant_builder_init(&builder, G_VARIANT_TYPE("a(ayay)"));
    for (guint i = 0; xattrs && i < xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(xattrs, GpXattr, i);
        g_variant_builder_add(&builder, "(@ay@ay)", g_variant_new_bytestring(xattr->name),
            g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, xattr->value, xattr->size, 1));
    }
    return g_variant_builder_end(&builder);
}

static gboolean write_directory_metadata(Commit *commit, OstreeMutableTree *tree, const GpInode *inode, GError **error)
{
    g_autoptr(GVariant) metadata = g_variant_ref_sink(g_variant_new("(uuu@a(ayay))", GUINT32_TO_BE(inode->uid),
        GUINT32_TO_BE(inode->gid), GUINT32_TO_BE(inode->mode), xattrs_variant(inode->xattrs)));
    g_autoptr(GBytes) key = g_variant_get_data_as_bytes(metadata);
    const char *known = g_hash_table_lookup(commit->directory_metadata, key);
    if (!known) {
        g_autofree guchar *checksum = NULL;
        if (!ostree_repo_write_metadata(
                commit->store->repo, OSTREE_OBJECT_TYPE_DIR_META, NULL, metadata, &checksum, NULL, error))
            return FALSE;
        char *hex = hex_of(checksum);
        known = hex;
        g_hash_table_insert(commit->directory_metadata, g_steal_pointer(&key), hex);
    }
    ostree_mutable_tree_set_metadata_checksum(tree, known);
    return TRUE;
}

/* A checksum's object below "objects/" by its own name. */
static gboolean keep_object(OstreeMutableTree *side, const GpInode *inode, GError **error)
{
    g_autofree char *hex = hex_of(inode->object);
    return !inode->has_object || ostree_mutable_tree_replace_file(side, hex, hex, error);
}

static gboolean fill_tree(
    Commit *commit, OstreeMutableTree *tree, OstreeMutableTree *side, const GpNode *node, GError **error);

/* libostree's trees hold regular files and links by UTF-8 names. What has another name, or is below a directory that
 * has (@tree is NULL then), is kept by its checksum in @side, so that it is neither pruned nor unchecked; the sidecar
 * has the names. */
static gboolean add_child(
    Commit *commit, OstreeMutableTree *tree, OstreeMutableTree *side, const GpNode *child, GError **error)
{
    const GpInode *inode = child->inode;
    gboolean representable = tree && g_utf8_validate(child->name, -1, NULL);
    if (S_ISDIR(inode->mode)) {
        g_autoptr(OstreeMutableTree) below = NULL;
        return (!representable || ostree_mutable_tree_ensure_dir(tree, child->name, &below, error)) &&
               fill_tree(commit, below, side, child, error);
    }
    if (!representable)
        return keep_object(side, inode, error);
    g_autofree char *hex = hex_of(inode->object);
    return !inode->has_object || ostree_mutable_tree_replace_file(tree, child->name, hex, error);
}

static gboolean fill_tree(
    Commit *commit, OstreeMutableTree *tree, OstreeMutableTree *side, const GpNode *node, GError **error)
{
    if (tree && !write_directory_metadata(commit, tree, node->inode, error))
        return FALSE;
    GHashTableIter iter;
    gpointer child;
    if (!node->children)
        return TRUE;
    g_hash_table_iter_init(&iter, node->children);
    while (g_hash_table_iter_next(&iter, NULL, &child))
        if (!add_child(commit, tree, side, child, error))
            return FALSE;
    return TRUE;
}

/* ---- commits */

static const GpInode plain_directory = {.mode = S_IFDIR | 0755};

static gboolean add_file(Commit *commit, OstreeMutableTree *tree, const char *name, GBytes *bytes, GError **error)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(bytes, &length);
    g_autofree char *checksum = ostree_repo_write_regfile_inline(
        commit->store->repo, NULL, 0, 0, S_IFREG | 0644, NULL, data ? data : (const guint8 *) "", length, NULL, error);
    return checksum && ostree_mutable_tree_replace_file(tree, name, checksum, error);
}

static gboolean write_commit(
    Commit *commit, OstreeMutableTree *tree, GVariant *metadata, const char *ref, GError **error)
{
    g_autoptr(GVariant) owned = g_variant_ref_sink(metadata);
    g_autoptr(GFile) root = NULL;
    g_autofree char *checksum = NULL;
    if (!ostree_repo_write_mtree(commit->store->repo, tree, &root, NULL, error) ||
        !ostree_repo_write_commit_with_time(
            commit->store->repo, NULL, ref, NULL, owned, OSTREE_REPO_FILE(root), 0, &checksum, NULL, error))
        return FALSE;
    ostree_repo_transaction_set_ref(commit->store->repo, NULL, ref, checksum);
    return TRUE;
}

static void collect_implied(const GpNode *node, GString *path, GVariantBuilder *paths)
{
    if (node->inode->implied)
        g_variant_builder_add_value(paths, g_variant_new_bytestring(path->str));
    GHashTableIter iter;
    gpointer value;
    if (!node->children)
        return;
    g_hash_table_iter_init(&iter, node->children);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const GpNode *child = value;
        gsize before = path->len;
        if (!S_ISDIR(child->inode->mode))
            continue;
        if (before)
            g_string_append_c(path, '/');
        g_string_append(path, child->name);
        collect_implied(child, path, paths);
        g_string_truncate(path, before);
    }
}

static GVariant *layer_metadata(const GpStaging *staging)
{
    g_autofree char *blob = gp_digest_to_string(&staging->blob);
    g_autofree char *diff_id = gp_digest_to_string(&staging->diff_id);
    GVariantBuilder builder, implied;
    g_autoptr(GString) path = g_string_new(NULL);
    g_variant_builder_init(&implied, G_VARIANT_TYPE("aay"));
    collect_implied(staging->tree->root, path, &implied);
    g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&builder, "{sv}", GP_META_BLOB, g_variant_new_string(blob));
    g_variant_builder_add(&builder, "{sv}", GP_META_DIFF_ID, g_variant_new_string(diff_id));
    g_variant_builder_add(&builder, "{sv}", GP_META_BLOB_SIZE, g_variant_new_uint64(staging->blob_size));
    g_variant_builder_add(&builder, "{sv}", GP_META_BYTES, g_variant_new_uint64(staging->tree->bytes));
    g_variant_builder_add(&builder, "{sv}", GP_META_ENTRIES, g_variant_new_uint64(staging->tree->entries));
    g_variant_builder_add(&builder, "{sv}", GP_META_IMPLIED, g_variant_builder_end(&implied));
    return g_variant_builder_end(&builder);
}

static gboolean commit_layer(Commit *commit, const GpStaging *staging, GError **error)
{
    g_autoptr(OstreeMutableTree) top = ostree_mutable_tree_new();
    g_autoptr(OstreeMutableTree) side = ostree_mutable_tree_new();
    g_autoptr(OstreeMutableTree) root = NULL;
    g_autoptr(OstreeMutableTree) objects = NULL;
    g_autoptr(GBytes) sidecar = gp_layer_tree_serialize(staging->tree);
    g_autofree char *ref = gp_store_ref("layer", &staging->blob);
    if (!write_directory_metadata(commit, top, &plain_directory, error) ||
        !ostree_mutable_tree_ensure_dir(top, "root", &root, error) ||
        !ostree_mutable_tree_ensure_dir(top, "objects", &objects, error) ||
        !write_directory_metadata(commit, objects, &plain_directory, error) ||
        !fill_tree(commit, root, objects, staging->tree->root, error) ||
        !add_file(commit, top, GP_FILE_ENTRIES, sidecar, error))
        return FALSE;
    return write_commit(commit, top, layer_metadata(staging), ref, error);
}

static gboolean commit_image(Commit *commit, const GpStoredImage *image, GError **error)
{
    g_autoptr(OstreeMutableTree) top = ostree_mutable_tree_new();
    g_autofree char *ref = gp_store_ref("image", &image->manifest_digest);
    if (!write_directory_metadata(commit, top, &plain_directory, error) ||
        !add_file(commit, top, GP_FILE_MANIFEST, image->manifest, error) ||
        !add_file(commit, top, GP_FILE_CONFIG, image->config, error))
        return FALSE;
    GVariantBuilder builder, layers;
    g_variant_builder_init(&layers, G_VARIANT_TYPE_STRING_ARRAY);
    for (guint i = 0; i < image->layers->len; i++) {
        g_autofree char *layer = gp_digest_to_string(&g_array_index(image->layers, GpDigest, i));
        g_variant_builder_add(&layers, "s", layer);
    }
    g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&builder, "{sv}", GP_META_REFERENCE, g_variant_new_string(image->reference));
    g_variant_builder_add(&builder, "{sv}", GP_META_LAYERS, g_variant_builder_end(&layers));
    g_variant_builder_add(&builder, "{sv}", GP_META_PULLED, g_variant_new_int64(image->pulled));
    return write_commit(commit, top, g_variant_builder_end(&builder), ref, error);
}

/* ---- directories */

/* Moves the staged directory to its place before the ref names it: a ref never points at nothing. What a dead process
 * left there has no ref, and we hold the blob's lock. */
static gboolean move_directory(Commit *commit, GpStaging *staging, GError **error)
{
    GpStore *store = commit->store;
    g_autofree char *name = gp_store_file_name(&staging->blob);
    g_autofree char *from = g_build_filename("staging", staging->name, NULL);
    g_autofree char *to = g_build_filename("layers", name, NULL);
    GP_AUTOFD int layers = openat(store->fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layers < 0 || !gp_remove_tree(layers, name, NULL) || renameat(store->fd, from, store->fd, to) < 0) {
        gp_set_errno(error, errno, "store: moving a layer into place");
        return FALSE;
    }
    g_ptr_array_add(commit->moved, staging);
    return TRUE;
}

static void move_back(Commit *commit)
{
    for (guint i = 0; i < commit->moved->len; i++) {
        const GpStaging *staging = commit->moved->pdata[i];
        g_autofree char *name = gp_store_file_name(&staging->blob);
        g_autofree char *from = g_build_filename("layers", name, NULL);
        g_autofree char *to = g_build_filename("staging", staging->name, NULL);
        if (renameat(commit->store->fd, from, commit->store->fd, to) < 0)
            g_debug("store: cannot take %s back: %s", name, g_strerror(errno));
    }
}

static gboolean write_all(Commit *commit, GPtrArray *stagings, const GpStoredImage *image, GError **error)
{
    g_autoptr(GError) cause = NULL;
    OstreeRepo *repo = commit->store->repo;
    gboolean ok = ostree_repo_prepare_transaction(repo, NULL, NULL, &cause);
    for (guint i = 0; ok && i < stagings->len; i++)
        ok = commit_layer(commit, stagings->pdata[i], &cause) && move_directory(commit, stagings->pdata[i], &cause);
    ok = ok && (!image || commit_image(commit, image, &cause));
    ok = ok && ostree_repo_commit_transaction(repo, NULL, NULL, &cause);
    if (ok)
        return TRUE;
    (void) ostree_repo_abort_transaction(repo, NULL, NULL);
    move_back(commit);
    if (cause->domain == GP_ERROR)
        g_propagate_error(error, g_steal_pointer(&cause));
    else
        gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "store %s: commit", commit->store->path);
    return FALSE;
}

gboolean gp_store_commit(GpStore *store, GPtrArray *stagings, const GpStoredImage *image, GError **error)
{
    g_autoptr(GHashTable) cache =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify) g_bytes_unref, g_free);
    g_autoptr(GPtrArray) moved = g_ptr_array_new();
    Commit commit = {.store = store, .directory_metadata = cache, .moved = moved};
    g_mutex_lock(&store->lock);
    gboolean ok = write_all(&commit, stagings, image, error);
    g_mutex_unlock(&store->lock);
    /* What has become a layer is no longer the staging's to remove. */
    for (guint i = 0; ok && i < stagings->len; i++)
        g_clear_pointer(&((GpStaging *) stagings->pdata[i])->name, g_free);
    return ok;
}
