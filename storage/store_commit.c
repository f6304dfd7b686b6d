/* Layer trees and images become libostree commits, and gp_store_commit() makes refs of them in one transaction. A
 * layer's commit is written as soon as the layer is complete, by the thread that unpacked it, while other layers are
 * still being unpacked: a commit without a ref is nothing to anybody. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

/* Trees in the making. */
typedef struct {
    OstreeRepo *repo;
    GHashTable *directory_metadata; /* GVariant's bytes to checksum: most directories have the same attributes */
} Writer;

/* One gp_store_commit(). */
typedef struct {
    GpStore *store;
    GPtrArray *moved; /* GpStaging* whose directory has become a layer's: to be taken back if it fails */
} Commit;

static void writer_init(Writer *writer, OstreeRepo *repo)
{
    writer->repo = repo;
    writer->directory_metadata =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify) g_bytes_unref, g_free);
}

static void writer_clear(Writer *writer)
{
    g_clear_pointer(&writer->directory_metadata, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Writer, writer_clear)

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

static gboolean write_directory_metadata(Writer *writer, OstreeMutableTree *tree, const GpInode *inode, GError **error)
{
    g_autoptr(GVariant) metadata = g_variant_ref_sink(g_variant_new("(uuu@a(ayay))", GUINT32_TO_BE(inode->uid),
        GUINT32_TO_BE(inode->gid), GUINT32_TO_BE(inode->mode), xattrs_variant(inode->xattrs)));
    g_autoptr(GBytes) key = g_variant_get_data_as_bytes(metadata);
    const char *known = g_hash_table_lookup(writer->directory_metadata, key);
    if (!known) {
        g_autofree guchar *checksum = NULL;
        if (!ostree_repo_write_metadata(
                writer->repo, OSTREE_OBJECT_TYPE_DIR_META, NULL, metadata, &checksum, NULL, error))
            return FALSE;
        char *hex = hex_of(checksum);
        known = hex;
        g_hash_table_insert(writer->directory_metadata, g_steal_pointer(&key), hex);
    }
    ostree_mutable_tree_set_metadata_checksum(tree, known);
    return TRUE;
}

static gboolean fill_tree(
    Writer *writer, OstreeMutableTree *tree, OstreeMutableTree *side, const GpNode *node, GError **error);

/* libostree's trees hold regular files and links by UTF-8 names. Objects behind other names, or below directories of
 * such names, lie in "objects/" by checksum, so that they are kept and checked; the sidecar has the names. */
static gboolean add_child(
    Writer *writer, OstreeMutableTree *tree, OstreeMutableTree *side, const GpNode *child, GError **error)
{
    const GpInode *inode = child->inode;
    gboolean plain = tree && g_utf8_validate(child->name, -1, NULL);
    if (S_ISDIR(inode->mode)) {
        g_autoptr(OstreeMutableTree) below = NULL;
        return (!plain || ostree_mutable_tree_ensure_dir(tree, child->name, &below, error)) &&
               fill_tree(writer, below, side, child, error);
    }
    if (!inode->has_object)
        return TRUE;
    g_autofree char *hex = hex_of(inode->object);
    return ostree_mutable_tree_replace_file(plain ? tree : side, plain ? child->name : hex, hex, error);
}

/* @tree: NULL for a directory that libostree cannot name. */
static gboolean fill_tree(
    Writer *writer, OstreeMutableTree *tree, OstreeMutableTree *side, const GpNode *node, GError **error)
{
    if (tree && !write_directory_metadata(writer, tree, node->inode, error))
        return FALSE;
    GHashTableIter iter;
    gpointer child;
    if (!node->children)
        return TRUE;
    g_hash_table_iter_init(&iter, node->children);
    while (g_hash_table_iter_next(&iter, NULL, &child))
        if (!add_child(writer, tree, side, child, error))
            return FALSE;
    return TRUE;
}

/* ---- commits */

static const GpInode plain_directory = {.mode = S_IFDIR | 0755};

static gboolean add_file(Writer *writer, OstreeMutableTree *tree, const char *name, GBytes *bytes, GError **error)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(bytes, &length);
    g_autofree char *checksum = ostree_repo_write_regfile_inline(
        writer->repo, NULL, 0, 0, S_IFREG | 0644, NULL, data ? data : (const guint8 *) "", length, NULL, error);
    return checksum && ostree_mutable_tree_replace_file(tree, name, checksum, error);
}

