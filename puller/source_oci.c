/* OCI image layouts (image-spec image-layout.md): oci-layout, index.json, blobs/<algorithm>/<hex>. */

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/manifest.h"
#include "puller/source_kind.h"

#define REF_NAME "org.opencontainers.image.ref.name"
#define COSIGN_KIND "dev.cosignproject.cosign/"

gboolean gp_source_oci_check(GpSource *source, GError **error)
{
    g_autoptr(GBytes) bytes = gp_source_read_below(
        source->directory, (const char *const[]){"oci-layout", NULL}, 64 * GP_KIB, "oci-layout", error);
    if (!bytes)
        return FALSE;
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);
    json_t *version;
    const GpJsonField fields[] = {{"imageLayoutVersion", GP_JSON_STRING, GP_JSON_MANDATORY, &version}, {NULL}};
    g_autoptr(json_t) document = gp_json_parse(data, length, 64 * GP_KIB, "oci-layout", error);
    if (!document || !gp_json_fields(document, "oci-layout: $", fields, FALSE, error))
        return FALSE;
    if (g_str_has_prefix(json_string_value(version), "1."))
        return TRUE;
    g_autofree char *shown = gp_escape(json_string_value(version), -1, 50);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "oci-layout: version \"%s\", known is 1.0.0", shown);
    return FALSE;
}

static int open_blob(GpSource *source, const GpDigest *digest, guint64 size, GError **error)
{
    g_autofree char *hex = gp_digest_to_hex(digest);
    const char *const components[] = {"blobs", gp_digest_algorithm_name(digest->algorithm), hex, NULL};
    return gp_source_open_sized(source->directory, components, size, error);
}

static GBytes *read_blob(GpSource *source, const GpDigest *digest, gsize max, GError **error)
{
    g_autofree char *hex = gp_digest_to_hex(digest);
    const char *const components[] = {"blobs", gp_digest_algorithm_name(digest->algorithm), hex, NULL};
    return gp_source_read_below(source->directory, components, max, "manifest", error);
}

static GpIndex *read_index(GpSource *source, GError **error)
{
    g_autoptr(GBytes) bytes = gp_source_read_below(
        source->directory, (const char *const[]){"index.json", NULL}, GP_LIMIT_MANIFEST, "index.json", error);
    g_autoptr(GpManifest) manifest = NULL;
    GpIndex *index = NULL;
    if (!bytes)
        return NULL;
    if (!gp_manifest_parse(bytes, GP_TYPE_OCI_INDEX, &manifest, &index, error))
        g_prefix_error(error, "index.json: ");
    return index;
}

static const char *ref_name(const GpDescriptor *entry)
{
    return entry->annotations ? g_hash_table_lookup(entry->annotations, REF_NAME) : NULL;
}

static gboolean is_cosign_tag(const char *name)
{
    return name && g_str_has_prefix(name, "sha256-") && g_str_has_suffix(name, ".sig");
}

/* What "cosign save" says of an entry: "image", "sigs" and the like; it writes no names. NULL: another tool's. */
static const char *cosign_kind(const GpDescriptor *entry)
{
    const char *kind = entry->annotations ? g_hash_table_lookup(entry->annotations, "kind") : NULL;
    return kind && g_str_has_prefix(kind, COSIGN_KIND) ? kind + strlen(COSIGN_KIND) : NULL;
}

/* Whether an entry that nobody names may be the image that is meant. */
static gboolean may_be_meant(const GpDescriptor *entry)
{
    return !is_cosign_tag(ref_name(entry)) && !entry->artifact_type &&
           (!cosign_kind(entry) || strncmp(cosign_kind(entry), "image", 5) == 0);
}

/* The entry called @tag, or the only one when @tag is NULL. NULL with NOT_FOUND or INVALID. Borrowed from @index. */
static const GpDescriptor *find(const GpIndex *index, const char *tag, GError **error)
{
    const GpDescriptor *found = NULL;
    guint count = 0;
    for (guint i = 0; i < index->manifests->len; i++) {
        const GpDescriptor *entry = index->manifests->pdata[i];
        const char *name = ref_name(entry);
        if (tag ? g_strcmp0(name, tag) == 0 : may_be_meant(entry)) {
            found = entry;
            count++;
        }
    }
    if (count == 1)
        return found;
    g_autofree char *shown = tag ? gp_escape(tag, -1, 150) : NULL;
    if (count == 0)
        g_set_error(
            error, GP_ERROR, GP_ERROR_NOT_FOUND, "index.json: no image%s%s", tag ? " called " : "", tag ? shown : "");
    else
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "index.json: %u images%s%s, so which one is meant is open\n%s",
            count, tag ? " called " : "", tag ? shown : "", tag ? "A tag may occur once." : "Name one: oci:DIR:TAG.");
    return NULL;
}

