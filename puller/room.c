#include "puller/room.h"

#include "base/error.h"
#include "base/limits.h"

/* What comes out of a compressed blob, about: gzip of ordinary images is between 2 and 3 to 1. */
#define EXPANSION 3

static gboolean refuse(const char *text, const char *what, const char *wanted, GError **error)
{
    g_autofree char *shown = gp_escape(text, -1, 64);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s \"%s\"\nWrite %s.", what, shown, wanted);
    return FALSE;
}

/* A number and at most one character behind it, one of @units (NUL is none): its place, or -1. */
static int split(const char *text, const char *units, guint64 *value)
{
    char *end = NULL;
    if (!g_ascii_isdigit(text[0]))
        return -1;
    *value = g_ascii_strtoull(text, &end, 10);
    if (*end == '\0')
        return 0;
    const char *unit = strchr(units, *end);
    return unit && end[1] == '\0' ? (int) (unit - units) + 1 : -1;
}

gboolean gp_space_parse(const char *text, const char *what, GpSpace *space, GError **error)
{
    static const guint64 factors[] = {1, GP_KIB, GP_MIB, GP_GIB, GP_KIB * GP_GIB, 1};
    guint64 value = 0;
    int unit = split(text, "KMGT%", &value);
    gboolean percent = unit == 5;
    if (unit < 0 || value > G_MAXINT64 / factors[unit] || (percent && value > 100))
        return refuse(text, what, "bytes, a number with K, M, G or T, or a percentage", error);
    *space = (GpSpace){.bytes = percent ? 0 : value * factors[unit], .percent = percent ? (guint) value : 0};
    return TRUE;
}

char *gp_space_format(const GpSpace *space)
{
    return space->bytes ? g_strdup_printf("%" G_GUINT64_FORMAT, space->bytes) : g_strdup_printf("%u%%", space->percent);
}

guint64 gp_space_bytes(const GpSpace *space, guint64 total)
{
    return space->bytes ? space->bytes : total / 100 * space->percent;
}

gboolean gp_age_parse(const char *text, const char *what, guint64 *seconds, GError **error)
{
    static const guint64 factors[] = {1, 1, 60, 3600, 86400};
    guint64 value = 0;
    int unit = split(text, "smhd", &value);
    if (unit < 0 || value > G_MAXINT64 / factors[unit])
        return refuse(text, what, "seconds, or a number with m, h or d", error);
    *seconds = value * factors[unit];
    return TRUE;
}

void gp_room_make(GpStore *store, const GpSpace *low, const GpSpace *high, const char *runtime_dir, guint64 missing)
{
    guint64 total = gp_store_size(store), free_now = gp_store_free_bytes(store), need = missing * EXPANSION;
    guint64 low_bytes = gp_space_bytes(low, total), high_bytes = MAX(gp_space_bytes(high, total), low_bytes);
    if (missing == 0 || free_now >= need + low_bytes)
        return;
    const GpPruneOptions options = {.runtime_dir = runtime_dir, .free_bytes = MIN(need + high_bytes, total)};
    g_autoptr(GError) error = NULL;
    GpPruned pruned;
    if (gp_store_prune(store, &options, &pruned, &error))
        g_debug(
            "made room: %" G_GUINT64_FORMAT " images, %" G_GUINT64_FORMAT " layers went", pruned.images, pruned.layers);
    else
        g_debug("no room was made: %s", error->message);
}
