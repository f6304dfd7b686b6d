#include "storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/encrypted.h"
#include "storage/store_internal.h"

#define MOST_OF_A_CONFIG (64 * GP_KIB)
#define LOCK_WAIT 60

char *gp_store_file_name(const GpDigest *digest)
{
    g_autofree char *hex = gp_digest_to_hex(digest);
    return g_strconcat(gp_digest_algorithm_name(digest->algorithm), "-", hex, NULL);
}

char *gp_store_ref(const char *kind, const GpDigest *digest)
{
    g_autofree char *hex = gp_digest_to_hex(digest);
    return g_strconcat(kind, "/", gp_digest_algorithm_name(digest->algorithm), "/", hex, NULL);
}

gboolean gp_store_ref_digest(const char *kind, const char *ref, GpDigest *digest)
{
    g_auto(GStrv) parts = g_strsplit(ref, "/", 0);
    if (g_strv_length(parts) != 3 || !g_str_equal(parts[0], kind))
        return FALSE;
    g_autofree char *text = g_strconcat(parts[1], ":", parts[2], NULL);
    return gp_digest_parse(text, digest, NULL);
}

gboolean gp_store_flock(int fd, int operation, guint seconds)
{
    gint64 end = g_get_monotonic_time() + (gint64) seconds * G_USEC_PER_SEC;
    while (flock(fd, operation | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return FALSE;
        if (g_get_monotonic_time() >= end) {
            errno = EWOULDBLOCK;
            return FALSE;
        }
        g_usleep(20000);
    }
    return TRUE;
}

/* ---- opening */

static gboolean make_directory(GpStore *store, const char *name, GError **error)
{
    if (mkdirat(store->fd, name, 0700) == 0 || errno == EEXIST)
        return TRUE;
    gp_set_errno(error, errno, "store %s: creating %s", store->path, name);
    return FALSE;
}

int gp_store_lock_writing(GpStore *store, GError **error)
{
    GP_AUTOFD int fd = openat(store->fd, "locks/writing", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && gp_store_flock(fd, LOCK_EX, LOCK_WAIT))
        return gp_steal_fd(&fd);
    if (fd >= 0 && errno == EWOULDBLOCK)
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
            "store %s: another process has held locks/writing for more than %d s\nTry again later.", store->path,
            LOCK_WAIT);
    else
        gp_set_errno(error, errno, "store %s: locks/writing", store->path);
    return -1;
}

static gboolean take_lock(GpStore *store, GError **error)
{
    GpStoreMode mode = store->mode;
    int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (mode == GP_STORE_WRITE ? O_CREAT : 0);
    store->lock_fd = openat(store->fd, "lock", flags, 0600);
    if (store->lock_fd < 0 && mode == GP_STORE_READ)
        store->lock_fd = openat(store->fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (store->lock_fd < 0 && errno == ENOENT) {
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "store %s: nothing was pulled into it", store->path);
        return FALSE;
    }
    if (store->lock_fd < 0) {
        gp_set_errno(error, errno, "store %s: lock", store->path);
        return FALSE;
    }
    if (gp_store_flock(store->lock_fd, LOCK_SH, LOCK_WAIT))
        return TRUE;
    if (errno == EWOULDBLOCK)
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
            "store %s: another process has held its lock for more than %d s\nTry again later, or look who has %s/lock "
            "open.",
            store->path, LOCK_WAIT, store->path);
    else
        gp_set_errno(error, errno, "store %s: lock", store->path);
    return FALSE;
}

/* Others' write permission would let them exchange what was verified. */
static gboolean check_directory(const GpStore *store, GError **error)
{
    struct stat st;
    if (fstat(store->fd, &st) < 0) {
        gp_set_errno(error, errno, "store %s", store->path);
        return FALSE;
    }
    if (st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "store %s: belongs to user %u with mode %04o, so others could change it\nchown and chmod 0700 the directory.",
        store->path, st.st_uid, st.st_mode & 07777);
    return FALSE;
}

