/* From what the registries configuration says to the locations that the fetch worker is asked for. */
#pragma once

#include <glib.h>

#include "policy/credentials.h"
#include "policy/registries.h"
#include "puller/fetch.h"

/* The locations of @reference, mirrors in order, the registry itself last: GpLocation*, at least one. Credentials are
 * those of the place that is asked, never those of the name that led there. Errors: POLICY (blocked), INVALID. */
GPtrArray *gp_locations_for(const GpRegistries *registries, const GpReference *reference,
    const GpCredentials *credentials, char **plain_http, GError **error);

/* May another location do better where one failed with @error? Not when it is our own trouble. */
gboolean gp_locations_may_cure(const GError *error);

/* "mirror m.example/hub/library/debian": for people. Caller's. */
char *gp_location_describe(const GpLocation *location);