/* The commit's checksum, owned by the caller. */
static char *write_commit(
    Writer *writer, OstreeMutableTree *tree, GVariant *metadata, const char *subject, GError **error)
{
    g_autoptr(GVariant) owned = g_variant_ref_sink(metadata);
    g_autoptr(GFile) root = NULL;
    g_autofree char *checksum = NULL;
    if (!ostree_repo_write_mtree(writer->repo, tree, &root, NULL, error) ||
        !ostree_repo_write_commit_with_time(
            writer->repo, NULL, subject, NULL, owned, OSTREE_REPO_FILE(root), 0, &checksum, NULL, error))
        return NULL;
    return g_steal_pointer(&checksum);
}

/* Lists of directories that whoever stacks layers must know (storage/store.h). */
typedef struct {
    GVariantBuilder implied, whiteouts;
} Directories;

static void collect_directories(const GpNode *node, GString *path, Directories *found)
{
    GHashTableIter iter;
    gpointer value;
    gboolean whiteouts = FALSE;
    if (node->inode->implied)
        g_variant_builder_add_value(&found->implied, g_variant_new_bytestring(path->str));
    if (!node->children)
        return;
    g_hash_table_iter_init(&iter, node->children);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const GpNode *child = value;
        gsize before = path->len;
        whiteouts |= child->inode->whiteout;
        if (!S_ISDIR(child->inode->mode))
            continue;
        if (before)
            g_string_append_c(path, '/');
        g_string_append(path, child->name);
        collect_directories(child, path, found);
        g_string_truncate(path, before);
    }
    if (whiteouts)
        g_variant_builder_add_value(&found->whiteouts, g_variant_new_bytestring(path->str));
}

static GVariant *layer_metadata(const GpStaging *staging, const GpLayerTree *tree)
{
    g_autofree char *blob = gp_digest_to_string(&staging->blob);
    g_autofree char *diff_id = gp_digest_to_string(&staging->diff_id);
    GVariantBuilder builder;
    Directories found;
    g_autoptr(GString) path = g_string_new(NULL);
    g_variant_builder_init(&found.implied, G_VARIANT_TYPE("aay"));
    g_variant_builder_init(&found.whiteouts, G_VARIANT_TYPE("aay"));
    collect_directories(tree->root, path, &found);
    g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&builder, "{sv}", GP_META_BLOB, g_variant_new_string(blob));
    g_variant_builder_add(&builder, "{sv}", GP_META_DIFF_ID, g_variant_new_string(diff_id));
    g_variant_builder_add(&builder, "{sv}", GP_META_BLOB_SIZE, g_variant_new_uint64(staging->blob_size));
    if (staging->form)
        g_variant_builder_add(&builder, "{sv}", GP_META_FORM, g_variant_new_string(staging->form));
    if (staging->key_proof)
        g_variant_builder_add(&builder, "{sv}", GP_META_KEY_PROOF, g_variant_new_string(staging->key_proof));
    g_variant_builder_add(&builder, "{sv}", GP_META_BYTES, g_variant_new_uint64(tree->bytes));
    g_variant_builder_add(&builder, "{sv}", GP_META_ENTRIES, g_variant_new_uint64(tree->entries));
    g_variant_builder_add(&builder, "{sv}", GP_META_IMPLIED, g_variant_builder_end(&found.implied));
    g_variant_builder_add(&builder, "{sv}", GP_META_WHITEOUTS, g_variant_builder_end(&found.whiteouts));
    return g_variant_builder_end(&builder);
}

