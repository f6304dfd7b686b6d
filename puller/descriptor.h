/* A content descriptor (image-spec descriptor.md): what something is, how large, and which digest it must have. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/digest.h"

typedef struct {
    char *media_type;
    GpDigest digest;
    guint64 size;
    char *os, *architecture, *variant; /* index entries with a platform; else NULL */
    char *artifact_type;               /* NULL when absent or empty */
    GHashTable *annotations;           /* string to string, or NULL */
    char **urls;                       /* of a foreign layer: where else it lies; NULL-ended, or NULL */
} GpDescriptor;

/* Reads the descriptor @object found at @path of its document. Unknown keys are allowed (the format is open); "data" is
 * never used, "urls" only of foreign layers. Errors: INVALID; LIMIT for more than GP_LIMIT_BLOB bytes or GP_LIMIT_URLS;
 * UNSUPPORTED for an unknown digest algorithm. */
GpDescriptor *gp_descriptor_parse(json_t *object, const char *path, GError **error);
void gp_descriptor_free(GpDescriptor *descriptor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpDescriptor, gp_descriptor_free)

/* A layer that need not lie in the registry: Docker's "foreign", OCI's "nondistributable" (image-spec layer.md). */
gboolean gp_descriptor_is_foreign(const GpDescriptor *descriptor);

/* A key of @object that differs from one of @known (NULL-ended) in letter case alone is refused: decoders that ignore
 * case (Go's) would read another document than we do. @path: place of @object. Errors: INVALID. */
gboolean gp_json_refuse_case_variants(json_t *object, const char *path, const char *const *known, GError **error);

/* The object of strings @object (NULL: none) as a table, *@map NULL for none. Errors: INVALID. */
gboolean gp_json_string_map(json_t *object, const char *path, GHashTable **map, GError **error);
