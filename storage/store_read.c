/* What the repository's commits say. Refs and objects are read as the files that they are (libostree's manual, "Anatomy
 * of an OSTree repository"), so that an image whose layers are all here is mounted without libostree, whose sixty
 * libraries take longer to load than most of what such a pull does. */
#include <string.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/object.h"
#include "storage/store_internal.h"

#define HEADS "repo/refs/heads/"
#define COMMIT_TYPE G_VARIANT_TYPE("(a{sv}aya(say)sstayay)")
#define TREE_TYPE G_VARIANT_TYPE("(a(say)a(sayay))")
#define MOST_OF_AN_OBJECT (128 * 1024 * 1024) /* libostree's own limit of a metadata object */
#define HEX 64
#define SMALL_COMMIT 2048
#define MOST_COMMITS 512

/* A ref's file: 64 hexadecimal digits and the end of the line. */
static gboolean read_ref(GpStore *store, const char *ref, GpDigest *commit, GError **error)
{
    g_autofree char *path = g_strconcat(HEADS, ref, NULL);
    g_autoptr(GBytes) bytes = gp_read_file(store->fd, path, HEX + 1, "a ref", error);
    if (!bytes)
        return FALSE;
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    g_autofree char *digest = g_strdup_printf("sha256:%.*s", HEX, size == HEX + 1 ? text : "");
    if (size == HEX + 1 && text[HEX] == '\n' && gp_digest_parse(digest, commit, NULL))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "not a ref");
    return FALSE;
}

static gboolean set_digest(GpDigest *digest, GVariant *sum, GError **error)
{
    *digest = (GpDigest){.algorithm = GP_DIGEST_SHA256};
    if (g_variant_get_size(sum) != 32) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "a checksum that is none");
        return FALSE;
    }
    memcpy(digest->bytes, g_variant_get_data(sum), 32);
    return TRUE;
}

/* An object is named by the hash of its bytes, which libostree does not look at when it reads one. */
static GVariant *read_object(
    GpStore *store, const GpDigest *digest, const char *kind, const GVariantType *type, GError **error)
{
    char file[GP_OBJECT_PATH_SIZE];
    gp_object_path(digest->bytes, file);
    g_autofree char *path = g_strdup_printf("%.*s.%s", (int) strcspn(file, "."), file, kind);
    g_autofree char *what = g_strconcat("its ", kind, NULL);
    g_autoptr(GBytes) bytes = gp_read_file(store->objects_fd, path, MOST_OF_AN_OBJECT, what, error);
    if (!bytes || !gp_digest_check_bytes(digest, bytes, what, error))
        return NULL;
    g_autoptr(GVariant) variant = g_variant_ref_sink(g_variant_new_from_bytes(type, bytes, FALSE));
    if (g_variant_is_normal_form(variant))
        return g_steal_pointer(&variant);
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "%s is none", what);
    return NULL;
}

static guint hash_digest(gconstpointer digest)
{
    guint hash;
    memcpy(&hash, ((const GpDigest *) digest)->bytes, sizeof hash);
    return hash;
}

static gboolean same_digest(gconstpointer a, gconstpointer b)
{
    return gp_digest_equal(a, b);
}

GHashTable *gp_store_commits_new(void)
{
    return g_hash_table_new_full(hash_digest, same_digest, g_free, (GDestroyNotify) g_variant_unref);
}

/* A commit never changes, and a pull asks each layer's several times: small ones are kept, some hundred of them. */
static GVariant *metadata_of(GpStore *store, const GpDigest *commit, GError **error)
{
    g_mutex_lock(&store->commits_lock);
    GVariant *known = g_hash_table_lookup(store->commits, commit);
    GVariant *metadata = known ? g_variant_ref(known) : NULL;
    g_mutex_unlock(&store->commits_lock);
    if (metadata)
        return metadata;
    g_autoptr(GVariant) variant = read_object(store, commit, "commit", COMMIT_TYPE, error);
    if (!variant)
        return NULL;
    metadata = g_variant_get_child_value(variant, 0);
    g_mutex_lock(&store->commits_lock);
    if (g_variant_get_size(variant) <= SMALL_COMMIT && g_hash_table_size(store->commits) < MOST_COMMITS)
        g_hash_table_insert(store->commits, g_memdup2(commit, sizeof *commit), g_variant_ref(metadata));
    g_mutex_unlock(&store->commits_lock);
    return metadata;
}

gboolean gp_store_load(GpStore *store, const char *ref, char **commit, GVariant **metadata, GError **error)
{
    GpDigest digest;
    *metadata = read_ref(store, ref, &digest, error) ? metadata_of(store, &digest, error) : NULL;
    if (!*metadata) {
        g_prefix_error(error, "store: %s: ", ref);
        return FALSE;
    }
    *commit = gp_digest_to_hex(&digest);
    return TRUE;
}

/* The checksum of file @name in the directory object @tree. */
static gboolean find_file(GVariant *tree, const char *name, GpDigest *file, GError **error)
{
    g_autoptr(GVariant) files = g_variant_get_child_value(tree, 0);
    for (gsize i = 0; i < g_variant_n_children(files); i++) {
        const char *here;
        g_autoptr(GVariant) sum = NULL;
        g_variant_get_child(files, i, "(&s@ay)", &here, &sum);
        if (g_str_equal(here, name))
            return set_digest(file, sum, error);
    }
    g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "it has no such file");
    return FALSE;
}

static GBytes *read_file(GpStore *store, const char *commit, const char *name, gsize max, GError **error)
{
    GpDigest digest, file;
    g_autofree char *text = g_strconcat("sha256:", commit, NULL);
    g_autoptr(GVariant) top_sum = NULL;
    if (!gp_digest_parse(text, &digest, error))
        return NULL;
    g_autoptr(GVariant) variant = read_object(store, &digest, "commit", COMMIT_TYPE, error);
    if (!variant)
        return NULL;
    g_variant_get_child(variant, 6, "@ay", &top_sum);
    g_autoptr(GVariant) tree =
        set_digest(&digest, top_sum, error) ? read_object(store, &digest, "dirtree", TREE_TYPE, error) : NULL;
    if (!tree || !find_file(tree, name, &file, error))
        return NULL;
    char path[GP_OBJECT_PATH_SIZE];
    gp_object_path(file.bytes, path);
    return gp_read_file(store->objects_fd, path, max, "its object", error);
}

GBytes *gp_store_read_file(GpStore *store, const char *commit, const char *name, gsize max, GError **error)
{
    GBytes *bytes = read_file(store, commit, name, max, error);
    if (!bytes)
        g_prefix_error(error, "store: %s of commit %s: ", name, commit);
    return bytes;
}
