#include "puller/manifest.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

typedef enum {
    KIND_UNSAID,
    KIND_MANIFEST,
    KIND_INDEX,
    KIND_SCHEMA1,
    KIND_UNKNOWN,
} Kind;

static const struct {
    const char *type;
    Kind kind;
} kinds[] = {
    {GP_TYPE_OCI_MANIFEST, KIND_MANIFEST},
    {GP_TYPE_DOCKER_MANIFEST, KIND_MANIFEST},
    {GP_TYPE_OCI_INDEX, KIND_INDEX},
    {GP_TYPE_DOCKER_LIST, KIND_INDEX},
    {"application/vnd.docker.distribution.manifest.v1+json", KIND_SCHEMA1},
    {"application/vnd.docker.distribution.manifest.v1+prettyjws", KIND_SCHEMA1},
    /* What web servers say that know nothing of images. */
    {"application/json", KIND_UNSAID},
    {"application/octet-stream", KIND_UNSAID},
    {"text/plain", KIND_UNSAID},
    {"", KIND_UNSAID},
};

static const struct {
    const char *type;
    GpCompression compression;
} layer_types[] = {
    {"application/vnd.oci.image.layer.v1.tar", GP_COMPRESSION_NONE},
    {"application/vnd.oci.image.layer.v1.tar+gzip", GP_COMPRESSION_GZIP},
    {"application/vnd.oci.image.layer.v1.tar+zstd", GP_COMPRESSION_ZSTD},
    {"application/vnd.oci.image.layer.v1.tar+encrypted", GP_COMPRESSION_NONE},
    {"application/vnd.oci.image.layer.v1.tar+gzip+encrypted", GP_COMPRESSION_GZIP},
    {"application/vnd.oci.image.layer.v1.tar+zstd+encrypted", GP_COMPRESSION_ZSTD},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+encrypted", GP_COMPRESSION_NONE},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip+encrypted", GP_COMPRESSION_GZIP},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd+encrypted", GP_COMPRESSION_ZSTD},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar", GP_COMPRESSION_NONE},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", GP_COMPRESSION_GZIP},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", GP_COMPRESSION_ZSTD},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar", GP_COMPRESSION_NONE},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", GP_COMPRESSION_GZIP},
    {"application/vnd.docker.image.rootfs.diff.tar", GP_COMPRESSION_NONE},
    {"application/vnd.docker.image.rootfs.diff.tar.gzip", GP_COMPRESSION_GZIP},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", GP_COMPRESSION_ZSTD},
};

static const char *const config_types[] = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    NULL,
};

static Kind kind_of(const char *type)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].kind;
    return KIND_UNKNOWN;
}

/* The type of a Content-Type field without its parameters, lower case as RFC 9110 8.3.1 lets us compare. */
static char *bare_type(const char *content_type)
{
    if (!content_type)
        return g_strdup("");
    g_autofree char *bare = g_ascii_strdown(content_type, (gssize) strcspn(content_type, ";"));
    return g_strdup(g_strstrip(bare));
}

static gboolean refuse_type(Kind kind, const char *type, const char *where, GError **error)
{
    g_autofree char *shown = gp_escape(type, -1, 200);
    if (kind == KIND_SCHEMA1)
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "a Docker schema 1 manifest (%s), which is not supported\n"
            "Push the image again with a current tool: it becomes an OCI or a Docker schema 2 image.",
            shown);
    else
        g_set_error(
            error, GP_ERROR, GP_ERROR_UNSUPPORTED, "%s \"%s\" is neither an image manifest nor an index", where, shown);
    return FALSE;
}

