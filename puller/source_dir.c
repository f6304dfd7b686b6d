/* skopeo's dir: folders (containers-transports(5)): manifest.json, blobs named by the hex of their digest, signature-1,
 * signature-2, …; an instance of an index is HEX.manifest.json with HEX.signature-1. */

#include "base/error.h"
#include "base/limits.h"
#include "puller/source_kind.h"

static GBytes *read_manifest(GpSource *source, gsize max, GError **error)
{
    return gp_source_read_below(
        source->directory, (const char *const[]){"manifest.json", NULL}, max, "manifest.json", error);
}

static GBytes *dir_top(GpSource *source, GpDigest *digest, gboolean *expected, char **content_type, GError **error)
{
    *expected = FALSE;
    return read_manifest(source, GP_LIMIT_MANIFEST, error);
}

static gboolean is_top(GpSource *source, const GpDigest *digest, GError **error)
{
    g_autoptr(GBytes) top = read_manifest(source, GP_LIMIT_MANIFEST, error);
    return top && gp_digest_check_bytes(digest, top, "manifest.json", NULL);
}

static GBytes *dir_manifest(GpSource *source, const GpDigest *digest, gsize max, char **content_type, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (is_top(source, digest, &cause))
        return read_manifest(source, max, error);
    if (cause) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    g_autofree char *hex = gp_digest_to_hex(digest);
    g_autofree char *name = g_strconcat(hex, ".manifest.json", NULL);
    return gp_source_read_below(source->directory, (const char *const[]){name, NULL}, max, name, error);
}

static gboolean dir_blob(
    GpSource *source, const GpDigest *digest, guint64 size, int *fd, GpFetchBlob **blob, GError **error)
{
    g_autofree char *hex = gp_digest_to_hex(digest);
    *fd = gp_source_open_sized(source->directory, (const char *const[]){hex, NULL}, size, error);
    return *fd >= 0;
}

static GBytes *dir_stored_signature(GpSource *source, const GpDigest *digest, guint index, char **where, GError **error)
{
    g_autoptr(GError) cause = NULL;
    gboolean top = is_top(source, digest, &cause);
    g_autofree char *hex = gp_digest_to_hex(digest);
    g_autofree char *name = g_strdup_printf("%s%ssignature-%u", top ? "" : hex, top ? "" : ".", index);
    g_autoptr(GBytes) bytes = NULL;
    if (!cause)
        bytes = gp_source_read_below(
            source->directory, (const char *const[]){name, NULL}, GP_LIMIT_SIGNATURE, name, &cause);
    if (bytes)
        *where = g_strdup_printf("%s/%s", source->path, name);
    else if (!g_error_matches(cause, GP_ERROR, GP_ERROR_NOT_FOUND))
        g_propagate_error(error, g_steal_pointer(&cause));
    return g_steal_pointer(&bytes);
}

const GpSourceKind gp_source_dir = {
    .top = dir_top,
    .manifest = dir_manifest,
    .blob = dir_blob,
    .stored_signature = dir_stored_signature,
};
