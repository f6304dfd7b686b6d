#include "storage/store_usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

void gp_store_usage_free(GpStoreUsage *usage)
{
    if (!usage)
        return;
    g_clear_pointer(&usage->per_image, g_array_unref);
    g_free(usage);
}

/* ---- the disk */

/* Blocks of @name and all below it. @seen: inodes with several names, of which one is enough. */
static guint64 count_tree(int parent, const char *name, GHashTable *seen)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (!S_ISDIR(st.st_mode))
        return st.st_nlink > 1 && !g_hash_table_add(seen, g_memdup2(&st.st_ino, sizeof(gint64)))
                   ? 0
                   : (guint64) st.st_blocks * 512;
    guint64 bytes = (guint64) st.st_blocks * 512;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (!g_str_equal(entry->d_name, ".") && !g_str_equal(entry->d_name, ".."))
            bytes += count_tree(fd, entry->d_name, seen);
    if (dir)
        closedir(dir);
    else
        gp_close_fd(&fd);
    return bytes;
}

static guint64 count_alone(GpStore *store, const char *name)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    return count_tree(store->fd, name, seen);
}

static gboolean ask_filesystem(GpStore *store, GpStoreUsage *usage, GError **error)
{
    struct statvfs fs;
    if (fstatvfs(store->fd, &fs) < 0) {
        gp_set_errno(error, errno, "store %s", store->path);
        return FALSE;
    }
    usage->fs_bytes = (guint64) fs.f_blocks * fs.f_frsize;
    usage->fs_free = (guint64) fs.f_bavail * fs.f_frsize;
    usage->fs_inodes = fs.f_files;
    usage->fs_free_inodes = fs.f_favail;
    return TRUE;
}

/* ---- the records */

/* An image's layers, each once. */
static GHashTable *layers_of(GpStore *store, const GpDigest *manifest)
{
    g_autoptr(GArray) list = gp_store_image_layers(store, manifest, NULL);
    GHashTable *set = g_hash_table_new_full(gp_digest_hash, (GEqualFunc) gp_digest_equal, g_free, NULL);
    for (guint i = 0; list && i < list->len; i++)
        g_hash_table_add(set, g_memdup2(&g_array_index(list, GpDigest, i), sizeof(GpDigest)));
    return set;
}

static void count_images(GpStore *store, const GPtrArray *layers, const GArray *images, GpStoreUsage *usage)
{
    for (guint i = 0; i < images->len; i++) {
        GpImageUsage image = {.manifest = g_array_index(images, GpDigest, i)};
        g_autoptr(GHashTable) own = layers_of(store, &image.manifest);
        for (guint k = 0; k < layers->len; k++) {
            const GpStoredLayer *layer = layers->pdata[k];
            if (!g_hash_table_contains(own, &layer->blob))
                continue;
            image.bytes += layer->bytes;
            image.own += layer->images == 1 ? layer->bytes : 0;
        }
        g_array_append_val(usage->per_image, image);
    }
}

GpStoreUsage *gp_store_usage(GpStore *store, GError **error)
{
    g_autoptr(GpStoreUsage) usage = g_new0(GpStoreUsage, 1);
    usage->per_image = g_array_new(FALSE, FALSE, sizeof(GpImageUsage));
    g_autoptr(GPtrArray) layers = gp_store_layers(store, error);
    g_autoptr(GArray) images = layers ? gp_store_list(store, "image", error) : NULL;
    if (!images || !ask_filesystem(store, usage, error))
        return NULL;
    for (guint i = 0; i < layers->len; i++) {
        const GpStoredLayer *layer = layers->pdata[i];
        usage->layer_bytes += layer->bytes;
        usage->unused_layers += layer->images == 0;
        usage->unused_bytes += layer->images == 0 ? layer->bytes : 0;
    }
    usage->layers = layers->len;
    usage->images = images->len;
    count_images(store, layers, images, usage);
    usage->disk_bytes = count_alone(store, ".");
    usage->staging_bytes = count_alone(store, "staging");
    usage->quarantine_bytes = count_alone(store, "quarantine");
    return g_steal_pointer(&usage);
}
