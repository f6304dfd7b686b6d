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
#include "storage/store_tree.h"

/* One gp_store_commit(). */
typedef struct {
    GpStore *store;
    GPtrArray *moved; /* GpStaging* whose directory has become a layer's: to be taken back if it fails */
} Commit;

/* ---- commits */

/* The commit's checksum, owned by the caller. */
static char *write_commit(
    OstreeRepo *repo, OstreeMutableTree *tree, GVariant *metadata, const char *subject, GError **error)
{
    g_autoptr(GVariant) owned = g_variant_ref_sink(metadata);
    GP_AUTO_OBJECT GFile *root = NULL;
    g_autofree char *checksum = NULL;
    if (!ostree_repo_write_mtree(repo, tree, &root, NULL, error) ||
        !ostree_repo_write_commit_with_time(
            repo, NULL, subject, NULL, owned, (OstreeRepoFile *) root, 0, &checksum, NULL, error))
        return NULL;
    return g_steal_pointer(&checksum);
}

/* Lists of directories that whoever stacks layers must know (storage/store.h). */
typedef struct {
    GpLayerTree *tree;
    GVariantBuilder implied, whiteouts;
} Directories;

static void collect_directories(const GpNode *node, GString *path, Directories *found)
{
    gboolean whiteouts = FALSE;
    if (node->inode->implied)
        g_variant_builder_add_value(&found->implied, g_variant_new_bytestring(path->str));
    for (const GpNode *child = node->first; child; child = child->next) {
        gsize before = path->len;
        gp_layer_tree_passed(found->tree);
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

static GVariant *layer_metadata(const GpStaging *staging, GpLayerTree *tree)
{
    g_autofree char *blob = gp_digest_to_string(&staging->blob);
    g_autofree char *diff_id = gp_digest_to_string(&staging->diff_id);
    GVariantBuilder builder;
    Directories found = {.tree = tree};
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

static char *write_layer(
    OstreeRepo *repo, const GpStaging *staging, GpLayerTree *tree, const GpTreeName *name, GError **error)
{
    GP_AUTO_OBJECT OstreeMutableTree *top = ostree_mutable_tree_new_from_checksum(repo, name->contents, name->metadata);
    g_autofree char *ref = gp_store_ref("layer", &staging->blob);
    return write_commit(repo, top, layer_metadata(staging, tree), ref, error);
}

static gboolean add_file(OstreeRepo *repo, OstreeMutableTree *tree, const char *name, GBytes *bytes, GError **error)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(bytes, &length);
    g_autofree char *checksum = ostree_repo_write_regfile_inline(
        repo, NULL, 0, 0, S_IFREG | 0644, NULL, data ? data : (const guint8 *) "", length, NULL, error);
    return checksum && ostree_mutable_tree_replace_file(tree, name, checksum, error);
}

/* Of a directory 0755, root's. */
static gboolean set_attributes(OstreeRepo *repo, OstreeMutableTree *tree, GError **error)
{
    g_autoptr(GVariant) metadata =
        g_variant_ref_sink(g_variant_new("(uuua(ayay))", 0U, 0U, GUINT32_TO_BE((guint32) (S_IFDIR | 0755)), NULL));
    g_autofree guchar *checksum = NULL;
    if (!ostree_repo_write_metadata(repo, OSTREE_OBJECT_TYPE_DIR_META, NULL, metadata, &checksum, NULL, error))
        return FALSE;
    g_autofree char *hex = ostree_checksum_from_bytes(checksum);
    ostree_mutable_tree_set_metadata_checksum(tree, hex);
    return TRUE;
}

static char *write_image(OstreeRepo *repo, const GpStoredImage *image, const char *ref, GError **error)
{
    GP_AUTO_OBJECT OstreeMutableTree *top = ostree_mutable_tree_new();
    if (!set_attributes(repo, top, error) || !add_file(repo, top, GP_FILE_MANIFEST, image->manifest, error) ||
        !add_file(repo, top, GP_FILE_CONFIG, image->config, error))
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
    return write_commit(repo, top, g_variant_builder_end(&builder), ref, error);
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

char *gp_store_write_layer(GpStaging *staging, GpLayerTree *tree, GError **error)
{
    GpStore *store = staging->store;
    g_autoptr(GError) cause = NULL;
    g_autofree char *making = making_ref(staging);
    GpTreeName name;
    if (!gp_store_repository(store, error))
        return NULL;
    GP_AUTOFD int objects = gp_store_lock_objects(store, LOCK_SH, error);
    if (objects < 0 || !gp_store_relink(staging, tree, error) ||
        !gp_tree_write(store->objects_fd, staging->fd, tree, GP_FILE_ENTRIES, &name, error))
        return NULL;
    g_mutex_lock(&store->lock);
    char *checksum = write_layer(store->repo, staging, tree, &name, &cause);
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
    *checksum = check_layers(commit, image, error) ? write_image(commit->store->repo, image, ref, error) : NULL;
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
    if (ostree_repo_set_ref_immediate(commit->store->repo, NULL, ref, checksum, NULL, error) &&
        gp_store_set_ref_time(commit->store, "image", &image->manifest_digest, image->pulled, error))
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

/* ---- an image that is there already */

/* The commit of the image would say just what the one in the store says. */
static gboolean is_stored(GpStore *store, const GpStoredImage *image)
{
    g_autoptr(GpStoredImage) stored = gp_store_has_ref(store, "image", &image->manifest_digest)
                                          ? gp_store_load_image(store, &image->manifest_digest, NULL)
                                          : NULL;
    return stored && g_str_equal(stored->reference, image->reference) &&
           g_bytes_equal(stored->manifest, image->manifest) && g_bytes_equal(stored->config, image->config);
}

/* Nothing but the time of the pull is new: then libostree has nothing to write, and is not even loaded. */
static gboolean touch(Commit *commit, const GpStoredImage *image, GError **error)
{
    return check_layers(commit, image, error) &&
           gp_store_set_ref_time(commit->store, "image", &image->manifest_digest, image->pulled, error);
}

gboolean gp_store_commit(GpStore *store, GPtrArray *stagings, const GpStoredImage *image, GError **error)
{
    g_autoptr(GPtrArray) moved = g_ptr_array_new();
    Commit commit = {.store = store, .moved = moved};
    gboolean nothing_new = stagings->len == 0 && (!image || is_stored(store, image));
    if (!nothing_new && !gp_store_repository(store, error))
        return FALSE;
    GP_AUTOFD int writing = gp_store_lock_writing(store, error);
    GP_AUTOFD int objects = writing < 0 ? -1 : gp_store_lock_objects(store, LOCK_SH, error);
    if (objects < 0)
        return FALSE;
    if (nothing_new)
        return !image || touch(&commit, image, error);
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
