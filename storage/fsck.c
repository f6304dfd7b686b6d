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
        if (!node->children || !g_hash_table_contains(node->children, name))
            report(check->problems, "layer %s: %s%s%s: is there, but no entry of the layer", check->name, path,
                *path ? "/" : "", name);
    }
    if (dir)
        closedir(dir);
    else
        report(check->problems, "layer %s: %s: cannot be read: %s", check->name, path, g_strerror(errno));
}

static void check_children(Check *check, int dirfd, const char *name, const char *path, const GpNode *node)
{
    GP_AUTOFD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        report(check->problems, "layer %s: %s: cannot be opened: %s", check->name, path, g_strerror(errno));
        return;
    }
    check_extra(check, fd, path, node);
    GHashTableIter iter;
    gpointer value;
    if (!node->children)
        return;
    g_hash_table_iter_init(&iter, node->children);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const GpNode *child = value;
        g_autofree char *below = *path ? g_strconcat(path, "/", child->name, NULL) : g_strdup(child->name);
        check_node(check, fd, below, child);
    }
}

static void check_node(Check *check, int dirfd, const char *path, const GpNode *node)
{
    const char *name = *node->name ? node->name : ".";
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        report(check->problems, "layer %s: %s: is missing", check->name, path);
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

static void check_layer(GpStore *store, const GpDigest *blob, GPtrArray *problems, guint64 *checked)
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
    Check check = {.name = name, .problems = problems, .inodes = inodes, .numbers = numbers, .checked = checked};
    check_node(&check, root, "", tree->root);
}

/* ---- images */

static void check_image(GpStore *store, const GpStoredImage *image, GPtrArray *problems)
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

/* ---- the repository */

static void check_objects(GpStore *store, const char *ref, GHashTable *seen, GPtrArray *problems)
{
    g_autofree char *commit = NULL;
    g_autoptr(GVariant) metadata = NULL;
    g_autoptr(GHashTable) reachable = NULL;
    g_autoptr(GError) error = NULL;
    if (!gp_store_load(store, ref, &commit, &metadata, &error) ||
        !ostree_repo_traverse_commit(store->repo, commit, 0, &reachable, NULL, &error)) {
        report(problems, "%s: %s", ref, error->message);
        return;
    }
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, reachable);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const char *checksum;
        OstreeObjectType type;
        g_autoptr(GError) problem = NULL;
        if (g_hash_table_contains(seen, key))
            continue;
        g_hash_table_add(seen, g_variant_ref(key));
        ostree_object_name_deserialize(key, &checksum, &type);
        if (!ostree_repo_fsck_object(store->repo, type, checksum, NULL, &problem))
            report(problems, "%s: object %s: %s", ref, checksum, problem->message);
    }
}

static gboolean check_kind(
    GpStore *store, const char *kind, GHashTable *seen, GPtrArray *problems, guint64 *checked, GError **error)
{
    g_autoptr(GArray) digests = gp_store_list(store, kind, error);
    if (!digests)
        return FALSE;
    for (guint i = 0; i < digests->len; i++) {
        const GpDigest *digest = &g_array_index(digests, GpDigest, i);
        g_autofree char *ref = gp_store_ref(kind, digest);
        check_objects(store, ref, seen, problems);
        if (g_str_equal(kind, "layer"))
            check_layer(store, digest, problems, checked);
    }
    return TRUE;
}

gboolean gp_store_fsck(GpStore *store, GPtrArray *problems, guint64 *checked_files, GError **error)
{
    g_autoptr(GHashTable) seen =
        g_hash_table_new_full(ostree_hash_object_name, g_variant_equal, (GDestroyNotify) g_variant_unref, NULL);
    *checked_files = 0;
    if (!check_kind(store, "layer", seen, problems, checked_files, error) ||
        !check_kind(store, "image", seen, problems, checked_files, error))
        return FALSE;
    /* Damage that keeps the list from being read at all has been reported above. */
    g_autoptr(GError) unreadable = NULL;
    g_autoptr(GPtrArray) images = gp_store_images(store, &unreadable);
    if (!images)
        report(problems, "images: %s", unreadable->message);
    for (guint i = 0; images && i < images->len; i++)
        check_image(store, images->pdata[i], problems);
    return TRUE;
}