/* Settles what the document is. *@type becomes the caller's. */
static Kind decide_kind(json_t *document, const json_t *own_type, const char *content_type, char **type, GError **error)
{
    g_autofree char *said = bare_type(content_type);
    const char *own = own_type ? json_string_value(own_type) : "";
    Kind outer = kind_of(said), inner = kind_of(own);
    gboolean is_index = json_object_get(document, "manifests") != NULL;

    if (outer == KIND_UNKNOWN || outer == KIND_SCHEMA1)
        return refuse_type(outer, said, "content type", error), KIND_UNSAID;
    if (own[0] && (inner == KIND_UNKNOWN || inner == KIND_SCHEMA1 || inner == KIND_UNSAID))
        return refuse_type(inner, own, "mediaType", error), KIND_UNSAID;
    if (own[0] && outer != KIND_UNSAID && strcmp(said, own) != 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "delivered as \"%s\" but calls itself \"%s\"", said, own);
        return KIND_UNSAID;
    }
    if (own[0])
        *type = g_strdup(own);
    else if (outer != KIND_UNSAID)
        *type = g_strdup(said);
    else
        *type = g_strdup(is_index ? GP_TYPE_OCI_INDEX : GP_TYPE_OCI_MANIFEST);
    return kind_of(*type);
}

/* CVE-2021-41190: no document may be readable as two kinds of thing. */
static gboolean check_unambiguous(json_t *document, GError **error)
{
    static const char *const known[] = {"schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers",
        "history", "signatures", "subject", "artifactType", "annotations", NULL};
    if (!gp_json_refuse_case_variants(document, "$", known, error))
        return FALSE;
    gboolean as_manifest = json_object_get(document, "layers") || json_object_get(document, "config");
    gboolean as_index = json_object_get(document, "manifests") != NULL;
    gboolean as_schema1 = json_object_get(document, "fsLayers") || json_object_get(document, "signatures") ||
                          json_object_get(document, "history");
    if (as_manifest + as_index + as_schema1 <= 1)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "has the fields of a manifest and of an index at once, so it could be read as either (CVE-2021-41190)");
    return FALSE;
}

static GPtrArray *parse_descriptors(json_t *array, const char *path, gsize max, const char *what, GError **error)
{
    if (json_array_size(array) > max) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%s: %" G_GSIZE_FORMAT " %s, at most %" G_GSIZE_FORMAT " allowed",
            path, json_array_size(array), what, max);
        return NULL;
    }
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify) gp_descriptor_free);
    gsize i;
    json_t *value;
    json_array_foreach(array, i, value)
    {
        g_autofree char *place = gp_json_path_index(path, i);
        GpDescriptor *descriptor = gp_descriptor_parse(value, place, error);
        if (!descriptor)
            return NULL;
        g_ptr_array_add(list, descriptor);
    }
    return g_steal_pointer(&list);
}

static GpManifest *parse_manifest(json_t *document, GError **error)
{
    json_t *config, *layers, *subject;
    const GpJsonField fields[] = {
        {"config", GP_JSON_OBJECT, GP_JSON_MANDATORY, &config},
        {"layers", GP_JSON_ARRAY, GP_JSON_MANDATORY, &layers},
        {"subject", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &subject},
        {NULL},
    };
    if (!gp_json_fields(document, "$", fields, FALSE, error))
        return NULL;
    g_autoptr(GpManifest) manifest = g_new0(GpManifest, 1);
    manifest->config = gp_descriptor_parse(config, "$.config", error);
    if (!manifest->config)
        return NULL;
    manifest->layers = parse_descriptors(layers, "$.layers", GP_LIMIT_LAYERS, "layers", error);
    manifest->subject = manifest->layers && subject ? gp_descriptor_parse(subject, "$.subject", error) : NULL;
    return manifest->layers && (!subject || manifest->subject) ? g_steal_pointer(&manifest) : NULL;
}

static GpIndex *parse_index(json_t *document, GError **error)
{
    json_t *manifests;
    const GpJsonField fields[] = {{"manifests", GP_JSON_ARRAY, GP_JSON_MANDATORY, &manifests}, {NULL}};
    if (!gp_json_fields(document, "$", fields, FALSE, error))
        return NULL;
    g_autoptr(GpIndex) index = g_new0(GpIndex, 1);
    index->manifests = parse_descriptors(manifests, "$.manifests", GP_LIMIT_INDEX_ENTRIES, "manifests", error);
    return index->manifests ? g_steal_pointer(&index) : NULL;
}

