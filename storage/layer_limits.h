/* Ceilings of layers and images that a configuration may lower; base/limits.h has the values that nothing exceeds. */
#pragma once

#include <glib.h>

#include "storage/entry.h"

typedef struct {
    guint64 layer_bytes, layer_entries; /* content of one layer's files; names, hard links included */
    guint64 layer_metadata;             /* bytes of link targets and extended attributes of one layer */
    guint64 ratio;                      /* content for each byte of the blob, where there is more than 64 MiB of it */
    guint64 image_bytes, image_entries; /* of all its layers, one that occurs twice once */
    guint64 image_layers;
    guint64 depth;        /* directories above a name, and it */
    guint64 path, name;   /* bytes */
    guint64 link_target;  /* bytes */
    guint64 xattrs;       /* of one entry */
    guint64 xattr_bytes;  /* of one value */
    guint64 xattrs_bytes; /* names and values of one entry */
} GpLayerLimits;

/* All as in base/limits.h: GP_DEFAULT_*, where there is one, else the ceilings. */
void gp_layer_limits_init(GpLayerLimits *limits);

/* The names, the same in configuration, documentation and messages; NULL behind the last one. */
const char *gp_layer_limit_name(guint i);
/* Limit @i, and what base/limits.h allows for it at most. */
guint64 *gp_layer_limit_value(GpLayerLimits *limits, guint i);
guint64 gp_layer_limit_ceiling(guint i);

/* Is @entry by itself within @limits? Errors: LIMIT, naming entry and limit. */
gboolean gp_layer_limits_check_entry(const GpLayerLimits *limits, const GpEntry *entry, GError **error);

/* The content that a layer from a blob of @blob_size bytes may have. */
guint64 gp_layer_limits_bytes(const GpLayerLimits *limits, guint64 blob_size);
