/* Layers in the making; see GpStaging in storage/store.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

#define POLL_MICROSECONDS 20000
/* A process that is stopped or stuck must not hold up all others for ever: as long as the longest pull. Then the blob
 * is unpacked twice and the first commit wins: the lock saves work, nothing depends on it. */
#define BLOB_WAIT (1200 * G_USEC_PER_SEC)

static char *lock_path(const GpDigest *blob, const char *suffix)
{
    g_autofree char *name = gp_store_file_name(blob);
    return g_strconcat("locks/", name, suffix, NULL);
}

/* ---- giving finished layers to who waits for them
 *
 * A staging keeps its blob's lock until its image's commit, so two pulls could each wait for a layer that the other has
 * ready, for ever; or for the last layer of a pull whose registry is slow, which has nothing to do with what they
 * share. Who waits therefore says so, by a shared lock on locks/<blob>.wanted, and who has a finished layer that is
 * wanted commits it, without its image: when a layer is finished, while waiting himself, and four times a second. */

static gboolean is_wanted(const GpStaging *staging)
{
    g_autofree char *path = lock_path(&staging->blob, ".wanted");
    GP_AUTOFD int fd = openat(staging->store->fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* A finished layer keeps two descriptors until its commit: where the hard limit is low, an image of hundreds of layers
 * must not wait for its last one with all of them. A mount needs one for each layer, and this leaves room for it. */
static gboolean is_crowded(const GpStore *store)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && store->finished->len > limit.rlim_cur / 8;
}

/* What cannot be committed now is told when its image is. */
void gp_store_give_finished(GpStore *store)
{
    g_mutex_lock(&store->finished_lock);
    gboolean crowded = is_crowded(store);
    for (guint i = 0; i < store->finished->len; i++) {
        GpStaging *staging = store->finished->pdata[i];
        if (!staging->name || !staging->commit || staging->blob_lock_fd < 0 || (!crowded && !is_wanted(staging)))
            continue;
        g_autoptr(GPtrArray) one = g_ptr_array_new();
        g_ptr_array_add(one, staging);
        if (gp_store_commit(store, one, NULL, NULL)) {
            gp_close_fd(&staging->blob_lock_fd);
            gp_close_fd(&staging->fd);
        }
    }
    g_mutex_unlock(&store->finished_lock);
}

static void add_finished(GpStaging *staging)
{
    g_mutex_lock(&staging->store->finished_lock);
    g_ptr_array_add(staging->store->finished, staging);
    g_mutex_unlock(&staging->store->finished_lock);
    gp_store_give_finished(staging->store);
}

static void remove_finished(GpStaging *staging)
{
    g_mutex_lock(&staging->store->finished_lock);
    (void) g_ptr_array_remove(staging->store->finished, staging);
    g_mutex_unlock(&staging->store->finished_lock);
}

/* ---- the lock */

static int open_lock(GpStaging *staging, const char *suffix, GError **error)
{
    g_autofree char *path = lock_path(&staging->blob, suffix);
    int fd = openat(staging->store->fd, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        gp_set_errno(error, errno, "store %s: %s", staging->store->path, path);
    return fd;
}

/* Says that we wait, unless somebody is just looking whether anybody does: then at the next turn. */
static gboolean announce(GpStaging *staging, int *wanted, GError **error)
{
    if (*wanted >= 0)
        return TRUE;
    *wanted = open_lock(staging, ".wanted", error);
    if (*wanted < 0)
        return FALSE;
    if (flock(*wanted, LOCK_SH | LOCK_NB) < 0)
        gp_close_fd(wanted);
    return TRUE;
}

/* Returns when we have the blob's lock, when another process has committed the layer, or when waiting is no use. */
static gboolean lock_blob(GpStaging *staging, GError **error)
{
    GP_AUTOFD int fd = open_lock(staging, "", error);
    GP_AUTOFD int wanted = -1;
    gint64 since = g_get_monotonic_time();
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            gp_set_errno(error, errno, "store %s: lock of a layer", staging->store->path);
            return FALSE;
        }
        if (!announce(staging, &wanted, error) || (staging->store->cancelled && staging->store->cancelled(error)))
            return FALSE;
        if (gp_store_has_layer(staging->store, &staging->blob) || g_get_monotonic_time() - since > BLOB_WAIT)
            return TRUE;
        gp_store_give_finished(staging->store);
        g_usleep(POLL_MICROSECONDS);
    }
    staging->blob_lock_fd = gp_steal_fd(&fd);
    return staging->blob_lock_fd >= 0;
}