static gboolean check_image_types(const GpManifest *manifest, GError **error)
{
    if (!g_strv_contains(config_types, manifest->config->media_type)) {
        g_autofree char *shown = gp_escape(manifest->config->media_type, -1, 200);
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "$.config.mediaType: \"%s\" is no image configuration\nThis is an artifact of another kind, not a "
            "container "
            "image.",
            shown);
        return FALSE;
    }
    if (manifest->config->size > GP_LIMIT_CONFIG) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "$.config.size: %" G_GUINT64_FORMAT " bytes, at most %" G_GUINT64_FORMAT " allowed", manifest->config->size,
            GP_LIMIT_CONFIG);
        return FALSE;
    }
    for (guint i = 0; i < manifest->layers->len; i++) {
        GpCompression compression;
        if (!gp_layer_compression(manifest->layers->pdata[i], &compression, error)) {
            g_prefix_error(error, "$.layers[%u].mediaType: ", i);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean check_version(const json_t *version, GError **error)
{
    json_int_t number = json_integer_value(version);
    if (number == 2)
        return TRUE;
    if (number == 1)
        return refuse_type(KIND_SCHEMA1, "schemaVersion 1", "", error);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "$.schemaVersion: must be 2");
    return FALSE;
}

static gboolean parse_document(json_t *document, const char *content_type, gboolean artifact, GpManifest **manifest,
    GpIndex **index, GError **error)
{
    json_t *version, *own_type;
    const GpJsonField fields[] = {
        {"schemaVersion", GP_JSON_INTEGER, GP_JSON_MANDATORY, &version},
        {"mediaType", GP_JSON_STRING, GP_JSON_NON_EMPTY, &own_type},
        {NULL},
    };
    g_autofree char *type = NULL;
    if (!gp_json_fields(document, "$", fields, FALSE, error) || !check_unambiguous(document, error) ||
        !check_version(version, error))
        return FALSE;
    Kind kind = decide_kind(document, own_type, content_type, &type, error);
    if (kind == KIND_UNSAID)
        return FALSE;
    if (artifact && strcmp(type, GP_TYPE_OCI_MANIFEST) != 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "is %s, not an OCI image manifest", type);
        return FALSE;
    }
    if (kind == KIND_INDEX) {
        *index = parse_index(document, error);
        if (*index)
            (*index)->media_type = g_steal_pointer(&type);
        return *index != NULL;
    }
    g_autoptr(GpManifest) result = parse_manifest(document, error);
    if (!result || (!artifact && !check_image_types(result, error)))
        return FALSE;
    result->media_type = g_steal_pointer(&type);
    *manifest = g_steal_pointer(&result);
    return TRUE;
}

static gboolean parse_bytes(
    GBytes *bytes, const char *content_type, gboolean artifact, GpManifest **manifest, GpIndex **index, GError **error)
{
    *manifest = NULL;
    *index = NULL;
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);
    g_autoptr(json_t) document = gp_json_parse(data, length, GP_LIMIT_MANIFEST, "manifest", error);
    if (!document)
        return FALSE;
    if (parse_document(document, content_type, artifact, manifest, index, error))
        return TRUE;
    g_prefix_error(error, "manifest: ");
    return FALSE;
}

gboolean gp_manifest_parse(
    GBytes *bytes, const char *content_type, GpManifest **manifest, GpIndex **index, GError **error)
{
    return parse_bytes(bytes, content_type, FALSE, manifest, index, error);
}

GpManifest *gp_manifest_parse_artifact(GBytes *bytes, const char *content_type, GError **error)
{
    GpManifest *manifest;
    GpIndex *index;
    return parse_bytes(bytes, content_type, TRUE, &manifest, &index, error) ? manifest : NULL;
}

void gp_manifest_free(GpManifest *manifest)
{
    if (!manifest)
        return;
    g_free(manifest->media_type);
    gp_descriptor_free(manifest->config);
    g_clear_pointer(&manifest->layers, g_ptr_array_unref);
    gp_descriptor_free(manifest->subject);
    g_free(manifest);
}