static GBytes *read_entry(
    GpSource *source, const GpDescriptor *entry, GpDigest *digest, char **content_type, GError **error)
{
    g_autoptr(GBytes) bytes = read_blob(source, &entry->digest, GP_LIMIT_MANIFEST, error);
    if (!bytes)
        return NULL;
    if (g_bytes_get_size(bytes) != entry->size) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "the manifest has %" G_GSIZE_FORMAT " bytes, index.json says %" G_GUINT64_FORMAT, g_bytes_get_size(bytes),
            entry->size);
        return NULL;
    }
    *digest = entry->digest;
    if (content_type)
        *content_type = g_strdup(entry->media_type);
    return g_steal_pointer(&bytes);
}

static GBytes *oci_top(GpSource *source, GpDigest *digest, gboolean *expected, char **content_type, GError **error)
{
    *expected = TRUE;
    g_autoptr(GpIndex) index = read_index(source, error);
    const GpDescriptor *entry = index ? find(index, source->selector, error) : NULL;
    return entry ? read_entry(source, entry, digest, content_type, error) : NULL;
}

static GBytes *oci_manifest(GpSource *source, const GpDigest *digest, gsize max, char **content_type, GError **error)
{
    return read_blob(source, digest, max, error);
}

static gboolean oci_blob(
    GpSource *source, const GpDigest *digest, guint64 size, int *fd, GpFetchBlob **blob, GError **error)
{
    *fd = open_blob(source, digest, size, error);
    return *fd >= 0;
}

/* The entry that holds the signatures: the one under cosign's tag, else the one that "cosign save" wrote beside its one
 * image. NULL without error: none. */
static const GpDescriptor *find_signatures(const GpIndex *index, const char *tag, GError **error)
{
    const GpDescriptor *saved = NULL;
    guint named = 0, kept = 0;
    for (guint i = 0; i < index->manifests->len; i++) {
        const GpDescriptor *entry = index->manifests->pdata[i];
        named += g_strcmp0(ref_name(entry), tag) == 0;
        if (g_strcmp0(cosign_kind(entry), "sigs") == 0) {
            saved = entry;
            kept++;
        }
    }
    return named > 0 ? find(index, tag, error) : kept == 1 ? saved : NULL;
}

static GBytes *oci_cosign_manifest(GpSource *source, const char *tag, char **content_type, GError **error)
{
    g_autoptr(GpIndex) index = read_index(source, error);
    const GpDescriptor *entry = index ? find_signatures(index, tag, error) : NULL;
    if (!entry)
        return NULL;
    GpDigest digest;
    g_autoptr(GBytes) bytes = read_entry(source, entry, &digest, content_type, error);
    return bytes && gp_digest_check_bytes(&digest, bytes, "the manifest", error) ? g_steal_pointer(&bytes) : NULL;
}

/* A layout has no list of its own: whatever else stands in its index may refer to the image (as "oras copy -r" and
 * "cosign save" leave it), under a fallback tag or none. */
static GPtrArray *oci_referrers(GpSource *source, const GpDigest *digest, gboolean *elsewhere, GError **error)
{
    g_autoptr(GpIndex) index = read_index(source, error);
    if (!index)
        return NULL;
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify) gp_descriptor_free);
    while (index->manifests->len > 0) {
        GpDescriptor *entry = g_ptr_array_steal_index(index->manifests, 0);
        if (gp_digest_equal(&entry->digest, digest) || is_cosign_tag(ref_name(entry)))
            gp_descriptor_free(entry);
        else
            g_ptr_array_add(list, entry);
    }
    return g_steal_pointer(&list);
}

const GpSourceKind gp_source_oci = {
    .top = oci_top,
    .manifest = oci_manifest,
    .blob = oci_blob,
    .cosign_manifest = oci_cosign_manifest,
    .referrers = oci_referrers,
};
