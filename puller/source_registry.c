#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "puller/source_kind.h"

static GBytes *registry_top(GpSource *source, GpDigest *digest, gboolean *expected, char **content_type, GError **error)
{
    *expected = source->has_digest;
    *digest = source->digest;
    return gp_fetch_manifest(source->fetch, source->location, source->selector, content_type, error);
}

static GBytes *registry_manifest(
    GpSource *source, const GpDigest *digest, gsize max, char **content_type, GError **error)
{
    g_autofree char *selector = gp_digest_to_string(digest);
    return gp_fetch_manifest(source->fetch, source->location, selector, content_type, error);
}

static gboolean registry_blob(
    GpSource *source, const GpDigest *digest, guint64 size, int *fd, GpFetchBlob **blob, GError **error)
{
    *blob = gp_fetch_blob_open(source->fetch, source->location, digest, size, error);
    return *blob != NULL;
}

static GBytes *registry_cosign_manifest(GpSource *source, const char *tag, char **content_type, GError **error)
{
    g_autoptr(GError) cause = NULL;
    GBytes *bytes = gp_fetch_manifest(source->fetch, source->location, tag, content_type, &cause);
    if (!bytes && !g_error_matches(cause, GP_ERROR, GP_ERROR_NOT_FOUND))
        g_propagate_error(error, g_steal_pointer(&cause));
    return bytes;
}

const GpSourceKind gp_source_registry = {
    .top = registry_top,
    .manifest = registry_manifest,
    .blob = registry_blob,
    .cosign_manifest = registry_cosign_manifest,
};