void gp_index_free(GpIndex *index)
{
    if (!index)
        return;
    g_free(index->media_type);
    g_clear_pointer(&index->manifests, g_ptr_array_unref);
    g_free(index);
}

static gboolean may_be_chosen(const GpDescriptor *entry)
{
    Kind kind = kind_of(entry->media_type);
    return (kind == KIND_MANIFEST || kind == KIND_INDEX) && !entry->artifact_type &&
           !(entry->annotations && g_hash_table_contains(entry->annotations, "vnd.docker.reference.type"));
}

/* Who builds images twice says so of the smaller ones (containers/image's annotation). */
static gboolean says_zstd(const GpDescriptor *entry)
{
    return entry->annotations &&
           g_strcmp0(g_hash_table_lookup(entry->annotations, "io.github.containers.compression.zstd"), "true") == 0;
}

static char *list_offers(const GpIndex *index)
{
    g_autoptr(GString) list = g_string_new(NULL);
    for (guint i = 0; i < index->manifests->len && list->len < 400; i++) {
        const GpDescriptor *entry = index->manifests->pdata[i];
        if (!entry->os || !may_be_chosen(entry))
            continue;
        const GpPlatform offered = {entry->os, entry->architecture, entry->variant};
        g_autofree char *text = gp_platform_to_string(&offered);
        g_autofree char *shown = gp_escape(text, -1, 60);
        g_string_append_printf(list, "%s%s", list->len ? ", " : "", shown);
    }
    return g_strdup(list->len ? list->str : "nothing with a platform");
}

const GpDescriptor *gp_index_choose(const GpIndex *index, const GpPlatform *platform, GError **error)
{
    const GpDescriptor *best = NULL, *without_platform = NULL;
    int best_rank = G_MAXINT;
    for (guint i = 0; i < index->manifests->len; i++) {
        const GpDescriptor *entry = index->manifests->pdata[i];
        if (!may_be_chosen(entry))
            continue;
        if (!entry->os) {
            without_platform = without_platform ? without_platform : entry;
            continue;
        }
        int rank = gp_platform_rank(platform, entry->os, entry->architecture, entry->variant);
        if (rank >= 0 && (rank < best_rank || (rank == best_rank && says_zstd(entry) && !says_zstd(best)))) {
            best = entry;
            best_rank = rank;
        }
    }
    if (!best)
        best = without_platform;
    if (!best) {
        g_autofree char *wanted = gp_platform_to_string(platform);
        g_autofree char *offers = list_offers(index);
        g_set_error(
            error, GP_ERROR, GP_ERROR_UNSUPPORTED, "the image index has nothing for %s, only: %s", wanted, offers);
    }
    return best;
}

gboolean gp_manifest_refuse_foreign(const GpManifest *manifest, GError **error)
{
    for (guint i = 0; i < manifest->layers->len; i++) {
        const GpDescriptor *layer = manifest->layers->pdata[i];
        if (!gp_descriptor_is_foreign(layer) || g_str_has_suffix(layer->media_type, "+encrypted"))
            continue;
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "$.layers[%u]: \"%s\": a layer that lies outside the registry\n"
            "If such layers may be fetched from where the manifest says: allow_foreign_layers = true in [guest_pull].",
            i, layer->media_type);
        return FALSE;
    }
    return TRUE;
}

gboolean gp_layer_compression(const GpDescriptor *layer, GpCompression *compression, GError **error)
{
    const char *type = layer->media_type;
    for (gsize i = 0; i < G_N_ELEMENTS(layer_types); i++)
        if (strcmp(type, layer_types[i].type) == 0) {
            *compression = layer_types[i].compression;
            return TRUE;
        }
    g_autofree char *shown = gp_escape(type, -1, 200);
    if (g_str_has_suffix(type, "+encrypted"))
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "\"%s\": only OCI tar layers, plain, gzip or zstd, can be decrypted", shown);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "\"%s\": not a layer type of a container image", shown);
    return FALSE;
}
