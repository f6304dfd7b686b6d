#include "puller/source_elsewhere.h"

#include "base/error.h"
#include "base/limits.h"
#include "puller/locations.h"
#include "puller/source_kind.h"

G_STATIC_ASSERT(GP_LIMIT_BLOB_DIRECTORIES <= 32); /* bits of GpSource.given_up */

const GpReference *gp_source_physical(const GpSource *source)
{
    return source->location ? source->location->reference : NULL;
}

void gp_source_set_elsewhere(GpSource *source, const GpSourceElsewhere *elsewhere)
{
    source->elsewhere = *elsewhere;
}

/* ---- places */

static guint n_directories(const GpSource *source)
{
    guint count = 0;
    for (char *const *directory = source->elsewhere.directories; directory && *directory; directory++)
        count++;
    return count;
}

static guint n_others(const GpSource *source)
{
    const GpSourceElsewhere *elsewhere = &source->elsewhere;
    return elsewhere->locations && elsewhere->locations->len > elsewhere->first_location
               ? elsewhere->locations->len - elsewhere->first_location
               : 0;
}

static guint n_urls(const GpSource *source, const GpDescriptor *blob)
{
    return source->elsewhere.urls && blob->urls ? g_strv_length(blob->urls) : 0;
}

const char *gp_source_place_directory(const GpSource *source, guint place)
{
    return place < n_directories(source) ? source->elsewhere.directories[place] : NULL;
}

const GpLocation *gp_source_place_location(const GpSource *source, guint place)
{
    guint own = n_directories(source);
    if (place <= own || place - own > n_others(source))
        return NULL;
    return source->elsewhere.locations->pdata[source->elsewhere.first_location + place - own - 1];
}

const char *gp_source_place_url(const GpSource *source, guint place, const GpDescriptor *blob)
{
    guint before = n_directories(source) + 1 + n_others(source);
    return place >= before && place - before < n_urls(source, blob) ? blob->urls[place - before] : NULL;
}

gboolean gp_source_place_is_local(const GpSource *source, guint place)
{
    return place < n_directories(source);
}

char *gp_source_place_describe(const GpSource *source, guint place, const GpDescriptor *blob)
{
    const char *directory = gp_source_place_directory(source, place);
    const char *url = gp_source_place_url(source, place, blob);
    const GpLocation *location = gp_source_place_location(source, place);
    if (directory)
        return g_strdup_printf("blob directory %s", directory);
    if (url)
        return gp_fetch_bare_url(url);
    if (!location)
        location = source->location;
    return location ? gp_location_describe(location) : g_strdup(source->path);
}

gboolean gp_source_place_failed(GpSource *source, guint place, const GpDescriptor *blob, const GError *problem)
{
    gboolean local = gp_source_place_is_local(source, place);
    if (place >= n_directories(source) + n_others(source) + n_urls(source, blob))
        return FALSE;
    /* A directory that the host shares is the host's: whatever is wrong with it, the registry can do without it. */
    if (local ? problem->code == GP_ERROR_CANCELLED : !gp_locations_may_cure(problem))
        return FALSE;
    /* Not having it is what is expected of a directory, and of a registry if the layer is foreign. */
    if (problem->code == GP_ERROR_NOT_FOUND &&
        (local || (n_urls(source, blob) > 0 && !gp_source_place_url(source, place, blob))))
        return TRUE;
    if (local && problem->code == GP_ERROR_NETWORK)
        (void) g_atomic_int_or(&source->given_up, 1U << place);
    g_autofree char *where = gp_source_place_describe(source, place, blob);
    gp_notes_add(source->elsewhere.notes, where, problem);
    return TRUE;
}

/* ---- directories */

GpSharedBlob *gp_source_open_shared(GpSource *source, guint place, const GpDigest *digest, guint64 size, GError **error)
{
    /* One that stopped answering would make each further blob wait as long. */
    if (g_atomic_int_get(&source->given_up) & (1U << place)) {
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "it does not answer");
        return NULL;
    }
    return gp_shared_blob_open(gp_source_place_directory(source, place), digest, size, error);
}
