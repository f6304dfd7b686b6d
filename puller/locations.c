#include "puller/locations.h"

#include "base/error.h"

GPtrArray *gp_locations_for(const GpRegistries *registries, const GpReference *reference,
    const GpCredentials *credentials, char **plain_http, GError **error)
{
    GpFetchConfig config = {.plain_http = plain_http};
    g_autoptr(GPtrArray) places = gp_registries_resolve(registries, reference, NULL, error);
    if (!places)
        return NULL;
    GPtrArray *locations = g_ptr_array_new_with_free_func((GDestroyNotify) gp_location_free);
    for (guint i = 0; i < places->len; i++) {
        GpRegistryPlace *place = places->pdata[i];
        GpLocation *location = gp_location_for(place->reference, credentials, &config);
        location->insecure = place->insecure && !location->plain_http;
        location->plain_http = location->plain_http || place->insecure;
        location->mirror = place->mirror;
        location->reference = g_steal_pointer(&place->reference);
        g_ptr_array_add(locations, location);
    }
    return locations;
}

gboolean gp_locations_may_cure(const GError *error)
{
    switch (gp_error_code(error)) {
    case GP_ERROR_POLICY:
    case GP_ERROR_SIGNATURE:
    case GP_ERROR_DIGEST:
    case GP_ERROR_AUTH:
    case GP_ERROR_NOT_FOUND:
    case GP_ERROR_NETWORK:
    case GP_ERROR_INVALID:
    case GP_ERROR_LIMIT:
    case GP_ERROR_UNSUPPORTED:
        return TRUE;
    case GP_ERROR_INTERNAL:
    case GP_ERROR_USAGE:
    case GP_ERROR_SPACE:
    case GP_ERROR_KEY:
    case GP_ERROR_SANDBOX:
    case GP_ERROR_CANCELLED:
        return FALSE;
    }
    return FALSE;
}

char *gp_location_describe(const GpLocation *location)
{
    return g_strdup_printf("%s %s/%s", location->mirror ? "mirror" : "registry", location->host, location->repository);
}
