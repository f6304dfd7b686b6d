/* Layers in the making; see GpStaging in storage/store.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

#define POLL_MICROSECONDS 20000
/* A process that is stopped or stuck must not hold up all others for ever: as long as the longest pull. */
#define BLOB_WAIT (1200 * G_USEC_PER_SEC)
/* How long to wait while others may be waiting for us. */
#define CIRCLE_WAIT (3 * G_USEC_PER_SEC)

/* A staging keeps its blob's lock until the commit, so two pulls could each wait for a layer that the other has ready.
 * Then, and when the other one takes too long, the blob is unpacked twice and the first commit wins: the lock saves
 * work, nothing depends on it. */
static gboolean worth_waiting(GpStore *store, gint64 since)
{
    gint64 waited = g_get_monotonic_time() - since;
    return waited < (g_atomic_int_get(&store->completed) > 0 ? CIRCLE_WAIT : BLOB_WAIT);
}

/* Returns when we have the blob's lock, when another process has committed the layer, or when waiting is no use. */
static gboolean lock_blob(GpStaging *staging, GError **error)
{
    g_autofree char *name = gp_store_file_name(&staging->blob);
    g_autofree char *path = g_build_filename("locks", name, NULL);
    GP_AUTOFD int fd = openat(staging->store->fd, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        gp_set_errno(error, errno, "store %s: %s", staging->store->path, path);
        return FALSE;
    }
    gint64 since = g_get_monotonic_time();
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            gp_set_errno(error, errno, "store %s: %s", staging->store->path, path);
            return FALSE;
        }
        if (gp_store_has_layer(staging->store, &staging->blob) || !worth_waiting(staging->store, since))
            return TRUE;
        g_usleep(POLL_MICROSECONDS);
    }
    staging->blob_lock_fd = gp_steal_fd(&fd);
    return TRUE;
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
    return make_root(staging, error) ? g_steal_pointer(&staging) : NULL;
}

int gp_staging_root_fd(const GpStaging *staging)
{
    return staging->root_fd;
}

void gp_staging_complete(GpStaging *staging, GpLayerTree *tree, const GpDigest *diff_id, guint64 blob_size)
{
    g_return_if_fail(!staging->complete);
    staging->complete = TRUE;
    staging->diff_id = *diff_id;
    staging->blob_size = blob_size;
    staging->commit = gp_store_write_layer(staging, tree, &staging->error);
    gp_layer_tree_free(tree);
    g_atomic_int_inc(&staging->store->completed);
}

void gp_staging_free(GpStaging *staging)
{
    if (!staging)
        return;
    if (staging->complete)
        g_atomic_int_add(&staging->store->completed, -1);
    gp_close_fd(&staging->root_fd);
    if (staging->name) {
        g_atomic_int_set(&staging->store->garbage, 1);
        GP_AUTOFD int parent = openat(staging->store->fd, "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent < 0 || !gp_remove_tree(parent, staging->name, NULL))
            g_debug("store: cannot remove staging/%s", staging->name);
    }
    gp_close_fd(&staging->fd);
    gp_close_fd(&staging->blob_lock_fd);
    g_clear_error(&staging->error);
    g_free(staging->commit);
    g_free(staging->name);
    g_free(staging);
}