/* libostree keeps some percent of a filesystem free by itself; who sizes the encrypted volume decides that here. */
static gboolean configure_repository(OstreeRepo *repo, GError **error)
{
    g_autoptr(GKeyFile) config = ostree_repo_copy_config(repo);
    g_key_file_set_string(config, "core", "min-free-space-percent", "0");
    return ostree_repo_write_config(repo, config, error);
}

/* Before anything is fetched for it: layers have attributes of their own, and overlayfs marks opaque directories so. */
static gboolean check_attributes(GpStore *store, const char *name, GError **error)
{
    GP_AUTOFD int fd = openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fsetxattr(fd, "trusted.guest-pull.probe", "y", 1, 0) < 0 && errno == EOPNOTSUPP) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "store %s: its filesystem has no extended attributes, which layers need\next4 and xfs have them.",
            store->path);
        return FALSE;
    }
    if (fd >= 0)
        (void) fremovexattr(fd, "trusted.guest-pull.probe");
    return TRUE;
}

/* Made under another name, so that whoever is killed on the way leaves no half repository. libostree would give it
 * 0755: nobody else may reach the set-user-id files of an image. */
static gboolean make_repository(GpStore *store, GError **error)
{
    GP_AUTOFD int lock = gp_store_lock_writing(store, error);
    if (lock < 0)
        return FALSE;
    if (faccessat(store->fd, "repo", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return TRUE;
    if (!gp_libostree_load(error) || !gp_remove_tree(store->fd, "repo.new", error) ||
        !make_directory(store, "repo.new", error) || !check_attributes(store, "repo.new", error))
        return FALSE;
    g_autoptr(GError) cause = NULL;
    GP_AUTO_OBJECT OstreeRepo *repo =
        ostree_repo_create_at(store->fd, "repo.new", OSTREE_REPO_MODE_BARE, NULL, NULL, &cause);
    if (!repo || !configure_repository(repo, &cause)) {
        gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "store %s: making the repository", store->path);
        return FALSE;
    }
    if (renameat(store->fd, "repo.new", store->fd, "repo") == 0)
        return TRUE;
    gp_set_errno(error, errno, "store %s: making the repository", store->path);
    return FALSE;
}

void gp_store_prepare(void)
{
    (void) gp_libostree_load(NULL);
}

gboolean gp_store_repository(GpStore *store, GError **error)
{
    if (!gp_libostree_load(error))
        return FALSE;
    g_autoptr(GError) cause = NULL;
    g_mutex_lock(&store->lock);
    if (!store->repo && (store->repo = ostree_repo_open_at(store->fd, "repo", NULL, &cause)))
        ostree_repo_set_disable_fsync(store->repo, TRUE);
    g_mutex_unlock(&store->lock);
    if (cause)
        gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "store %s", store->path);
    return store->repo != NULL;
}

/* What libostree would refuse to open is refused here, since it may not be asked to: another mode than "bare" has other
 * objects. */
static gboolean check_repository(GpStore *store, GError **error)
{
    g_autoptr(GBytes) bytes = gp_read_file(store->fd, "repo/config", MOST_OF_A_CONFIG, "repo/config", error);
    if (!bytes) {
        g_prefix_error(error, "store %s: ", store->path);
        return FALSE;
    }
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    g_autoptr(GKeyFile) config = g_key_file_new();
    if (g_key_file_load_from_data(config, text, size, G_KEY_FILE_NONE, NULL)) {
        g_autofree char *version = g_key_file_get_string(config, "core", "repo_version", NULL);
        g_autofree char *mode = g_key_file_get_string(config, "core", "mode", NULL);
        if (g_strcmp0(version, "1") == 0 && g_strcmp0(mode, "bare") == 0)
            return TRUE;
    }
    g_set_error(
        error, GP_ERROR, GP_ERROR_INTERNAL, "store %s: repo/config is not that of a bare repository", store->path);
    return FALSE;
}

