/* gp_store_fsck(): everything that would be mounted, against what the commits say. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "storage/fsck_entry.h"
#include "storage/store_internal.h"

/* One layer under examination. */
typedef struct {
    const char *name;
    GPtrArray *problems;
    const GpLayerTree *tree;
    GHashTable *inodes;  /* st_ino to GpInode*, and */
    GHashTable *numbers; /* back: link groups must be the sidecar's, no more and no less */
    guint64 *checked;
} Check;

static void G_GNUC_PRINTF(2, 3) report(GPtrArray *problems, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_ptr_array_add(problems, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

/* @path, @what and errno, which names integrity where the disk is to blame. */
static void report_errno(const Check *check, const char *path, const char *what)
{
    g_autofree char *text = gp_errno_text(errno);
    report(check->problems, "layer %s: %s: %s: %s", check->name, path, what, text);
}

/* ---- layer directories */

static void check_links(Check *check, const char *path, const struct stat *st, const GpInode *inode)
{
    if (S_ISDIR(inode->mode))
        return;
    gpointer number = GSIZE_TO_POINTER(st->st_ino), key = (gpointer) (guintptr) inode, known;
    if (!g_hash_table_lookup_extended(check->inodes, number, NULL, &known))
        g_hash_table_insert(check->inodes, number, key);
    else if (known != key)
        report(
            check->problems, "layer %s: %s: is the same file as another entry, but should not be", check->name, path);
    if (!g_hash_table_lookup_extended(check->numbers, key, NULL, &known))
        g_hash_table_insert(check->numbers, key, number);
    else if (known != number)
        report(check->problems, "layer %s: %s: should be a hard link of another entry, but is a file of its own",
            check->name, path);
}

static void check_node(Check *check, int dirfd, const char *path, const GpNode *node);

/* Names on disk that no entry has. */
static void check_extra(Check *check, int fd, const char *path, const GpNode *node)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        const char *name = entry->d_name;
        if (g_str_equal(name, ".") || g_str_equal(name, ".."))
            continue;
        if (!gp_layer_child(check->tree, node, name))
            report(check->problems, "layer %s: %s%s%s: is there, but no entry of the layer", check->name, path,
                *path ? "/" : "", name);
    }
    if (dir)
        closedir(dir);
    else
        report_errno(check, path, "cannot be read");
}

static void check_children(Check *check, int dirfd, const char *name, const char *path, const GpNode *node)
{
    GP_AUTOFD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        report_errno(check, path, "cannot be opened");
        return;
    }
    check_extra(check, fd, path, node);
    for (const GpNode *child = node->first; child; child = child->next) {
        g_autofree char *below = *path ? g_strconcat(path, "/", child->name, NULL) : g_strdup(child->name);
        check_node(check, fd, below, child);
    }
}

static void check_node(Check *check, int dirfd, const char *path, const GpNode *node)
{
    const char *name = *node->name ? node->name : ".";
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        report_errno(check, path, errno == ENOENT ? "is missing" : "cannot be looked at");
        return;
    }
    g_autofree char *difference = gp_fsck_entry(dirfd, name, &st, node->inode);
    if (difference)
        report(check->problems, "layer %s: %s: %s", check->name, *path ? path : "/", difference);
    check_links(check, path, &st, node->inode);
    (*check->checked)++;
    if (S_ISDIR(st.st_mode) && S_ISDIR(node->inode->mode))
        check_children(check, dirfd, name, path, node);
}

/* The directory against the sidecar. */
static void check_tree(GpStore *store, const GpDigest *blob, GPtrArray *problems, guint64 *checked)
{
    g_autofree char *ref = gp_store_ref("layer", blob);
    g_autofree char *name = gp_digest_to_string(blob);
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) text = NULL;
    g_autoptr(GpLayerTree) tree = NULL;
    g_autofree char *recorded = NULL;
    if (!gp_store_load(store, ref, &commit, &metadata, &error)) {
        report(problems, "layer %s: %s", name, error->message);
        return;
    }
    if (!g_variant_lookup(metadata, GP_META_BLOB, "s", &recorded) || !g_str_equal(recorded, name))
        report(problems, "layer %s: its ref names the commit of layer %s", name, recorded ? recorded : "(none)");
    text = gp_store_read_file(store, commit, GP_FILE_ENTRIES, GP_LIMIT_SIDECAR, &error);
    if (text)
        tree = gp_layer_tree_parse(text, &error);
    GP_AUTOFD int root = tree ? gp_store_open_layer_root(store, blob, &error) : -1;
    if (root < 0) {
        report(problems, "layer %s: %s", name, error->message);
        return;
    }
    g_autoptr(GHashTable) inodes = g_hash_table_new(NULL, NULL);
    g_autoptr(GHashTable) numbers = g_hash_table_new(NULL, NULL);
    Check check = {
        .name = name, .problems = problems, .tree = tree, .inodes = inodes, .numbers = numbers, .checked = checked};
    check_node(&check, root, "", tree->root);
}