static char *write_layer(Writer *writer, const GpStaging *staging, const GpLayerTree *tree, GError **error)
{
    g_autoptr(OstreeMutableTree) top = ostree_mutable_tree_new();
    g_autoptr(OstreeMutableTree) root = NULL;
    g_autoptr(OstreeMutableTree) objects = NULL;
    g_autoptr(GBytes) sidecar = gp_layer_tree_serialize(tree);
    g_autofree char *ref = gp_store_ref("layer", &staging->blob);
    if (!write_directory_metadata(writer, top, &plain_directory, error) ||
        !ostree_mutable_tree_ensure_dir(top, "root", &root, error) ||
        !ostree_mutable_tree_ensure_dir(top, "objects", &objects, error) ||
        !write_directory_metadata(writer, objects, &plain_directory, error) ||
        !fill_tree(writer, root, objects, tree->root, error) || !add_file(writer, top, GP_FILE_ENTRIES, sidecar, error))
        return NULL;
    return write_commit(writer, top, layer_metadata(staging, tree), ref, error);
}

static char *write_image(Writer *writer, const GpStoredImage *image, const char *ref, GError **error)
{
    g_autoptr(OstreeMutableTree) top = ostree_mutable_tree_new();
    if (!write_directory_metadata(writer, top, &plain_directory, error) ||
        !add_file(writer, top, GP_FILE_MANIFEST, image->manifest, error) ||
        !add_file(writer, top, GP_FILE_CONFIG, image->config, error))
        return NULL;
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
    return write_commit(writer, top, g_variant_builder_end(&builder), ref, error);
}

/* libostree's errors into ours. */
static void translate(const GpStore *store, GError **cause, GError **error)
{
    if ((*cause)->domain == GP_ERROR)
        g_propagate_error(error, g_steal_pointer(cause));
    else
        gp_propagate_foreign(error, cause, GP_ERROR_INTERNAL, "store %s: commit", store->path);
}

/* A ref keeps the commit until gp_store_commit() gives it another one, or the staging is freed. */
static char *making_ref(const GpStaging *staging)
{
    return g_strconcat("making/", staging->name, NULL);
}

char *gp_store_write_layer(GpStaging *staging, const GpLayerTree *tree, GError **error)
{
    GpStore *store = staging->store;
    g_autoptr(GError) cause = NULL;
    g_auto(Writer) writer = {0};
    g_autofree char *making = making_ref(staging);
    GP_AUTOFD int objects = gp_store_lock_objects(store, LOCK_SH, error);
    if (objects < 0 || !gp_store_relink(staging, tree, error))
        return NULL;
    g_mutex_lock(&store->lock);
    writer_init(&writer, store->repo);
    char *checksum = write_layer(&writer, staging, tree, &cause);
    if (checksum && !ostree_repo_set_ref_immediate(store->repo, NULL, making, checksum, NULL, &cause))
        g_clear_pointer(&checksum, g_free);
    g_mutex_unlock(&store->lock);
    if (!checksum)
        translate(store, &cause, error);
    return checksum;
}

/* ---- directories */

/* Moves the staged directory to its place before the ref names it: a ref never points at nothing. What lies there has
 * no ref, so a dead process left it: we hold locks/writing. */
static gboolean move_directory(Commit *commit, GpStaging *staging, GError **error)
{
    GpStore *store = commit->store;
    g_autofree char *name = gp_store_file_name(&staging->blob);
    g_autofree char *from = g_build_filename("staging", staging->name, NULL);
    g_autofree char *to = g_build_filename("layers", name, NULL);
    GP_AUTOFD int layers = openat(store->fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layers >= 0 && !gp_remove_tree(layers, name, error))
        return FALSE;
    if (layers < 0 || renameat(store->fd, from, store->fd, to) < 0) {
        gp_set_errno(error, errno, "store %s: moving a layer into place", store->path);
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

/* Another process may have committed the same blob meanwhile: then its layer stays, and ours goes with its staging. */
static gboolean commit_staging(Commit *commit, GpStaging *staging, GError **error)
{
    if (!staging->commit) {
        if (staging->error)
            g_propagate_error(error, g_error_copy(staging->error));
        else
            g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "store: a layer is not complete");
        return FALSE;
    }
    if (gp_store_has_layer(commit->store, &staging->blob))
        return TRUE;
    g_autofree char *ref = gp_store_ref("layer", &staging->blob);
    g_autofree char *making = making_ref(staging);
    ostree_repo_transaction_set_ref(commit->store->repo, NULL, ref, staging->commit);
    ostree_repo_transaction_set_ref(commit->store->repo, NULL, making, NULL);
    return move_directory(commit, staging, error);
}

/* An image never names a layer that is not there. */
static gboolean check_layers(Commit *commit, const GpStoredImage *image, GError **error)
{
    for (guint i = 0; i < image->layers->len; i++) {
        const GpDigest *blob = &g_array_index(image->layers, GpDigest, i);
        gboolean there = gp_store_has_layer(commit->store, blob);
        for (guint k = 0; !there && k < commit->moved->len; k++)
            there = gp_digest_equal(&((GpStaging *) commit->moved->pdata[k])->blob, blob);
        if (there)
            continue;
        g_autofree char *text = gp_digest_to_string(blob);
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL,
            "store: the image's layer %s is not there, or was taken out of use meanwhile\nTry again.", text);
        return FALSE;
    }
    return TRUE;
}