/* A directory that appears and is locked only afterwards can be swept away in between: then another one is made. */
static gboolean make_locked_directory(GpStaging *staging, int parent, GError **error)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        g_autofree char *name = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
        struct stat st;
        if (mkdirat(parent, name, 0700) < 0) {
            if (errno == EEXIST)
                continue;
            break;
        }
        GP_AUTOFD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
            break;
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0)
            continue;
        staging->fd = gp_steal_fd(&fd);
        staging->name = g_steal_pointer(&name);
        return TRUE;
    }
    gp_set_errno(error, errno, "store %s: making a staging directory", staging->store->path);
    return FALSE;
}

static gboolean make_root(GpStaging *staging, GError **error)
{
    GP_AUTOFD int parent = openat(staging->store->fd, "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) {
        gp_set_errno(error, errno, "store: staging");
        return FALSE;
    }
    if (!make_locked_directory(staging, parent, error))
        return FALSE;
    if (mkdirat(staging->fd, "root", 0755) == 0)
        staging->root_fd = openat(staging->fd, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (staging->root_fd >= 0)
        return TRUE;
    gp_set_errno(error, errno, "store: staging");
    return FALSE;
}

GpStaging *gp_store_begin_layer(GpStore *store, const GpDigest *blob, gboolean *already, GError **error)
{
    g_autoptr(GpStaging) staging = g_new0(GpStaging, 1);
    staging->store = store;
    staging->blob = *blob;
    staging->fd = staging->root_fd = staging->blob_lock_fd = -1;
    *already = FALSE;
    if (!lock_blob(staging, error))
        return NULL;
    if (gp_store_has_layer(store, blob)) {
        *already = TRUE;
        return NULL;
    }
    if (!make_root(staging, error))
        return NULL;
    staging->generation = gp_store_generation(store);
    return g_steal_pointer(&staging);
}

int gp_staging_root_fd(const GpStaging *staging)
{
    return staging->root_fd;
}

void gp_staging_bind_key(GpStaging *staging, const char *proof)
{
    g_free(staging->key_proof);
    staging->key_proof = g_strdup(proof);
}

void gp_staging_set_form(GpStaging *staging, const char *form)
{
    g_free(staging->form);
    staging->form = g_strdup(form);
}

void gp_staging_complete(GpStaging *staging, GpLayerTree *tree, const GpDigest *diff_id, guint64 blob_size)
{
    g_return_if_fail(!staging->complete);
    staging->complete = TRUE;
    staging->diff_id = *diff_id;
    staging->blob_size = blob_size;
    staging->commit = gp_store_write_layer(staging, tree, &staging->error);
    gp_close_fd(&staging->root_fd);
    gp_layer_tree_free(tree);
    add_finished(staging);
}

void gp_staging_free(GpStaging *staging)
{
    if (!staging)
        return;
    remove_finished(staging);
    gp_close_fd(&staging->root_fd);
    if (staging->name) {
        g_autofree char *ref = g_strconcat("repo/refs/heads/making/", staging->name, NULL);
        (void) unlinkat(staging->store->fd, ref, 0);
        g_atomic_int_set(&staging->store->garbage, 1);
        GP_AUTOFD int parent = openat(staging->store->fd, "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent < 0 || !gp_remove_tree(parent, staging->name, NULL))
            g_debug("store: cannot remove staging/%s", staging->name);
    }
    gp_close_fd(&staging->fd);
    gp_close_fd(&staging->blob_lock_fd);
    g_clear_error(&staging->error);
    g_free(staging->form);
    g_free(staging->key_proof);
    g_free(staging->commit);
    g_free(staging->name);
    g_free(staging);
}
