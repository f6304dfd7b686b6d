#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "puller/manifest.h"
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

/* ---- referrers */

/* Moves the entries of the index @bytes to @list. */
static gboolean take_entries(GBytes *bytes, const char *content_type, GPtrArray *list, GError **error)
{
    GpManifest *manifest = NULL;
    GpIndex *index = NULL;
    if (!gp_manifest_parse(bytes, content_type, &manifest, &index, error))
        return FALSE;
    gp_manifest_free(manifest);
    if (!index) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the list of referrers is no index");
        return FALSE;
    }
    while (index->manifests->len > 0)
        g_ptr_array_add(list, g_ptr_array_steal_index(index->manifests, 0));
    gp_index_free(index);
    return TRUE;
}

/* The tag that clients keep where the registry has no list of its own (distribution-spec, "Referrers Tag Schema"). */
static GPtrArray *registry_fallback_referrers(GpSource *source, const GpDigest *digest, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify) gp_descriptor_free);
    g_autofree char *hex = gp_digest_to_hex(digest);
    g_autofree char *tag = g_strdup_printf("%s-%.64s", gp_digest_algorithm_name(digest->algorithm), hex);
    g_autofree char *content_type = NULL;
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) bytes = registry_cosign_manifest(source, tag, &content_type, &cause);
    if (!cause && (!bytes || take_entries(bytes, content_type, list, &cause)))
        return g_steal_pointer(&list);
    g_propagate_prefixed_error(error, g_steal_pointer(&cause), "tag %s: ", tag);
    return NULL;
}

/* A registry's own list says truly of each entry what it is, so that others than bundles need not be opened. What it
 * says besides is of no use, and sixteen pages of it would be much memory. */
static void keep_bundles(GPtrArray *list)
{
    for (guint i = list->len; i > 0; i--) {
        GpDescriptor *entry = list->pdata[i - 1];
        g_clear_pointer(&entry->annotations, g_hash_table_unref);
        if (!gp_source_may_be_bundle(entry) || strcmp(entry->media_type, GP_TYPE_OCI_MANIFEST) != 0)
            g_ptr_array_remove_index(list, i - 1);
    }
}

static GPtrArray *registry_referrers(GpSource *source, const GpDigest *digest, gboolean *elsewhere, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify) gp_descriptor_free);
    g_autofree char *page = NULL;
    for (guint i = 0; i == 0 || page; i++) {
        if (i >= GP_LIMIT_REFERRER_PAGES) {
            g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "a list of more than %d pages", GP_LIMIT_REFERRER_PAGES);
            return NULL;
        }
        g_autofree char *content_type = NULL;
        g_autoptr(GError) cause = NULL;
        g_autoptr(GBytes) bytes =
            gp_fetch_referrers(source->fetch, source->location, digest, &page, &content_type, &cause);
        /* No such API, or a server that answers every address with a page for people. */
        if (i == 0 && (bytes ? !take_entries(bytes, content_type, list, NULL)
                             : g_error_matches(cause, GP_ERROR, GP_ERROR_NOT_FOUND))) {
            *elsewhere = TRUE;
            return g_steal_pointer(&list);
        }
        if (!bytes || (i > 0 && !take_entries(bytes, content_type, list, &cause))) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
        keep_bundles(list);
        if (list->len > GP_LIMIT_REFERRERS) {
            gp_source_set_many_referrers(error);
            return NULL;
        }
    }
    return g_steal_pointer(&list);
}

const GpSourceKind gp_source_registry = {
    .top = registry_top,
    .manifest = registry_manifest,
    .blob = registry_blob,
    .cosign_manifest = registry_cosign_manifest,
    .referrers = registry_referrers,
    .fallback_referrers = registry_fallback_referrers,
};