static gboolean open_objects(GpStore *store, GError **error)
{
    store->objects_fd = openat(store->fd, "repo/objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->objects_fd < 0)
        gp_set_errno(error, errno, "store %s: repo/objects", store->path);
    return store->objects_fd >= 0;
}

static gboolean open_used(GpStore *store, GError **error)
{
    store->uses_fd = gp_store_open_used(store);
    if (store->mode == GP_STORE_READ)
        return TRUE;
    store->claims_fd = gp_store_open_used(store);
    if (store->uses_fd < 0 || store->claims_fd < 0)
        gp_set_errno(error, errno, "store %s: locks/used", store->path);
    return store->uses_fd >= 0 && store->claims_fd >= 0;
}

static gboolean prepare(GpStore *store, GError **error)
{
    if (store->mode == GP_STORE_WRITE && (!check_directory(store, error) || !make_directory(store, "layers", error) ||
                                             !make_directory(store, "staging", error) ||
                                             !make_directory(store, "locks", error) || !make_repository(store, error)))
        return FALSE;
    if (!check_repository(store, error) || !open_objects(store, error) || !open_used(store, error))
        return FALSE;
    if (store->mode != GP_STORE_READ)
        gp_store_sweep(store);
    return TRUE;
}

GpStore *gp_store_open(const char *path, GpStoreMode mode, gboolean allow_unencrypted, GError **error)
{
    g_autoptr(GpStore) store = g_new0(GpStore, 1);
    g_mutex_init(&store->lock);
    g_mutex_init(&store->finished_lock);
    g_mutex_init(&store->commits_lock);
    store->commits = gp_store_commits_new();
    store->finished = g_ptr_array_new();
    store->fd = store->lock_fd = store->objects_fd = store->uses_fd = store->claims_fd = -1;
    store->mode = mode;
    store->path = g_canonicalize_filename(path, NULL);
    if (mode == GP_STORE_WRITE && !gp_mkdir_p(store->path, 0700, error))
        return NULL;
    store->fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->fd < 0) {
        int err = errno;
        if (err == ENOENT)
            g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "store %s: nothing was pulled into it", store->path);
        else
            gp_set_errno(error, err, "store %s", store->path);
        return NULL;
    }
    if (mode == GP_STORE_WRITE && !allow_unencrypted && !gp_encrypted_check(store->path, FALSE, error))
        return NULL;
    if (!take_lock(store, error) || !prepare(store, error))
        return NULL;
    return g_steal_pointer(&store);
}

void gp_store_free(GpStore *store)
{
    if (!store)
        return;
    if (store->objects_fd >= 0)
        gp_store_collect(store);
    gp_libostree_clear(&store->repo);
    gp_close_fd(&store->objects_fd);
    gp_close_fd(&store->uses_fd);
    gp_close_fd(&store->claims_fd);
    gp_close_fd(&store->fd);
    gp_close_fd(&store->lock_fd);
    g_mutex_clear(&store->lock);
    g_mutex_clear(&store->finished_lock);
    g_mutex_clear(&store->commits_lock);
    g_hash_table_unref(store->commits);
    g_ptr_array_unref(store->finished);
    g_free(store->path);
    g_free(store->runtime_dir);
    g_free(store);
}

void gp_store_set_cancelled(GpStore *store, gboolean (*cancelled)(GError **error))
{
    store->cancelled = cancelled;
}

void gp_store_set_runtime_dir(GpStore *store, const char *runtime_dir)
{
    g_free(store->runtime_dir);
    store->runtime_dir = g_strdup(runtime_dir);
}

int gp_store_fd(GpStore *store)
{
    return store->fd;
}

int gp_store_objects_fd(GpStore *store)
{
    return store->objects_fd;
}

/* ---- looking */

gboolean gp_store_has_layer(GpStore *store, const GpDigest *blob)
{
    g_autofree char *name = gp_store_file_name(blob);
    g_autofree char *root = g_build_filename("layers", name, "root", NULL);
    return gp_store_has_ref(store, "layer", blob) && faccessat(store->fd, root, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int gp_store_open_layer_root(GpStore *store, const GpDigest *blob, GError **error)
{
    g_autofree char *name = gp_store_file_name(blob);
    g_autofree char *root = g_build_filename("layers", name, "root", NULL);
    int fd = openat(store->fd, root, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        g_set_error(error, GP_ERROR, errno == ENOENT ? GP_ERROR_NOT_FOUND : GP_ERROR_INTERNAL, "store: layer %s: %s",
            name, g_strerror(errno));
    return fd;
}