/* ---- the repository */

/* Objects that were looked at, with what was wrong ("" if nothing): layers share them. */
static GHashTable *seen_new(void)
{
    return g_hash_table_new_full(ostree_hash_object_name, g_variant_equal, (GDestroyNotify) g_variant_unref, g_free);
}

static const char *check_object(GpStore *store, GHashTable *seen, GVariant *object)
{
    const char *known = g_hash_table_lookup(seen, object), *checksum;
    OstreeObjectType type;
    g_autoptr(GError) problem = NULL;
    if (known)
        return known;
    ostree_object_name_deserialize(object, &checksum, &type);
    g_mutex_lock(&store->lock);
    gboolean good = ostree_repo_fsck_object(store->repo, type, checksum, NULL, &problem);
    g_mutex_unlock(&store->lock);
    g_autofree char *why = good ? NULL : gp_foreign_text(problem);
    char *text = good ? g_strdup("") : g_strdup_printf("object %s: %s", checksum, why);
    g_hash_table_insert(seen, g_variant_ref(object), text);
    return text;
}

static void check_objects(GpStore *store, const char *ref, GHashTable *seen, GPtrArray *problems)
{
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    g_autoptr(GHashTable) reachable = NULL;
    g_autoptr(GError) error = NULL;
    if (gp_store_load(store, ref, &commit, &metadata, &error)) {
        g_mutex_lock(&store->lock);
        (void) ostree_repo_traverse_commit(store->repo, commit, 0, &reachable, NULL, &error);
        g_mutex_unlock(&store->lock);
    }
    if (!reachable) {
        g_autofree char *why = gp_foreign_text(error);
        report(problems, "%s: %s", ref, why);
        return;
    }
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, reachable);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const char *problem = check_object(store, seen, key);
        if (*problem)
            report(problems, "%s: %s", ref, problem);
    }
}

static void check_layer(GpStore *store, const GpDigest *blob, GHashTable *seen, GPtrArray *problems, guint64 *checked)
{
    g_autofree char *ref = gp_store_ref("layer", blob);
    check_objects(store, ref, seen, problems);
    check_tree(store, blob, problems, checked);
}

/* The commit, its top directory and in it the sidecar: what says how the layer must be. */
static gboolean check_record(GpStore *store, const char *commit, GError **error)
{
    g_autoptr(GVariant) variant = NULL;
    g_autoptr(GVariant) top = NULL;
    g_autoptr(GVariant) top_checksum = NULL;
    if (!ostree_repo_fsck_object(store->repo, OSTREE_OBJECT_TYPE_COMMIT, commit, NULL, error) ||
        !ostree_repo_load_commit(store->repo, commit, &variant, NULL, error))
        return FALSE;
    g_variant_get_child(variant, 6, "@ay", &top_checksum);
    g_autofree char *tree = ostree_checksum_from_bytes_v(top_checksum);
    if (!ostree_repo_fsck_object(store->repo, OSTREE_OBJECT_TYPE_DIR_TREE, tree, NULL, error) ||
        !ostree_repo_load_variant(store->repo, OSTREE_OBJECT_TYPE_DIR_TREE, tree, &top, error))
        return FALSE;
    g_autoptr(GVariant) files = g_variant_get_child_value(top, 0);
    for (gsize i = 0; i < g_variant_n_children(files); i++) {
        const char *name;
        g_autoptr(GVariant) checksum = NULL;
        g_variant_get_child(files, i, "(&s@ay)", &name, &checksum);
        g_autofree char *file = ostree_checksum_from_bytes_v(checksum);
        if (!ostree_repo_fsck_object(store->repo, OSTREE_OBJECT_TYPE_FILE, file, NULL, error))
            return FALSE;
    }
    return TRUE;
}

void gp_store_check_layer(GpStore *store, const GpDigest *blob, GPtrArray *problems)
{
    g_autofree char *ref = gp_store_ref("layer", blob);
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    g_autoptr(GError) error = NULL;
    gboolean good = gp_store_repository(store, &error) && gp_store_load(store, ref, &commit, &metadata, &error);
    guint64 checked = 0;
    if (good) {
        g_mutex_lock(&store->lock);
        good = check_record(store, commit, &error);
        g_mutex_unlock(&store->lock);
    }
    g_autofree char *why = good ? NULL : gp_foreign_text(error);
    if (good)
        check_tree(store, blob, problems, &checked);
    else
        report(problems, "%s: %s", ref, why);
}

/* ---- images */

