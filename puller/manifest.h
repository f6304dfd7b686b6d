/* OCI and Docker schema 2 manifests and indexes, read strictly (image-spec manifest.md, image-index.md). */
#pragma once

#include <glib.h>

#include "puller/descriptor.h"
#include "puller/image_config.h"
#include "puller/platform.h"

#define GP_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define GP_TYPE_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define GP_TYPE_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define GP_TYPE_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"

typedef enum {
    GP_COMPRESSION_NONE,
    GP_COMPRESSION_GZIP,
    GP_COMPRESSION_ZSTD,
} GpCompression;

typedef struct {
    char *media_type;
    GpDescriptor *config;
    GPtrArray *layers;     /* GpDescriptor*, base first */
    GpDescriptor *subject; /* what an artifact is attached to; NULL if it does not say */
} GpManifest;

typedef struct {
    char *media_type;
    GPtrArray *manifests; /* GpDescriptor* */
} GpIndex;

/* Reads @bytes as what @content_type (may be NULL) and its own mediaType say; exactly one of *@manifest and *@index is
 * set. Refused: content type and mediaType that disagree, a document with both manifests and layers (CVE-2021-41190),
 * schema 1 (UNSUPPORTED, with what to do), unknown media types (UNSUPPORTED), config or layer types that are no
 * image's, more layers than GP_LIMIT_LAYERS (LIMIT), bad digests and sizes (INVALID). A document that says of itself
 * nothing at all is read as OCI by its fields, as the image-spec allows. */
gboolean gp_manifest_parse(
    GBytes *bytes, const char *content_type, GpManifest **manifest, GpIndex **index, GError **error);
/* The same for a manifest that carries something other than an image (cosign's .sig tag): an OCI image manifest whose
 * config and layer types are not looked at. Errors: as above; INVALID for an index or a Docker manifest. */
GpManifest *gp_manifest_parse_artifact(GBytes *bytes, const char *content_type, GError **error);
void gp_manifest_free(GpManifest *manifest);
void gp_index_free(GpIndex *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpManifest, gp_manifest_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpIndex, gp_index_free)

/* The entry for @platform (variant order as gp_platform_rank(), of equals one that says it is compressed with zstd,
 * then the first; entries without platform last; attestation manifests, "unknown/unknown", and entries that are neither
 * manifest nor index never). Borrowed. Errors: UNSUPPORTED naming what
 * is on offer. */
const GpDescriptor *gp_index_choose(const GpIndex *index, const GpPlatform *platform, GError **error);

/* TRUE unless a layer of @manifest is foreign: UNSUPPORTED, naming the first. What is encrypted passes: nothing but its
 * key makes it anybody's. */
gboolean gp_manifest_refuse_foreign(const GpManifest *manifest, GError **error);

/* Compression of a layer's media type, under its encryption if it has one. Errors: UNSUPPORTED. */
gboolean gp_layer_compression(const GpDescriptor *layer, GpCompression *compression, GError **error);
