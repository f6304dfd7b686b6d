#include "storage/layer_limits.h"

#include "base/error.h"
#include "base/limits.h"

#define RATIO_FREE_BYTES (64 * GP_MIB)

static const struct {
    const char *name;
    gsize offset;
    guint64 ceiling;
    guint64 usual; /* 0: the ceiling */
} table[] = {
    {"layer_bytes", G_STRUCT_OFFSET(GpLayerLimits, layer_bytes), GP_LIMIT_LAYER_BYTES},
    {"layer_entries", G_STRUCT_OFFSET(GpLayerLimits, layer_entries), GP_LIMIT_LAYER_ENTRIES, GP_DEFAULT_LAYER_ENTRIES},
    {"layer_metadata", G_STRUCT_OFFSET(GpLayerLimits, layer_metadata), GP_LIMIT_LAYER_METADATA},
    {"ratio", G_STRUCT_OFFSET(GpLayerLimits, ratio), GP_LIMIT_LAYER_RATIO},
    {"image_bytes", G_STRUCT_OFFSET(GpLayerLimits, image_bytes), GP_LIMIT_IMAGE_BYTES},
    {"image_entries", G_STRUCT_OFFSET(GpLayerLimits, image_entries), GP_LIMIT_IMAGE_ENTRIES},
    {"image_layers", G_STRUCT_OFFSET(GpLayerLimits, image_layers), GP_LIMIT_LAYERS},
    {"depth", G_STRUCT_OFFSET(GpLayerLimits, depth), GP_LIMIT_PATH_DEPTH},
    {"path", G_STRUCT_OFFSET(GpLayerLimits, path), GP_LIMIT_PATH},
    {"name", G_STRUCT_OFFSET(GpLayerLimits, name), GP_LIMIT_NAME},
    {"link_target", G_STRUCT_OFFSET(GpLayerLimits, link_target), GP_LIMIT_LINK_TARGET},
    {"xattrs", G_STRUCT_OFFSET(GpLayerLimits, xattrs), GP_LIMIT_XATTRS},
    {"xattr_bytes", G_STRUCT_OFFSET(GpLayerLimits, xattr_bytes), GP_LIMIT_XATTR_VALUE},
    {"xattrs_bytes", G_STRUCT_OFFSET(GpLayerLimits, xattrs_bytes), GP_LIMIT_XATTR_TOTAL},
};

const char *gp_layer_limit_name(guint i)
{
    return i < G_N_ELEMENTS(table) ? table[i].name : NULL;
}

guint64 *gp_layer_limit_value(GpLayerLimits *limits, guint i)
{
    return G_STRUCT_MEMBER_P(limits, table[i].offset);
}

guint64 gp_layer_limit_ceiling(guint i)
{
    return table[i].ceiling;
}

void gp_layer_limits_init(GpLayerLimits *limits)
{
    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        *gp_layer_limit_value(limits, i) = table[i].usual ? table[i].usual : table[i].ceiling;
}

static gboolean refuse(const GpEntry *entry, const char *name, guint64 value, guint64 limit, GError **error)
{
    g_autofree char *shown = gp_escape(entry->path, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
        "entry \"%s\": %s is %" G_GUINT64_FORMAT ", at most %" G_GUINT64_FORMAT " may be", shown, name, value, limit);
    return FALSE;
}

static gboolean check_path(const GpLayerLimits *limits, const GpEntry *entry, GError **error)
{
    guint64 depth = entry->path[0] ? 1 : 0, longest = 0;
    gsize length = strlen(entry->path);
    for (const char *part = entry->path; *part;) {
        gsize name = strcspn(part, "/");
        longest = MAX(longest, name);
        part += name;
        if (*part == '/') {
            depth++;
            part++;
        }
    }
    if (length > limits->path)
        return refuse(entry, "path", length, limits->path, error);
    if (longest > limits->name)
        return refuse(entry, "name", longest, limits->name, error);
    return depth <= limits->depth || refuse(entry, "depth", depth, limits->depth, error);
}

gboolean gp_layer_limits_check_entry(const GpLayerLimits *limits, const GpEntry *entry, GError **error)
{
    guint64 total = 0, count = entry->xattrs ? entry->xattrs->len : 0;
    gsize target = entry->link_target ? strlen(entry->link_target) : 0;
    if (!check_path(limits, entry, error))
        return FALSE;
    if (target > limits->link_target)
        return refuse(entry, "link_target", target, limits->link_target, error);
    if (count > limits->xattrs)
        return refuse(entry, "xattrs", count, limits->xattrs, error);
    for (guint i = 0; i < count; i++) {
        const GpXattr *xattr = &g_array_index(entry->xattrs, GpXattr, i);
        total += strlen(xattr->name) + xattr->size;
        if (xattr->size > limits->xattr_bytes)
            return refuse(entry, "xattr_bytes", xattr->size, limits->xattr_bytes, error);
    }
    return total <= limits->xattrs_bytes || refuse(entry, "xattrs_bytes", total, limits->xattrs_bytes, error);
}

guint64 gp_layer_limits_bytes(const GpLayerLimits *limits, guint64 blob_size)
{
    /* The ceiling of base/limits.h is the unpack worker's, who knows the tar and not only what is in it. */
    if (limits->ratio >= GP_LIMIT_LAYER_RATIO || blob_size > G_MAXUINT64 / limits->ratio)
        return limits->layer_bytes;
    return MIN(limits->layer_bytes, MAX(RATIO_FREE_BYTES, blob_size * limits->ratio));
}