static void check_documents(GpStore *store, const GpStoredImage *image, GPtrArray *problems)
{
    g_autofree char *name = gp_digest_to_string(&image->manifest_digest);
    g_autoptr(GError) error = NULL;
    if (!gp_digest_check_bytes(&image->manifest_digest, image->manifest, "the stored manifest", &error))
        report(problems, "image %s: %s", name, error->message);
    gsize length;
    const void *data = g_bytes_get_data(image->manifest, &length);
    g_autoptr(json_t) manifest = gp_json_parse(data, length, GP_LIMIT_MANIFEST, "manifest", NULL);
    const char *config = json_string_value(json_object_get(json_object_get(manifest, "config"), "digest"));
    GpDigest expected;
    g_autoptr(GError) mismatch = NULL;
    if (!config || !gp_digest_parse(config, &expected, NULL))
        report(problems, "image %s: its manifest names no configuration", name);
    else if (!gp_digest_check_bytes(&expected, image->config, "the stored configuration", &mismatch))
        report(problems, "image %s: %s", name, mismatch->message);
    for (guint i = 0; i < image->layers->len; i++) {
        const GpDigest *layer = &g_array_index(image->layers, GpDigest, i);
        if (gp_store_has_layer(store, layer))
            continue;
        g_autofree char *missing = gp_digest_to_string(layer);
        report(problems, "image %s: layer %s is missing", name, missing);
    }
}

static void check_image(GpStore *store, const GpDigest *manifest, GHashTable *seen, GPtrArray *problems)
{
    g_autofree char *ref = gp_store_ref("image", manifest);
    g_autoptr(GError) unreadable = NULL;
    check_objects(store, ref, seen, problems);
    g_autoptr(GpStoredImage) image = gp_store_load_image(store, manifest, &unreadable);
    if (image)
        check_documents(store, image, problems);
    else
        report(problems, "%s: %s", ref, unreadable->message);
}

/* ---- all of it */

GpFsckReport *gp_fsck_report_new(void)
{
    GpFsckReport *result = g_new0(GpFsckReport, 1);
    result->problems = g_ptr_array_new_with_free_func(g_free);
    result->layers = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    result->images = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    return result;
}

void gp_fsck_report_free(GpFsckReport *report)
{
    if (!report)
        return;
    g_ptr_array_unref(report->problems);
    g_array_unref(report->layers);
    g_array_unref(report->images);
    g_free(report);
}

/* Checks one layer or image while nobody can remove it. What was removed since it was listed is no finding. */
static gboolean check_one(
    GpStore *store, const char *kind, const GpDigest *digest, GHashTable *seen, GpFsckReport *report, GError **error)
{
    gboolean is_layer = g_str_equal(kind, "layer");
    guint before = report->problems->len;
    if (!gp_store_use(store, kind, digest, error))
        return FALSE;
    if (gp_store_has_ref(store, kind, digest)) {
        if (is_layer)
            check_layer(store, digest, seen, report->problems, &report->checked);
        else
            check_image(store, digest, seen, report->problems);
        if (report->problems->len > before)
            g_array_append_val(is_layer ? report->layers : report->images, *digest);
    }
    gp_store_unuse(store, kind, digest);
    return TRUE;
}

static gboolean check_all(
    GpStore *store, const char *kind, const GArray *digests, GHashTable *seen, GpFsckReport *report, GError **error)
{
    for (guint i = 0; digests && i < digests->len; i++)
        if (!check_one(store, kind, &g_array_index(digests, GpDigest, i), seen, report, error))
            return FALSE;
    return digests != NULL;
}

gboolean gp_store_fsck(GpStore *store, GpFsckReport *report, GError **error)
{
    if (!gp_store_repository(store, error))
        return FALSE;
    g_autoptr(GHashTable) seen = seen_new();
    g_autoptr(GArray) layers = gp_store_list(store, "layer", error);
    if (!layers || !check_all(store, "layer", layers, seen, report, error))
        return FALSE;
    g_autoptr(GArray) images = gp_store_list(store, "image", error);
    return check_all(store, "image", images, seen, report, error);
}

gboolean gp_store_fsck_one(GpStore *store, const GpDigest *digest, GpFsckReport *report, GError **error)
{
    if (!gp_store_repository(store, error))
        return FALSE;
    g_autoptr(GHashTable) seen = seen_new();
    gboolean layer = gp_store_has_ref(store, "layer", digest), image = gp_store_has_ref(store, "image", digest);
    if (!layer && !image) {
        g_autofree char *text = gp_digest_to_string(digest);
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND,
            "%s: no such layer or image in the store\nSee guest-pull images and guest-pull layers.", text);
        return FALSE;
    }
    if (layer)
        return check_one(store, "layer", digest, seen, report, error);
    /* Its layers come from the commit alone, so that those of an image with damaged documents are checked too. */
    g_autoptr(GArray) layers = gp_store_image_layers(store, digest, NULL);
    return (!layers || check_all(store, "layer", layers, seen, report, error)) &&
           check_one(store, "image", digest, seen, report, error);
}
