/* The repository's refs, as the files that they are: libostree's own list reads each of them and fails when one goes
 * away meanwhile. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

#define HEADS "repo/refs/heads/"

gboolean gp_store_has_ref(GpStore *store, const char *kind, const GpDigest *digest)
{
    g_autofree char *ref = gp_store_ref(kind, digest);
    g_autofree char *path = g_strconcat(HEADS, ref, NULL);
    return faccessat(store->fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

gboolean gp_store_drop_ref(GpStore *store, const char *kind, const GpDigest *digest, GError **error)
{
    g_autofree char *ref = gp_store_ref(kind, digest);
    g_autofree char *path = g_strconcat(HEADS, ref, NULL);
    if (unlinkat(store->fd, path, 0) == 0 || errno == ENOENT)
        return TRUE;
    gp_set_errno(error, errno, "store: removing %s", ref);
    return FALSE;
}

gboolean gp_store_ref_time(GpStore *store, const char *kind, const GpDigest *digest, gint64 *seconds, GError **error)
{
    g_autofree char *ref = gp_store_ref(kind, digest);
    g_autofree char *path = g_strconcat(HEADS, ref, NULL);
    struct stat st;
    if (fstatat(store->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        gp_set_errno(error, errno, "store: %s", ref);
        return FALSE;
    }
    *seconds = st.st_mtim.tv_sec;
    return TRUE;
}

gboolean gp_store_set_ref_time(GpStore *store, const char *kind, const GpDigest *digest, gint64 seconds, GError **error)
{
    g_autofree char *ref = gp_store_ref(kind, digest);
    g_autofree char *path = g_strconcat(HEADS, ref, NULL);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = seconds}};
    if (utimensat(store->fd, path, times, AT_SYMLINK_NOFOLLOW) == 0)
        return TRUE;
    gp_set_errno(error, errno, "store: time of %s", ref);
    return FALSE;
}

/* The names in directory @path of the store (char*); none if it is not there. */
static GPtrArray *names_in(GpStore *store, const char *path, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    int fd = openat(store->fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && errno != ENOENT) {
        gp_set_errno(error, errno, "store %s: %s", store->path, path);
        gp_close_fd(&fd);
        return NULL;
    }
    const struct dirent *entry;
    errno = 0;
    while (dir && (entry = readdir(dir)))
        g_ptr_array_add(names, g_strdup(entry->d_name));
    int err = errno;
    if (dir)
        closedir(dir);
    if (dir && err) {
        gp_set_errno(error, err, "store %s: %s", store->path, path);
        return NULL;
    }
    return g_steal_pointer(&names);
}

GPtrArray *gp_store_making(GpStore *store, GError **error)
{
    return names_in(store, HEADS "making", error);
}

GArray *gp_store_list(GpStore *store, const char *kind, GError **error)
{
    static const GpDigestAlgorithm algorithms[] = {GP_DIGEST_SHA256, GP_DIGEST_SHA512};
    g_autoptr(GArray) digests = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    for (gsize i = 0; i < G_N_ELEMENTS(algorithms); i++) {
        g_autofree char *folder = g_strconcat(kind, "/", gp_digest_algorithm_name(algorithms[i]), NULL);
        g_autofree char *path = g_strconcat(HEADS, folder, NULL);
        g_autoptr(GPtrArray) names = names_in(store, path, error);
        if (!names)
            return NULL;
        for (guint k = 0; k < names->len; k++) {
            GpDigest digest;
            g_autofree char *ref = g_strconcat(folder, "/", (const char *) names->pdata[k], NULL);
            if (gp_store_ref_digest(kind, ref, &digest))
                g_array_append_val(digests, digest);
        }
    }
    return g_steal_pointer(&digests);
}