/* Writes the image's commit; its ref comes last. */
static gboolean commit_image(Commit *commit, const GpStoredImage *image, char **checksum, GError **error)
{
    g_autofree char *ref = gp_store_ref("image", &image->manifest_digest);
    g_auto(Writer) writer = {0};
    writer_init(&writer, commit->store->repo);
    *checksum = check_layers(commit, image, error) ? write_image(&writer, image, ref, error) : NULL;
    return *checksum != NULL;
}

static gboolean commit_objects(
    Commit *commit, GPtrArray *stagings, const GpStoredImage *image, char **checksum, GError **error)
{
    OstreeRepo *repo = commit->store->repo;
    gboolean ok = ostree_repo_prepare_transaction(repo, NULL, NULL, error);
    for (guint i = 0; ok && i < stagings->len; i++)
        ok = commit_staging(commit, stagings->pdata[i], error);
    ok = ok && (!image || commit_image(commit, image, checksum, error));
    ok = ok && ostree_repo_commit_transaction(repo, NULL, NULL, error);
    if (!ok)
        (void) ostree_repo_abort_transaction(repo, NULL, NULL);
    return ok;
}

/* libostree writes the refs of one transaction file by file, in no order: who is killed in between must not leave an
 * image that names a layer without a ref. So the image's ref is written when all layers have theirs. */
static gboolean commit_image_ref(Commit *commit, const GpStoredImage *image, const char *checksum, GError **error)
{
    g_autofree char *ref = gp_store_ref("image", &image->manifest_digest);
    if (ostree_repo_set_ref_immediate(commit->store->repo, NULL, ref, checksum, NULL, error))
        return TRUE;
    for (guint i = 0; i < commit->moved->len; i++) {
        g_autofree char *layer = gp_store_ref("layer", &((GpStaging *) commit->moved->pdata[i])->blob);
        (void) ostree_repo_set_ref_immediate(commit->store->repo, NULL, layer, NULL, NULL, NULL);
    }
    return FALSE;
}

static gboolean write_all(Commit *commit, GPtrArray *stagings, const GpStoredImage *image, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *checksum = NULL;
    if (commit_objects(commit, stagings, image, &checksum, &cause) &&
        (!image || commit_image_ref(commit, image, checksum, &cause)))
        return TRUE;
    move_back(commit);
    translate(commit->store, &cause, error);
    return FALSE;
}

gboolean gp_store_commit(GpStore *store, GPtrArray *stagings, const GpStoredImage *image, GError **error)
{
    g_autoptr(GPtrArray) moved = g_ptr_array_new();
    Commit commit = {.store = store, .moved = moved};
    GP_AUTOFD int writing = gp_store_lock_writing(store, error);
    GP_AUTOFD int objects = writing < 0 ? -1 : gp_store_lock_objects(store, LOCK_SH, error);
    if (objects < 0)
        return FALSE;
    g_mutex_lock(&store->lock);
    gboolean ok = write_all(&commit, stagings, image, error);
    g_mutex_unlock(&store->lock);
    /* What has become a layer is no longer the staging's to remove. */
    for (guint i = 0; ok && i < moved->len; i++) {
        GpStaging *staging = moved->pdata[i];
        g_clear_pointer(&staging->name, g_free);
        gp_store_note_verified(store, &staging->blob);
    }
    return ok;
}
