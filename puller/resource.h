/* What a configuration or a policy names by location: files of the measured guest, and resources of the KBS. Nothing is
 * cached: every pull asks again. */
#pragma once

#include <glib.h>

#define GP_RESOURCE_TIMEOUT 30 /* seconds for any one resource */
#define GP_DEFAULT_RESOURCE_ENDPOINT "http://127.0.0.1:8006"

/* The ways to the KBS. */
typedef struct _GpResources GpResources;

/* @cdh_socket: the confidential-data-hub's ttrpc socket. @endpoint: the REST service "http://127.0.0.1:PORT" that is
 * asked instead where that socket does not exist. Both are copied; NULL: this way does not exist. */
GpResources *gp_resources_new(const char *cdh_socket, const char *endpoint);
void gp_resources_free(GpResources *resources);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpResources, gp_resources_free)

/* To be called once by whoever will give the network up: starts a fetch worker of its own for the REST service (which
 * may ask nobody else by http) if the KBS can only be asked that way. Errors: SANDBOX. */
gboolean gp_resources_connect(GpResources *resources, gboolean verbose, GError **error);

/* Is @location of the form that names a resource of the KBS? */
gboolean gp_resource_is_remote(const char *location);

/* One thing to fetch: the rows of gp_resources_fetch(). */
typedef struct {
    const char *location; /* absolute path, file:///path, kbs://…; NULL: nothing is to be fetched */
    gsize max;            /* bytes */
    const char *what;     /* its purpose, for errors: "policy" */
    GBytes *bytes;        /* result: caller's */
    GError *error;        /* result: caller's; exactly one of the two is set, unless location is NULL */
} GpResourceRequest;

/* Fetches all of @requests at the same time, each within GP_RESOURCE_TIMEOUT. Errors of a row, naming purpose and
 * location: KEY (absent, refused, too late, nobody there), LIMIT, USAGE (no such form), CANCELLED. @resources may be
 * NULL: then there is no KBS. */
void gp_resources_fetch(GpResources *resources, GpResourceRequest *requests, gsize count);
void gp_resource_request_clear(GpResourceRequest *request);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GpResourceRequest, gp_resource_request_clear)

/* The same for one. */
GBytes *gp_resource_fetch(GpResources *resources, const char *location, gsize max, const char *what, GError **error);
