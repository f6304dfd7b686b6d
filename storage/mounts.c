#include "storage/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

/* A record is a key file: names can hold any byte, so they are percent-encoded. */
#define GROUP "mount"

static char *record_path(const char *runtime_dir, const char *bundle)
{
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, bundle, strlen(bundle), &digest);
    g_autofree char *hex = gp_digest_to_hex(&digest);
    return g_build_filename(runtime_dir, "mounts", hex, NULL);
}

/* The id of the mount whose root is @bundle/rootfs; 0: nothing is mounted there. */
static guint64 mount_id(const char *bundle)
{
    g_autofree char *rootfs = g_build_filename(bundle, "rootfs", NULL);
    struct statx info;
    if (statx(AT_FDCWD, rootfs, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &info) < 0 ||
        !(info.stx_mask & STATX_MNT_ID) || !(info.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return 0;
    return info.stx_mnt_id;
}

gboolean gp_mounts_record(const char *runtime_dir, const char *bundle, const GpDigest *manifest, GError **error)
{
    g_autofree char *directory = g_build_filename(runtime_dir, "mounts", NULL);
    if (!gp_mkdir_p(directory, 0700, error))
        return FALSE;
    g_autofree char *path = record_path(runtime_dir, bundle);
    g_autofree char *digest = gp_digest_to_string(manifest);
    g_autofree char *name = g_uri_escape_string(bundle, "/", FALSE);
    g_autoptr(GKeyFile) record = g_key_file_new();
    g_key_file_set_string(record, GROUP, "bundle", name);
    g_key_file_set_string(record, GROUP, "manifest", digest);
    g_key_file_set_uint64(record, GROUP, "id", mount_id(bundle));
    g_autoptr(GError) cause = NULL;
    if (g_key_file_save_to_file(record, path, &cause))
        return TRUE;
    gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "recording the mount");
    return FALSE;
}

gboolean gp_mounts_forget(const char *runtime_dir, const char *bundle, GError **error)
{
    g_autofree char *path = record_path(runtime_dir, bundle);
    if (unlink(path) == 0 || errno == ENOENT)
        return TRUE;
    gp_set_errno(error, errno, "removing %s", path);
    return FALSE;
}

/* The bundle of a record whose mount is still there and shows @manifest; *@stale if the mount is gone or the record is
 * unreadable. */
static char *read_record(const char *path, const GpDigest *manifest, gboolean *stale)
{
    g_autoptr(GKeyFile) record = g_key_file_new();
    *stale = TRUE;
    if (!g_key_file_load_from_file(record, path, G_KEY_FILE_NONE, NULL))
        return NULL;
    g_autofree char *name = g_key_file_get_string(record, GROUP, "bundle", NULL);
    g_autofree char *text = g_key_file_get_string(record, GROUP, "manifest", NULL);
    g_autofree char *bundle = name ? g_uri_unescape_string(name, NULL) : NULL;
    guint64 id = g_key_file_get_uint64(record, GROUP, "id", NULL);
    GpDigest digest;
    if (!bundle || !text || !gp_digest_parse(text, &digest, NULL) || id == 0 || mount_id(bundle) != id)
        return NULL;
    *stale = FALSE;
    return !manifest || gp_digest_equal(&digest, manifest) ? g_steal_pointer(&bundle) : NULL;
}

GPtrArray *gp_mounts_using(const char *runtime_dir, const GpDigest *manifest, GError **error)
{
    g_autofree char *directory = g_build_filename(runtime_dir, "mounts", NULL);
    g_autoptr(GPtrArray) bundles = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, &cause);
    if (!dir && g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return g_steal_pointer(&bundles);
    if (!dir) {
        gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "records of mounts");
        return NULL;
    }
    const char *name;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        gboolean stale;
        char *bundle = read_record(path, manifest, &stale);
        if (stale)
            (void) unlink(path);
        if (bundle)
            g_ptr_array_add(bundles, bundle);
    }
    return g_steal_pointer(&bundles);
}
