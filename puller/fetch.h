/* The puller's end of the fetch worker: ask for documents and blobs; bytes come back through pipes and are trusted by
 * nobody. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/digest.h"
#include "policy/credentials.h"
#include "policy/reference.h"

typedef struct _GpFetch GpFetch;

typedef struct {
    char **plain_http; /* "HOST[:PORT]" that may be asked over plain http; NULL-ended or NULL */
    char *cert_dir;    /* *.crt, *.cert + *.key; NULL: system roots only */
    char *extra_roots; /* further CA certificates, PEM, at most GP_LIMIT_EXTRA_ROOTS bytes; NULL: none */
    char *https_proxy, *http_proxy, *no_proxy; /* see gp_fetch_is_proxy(); NULL: none */
    guint timeout;                             /* seconds for any one request, in total */
    gboolean verbose;                          /* a request log on standard error */
} GpFetchConfig;

/* Starts the worker, which confines itself, and does not wait for it: that takes 10 ms. Errors: SANDBOX. */
GpFetch *gp_fetch_begin(const GpFetchConfig *config, GError **error);
/* Waits until the worker has reported that it is confined; to be called by one thread, before anything is asked. Once
 * TRUE, TRUE at once. Errors: SANDBOX, USAGE (what the worker says of its configuration), CANCELLED (the time was up).
 */
gboolean gp_fetch_ready(GpFetch *fetch, GError **error);
/* Both. */
GpFetch *gp_fetch_start(const GpFetchConfig *config, GError **error);
/* Nothing will be asked any more: lets the worker go, which takes it a moment. NULL: nothing. */
void gp_fetch_end(GpFetch *fetch);
void gp_fetch_free(GpFetch *fetch); /* ends the worker */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpFetch, gp_fetch_free)

/* @url without what could be a secret: user and query. Caller's. */
char *gp_fetch_bare_url(const char *url);

/* Adds to @timings the HTTP requests so far: see puller/request_log.h. */
void gp_fetch_report(const GpFetch *fetch, json_t *timings);

/* One repository at one place. */
typedef struct {
    char *host;       /* "registry.example:5000", as in the URL ("registry-1.docker.io" for docker.io) */
    char *repository; /* "library/debian" */
    gboolean plain_http;
    gboolean insecure;        /* plain_http because the registries configuration says so of this place alone */
    gboolean mirror;          /* not the registry that the name names */
    GpReference *reference;   /* the physical one, owned; NULL: the name itself */
    GpCredential *credential; /* NULL: anonymous */
} GpLocation;

GpLocation *gp_location_for(
    const GpReference *reference, const GpCredentials *credentials, const GpFetchConfig *config);
void gp_location_free(GpLocation *location);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpLocation, gp_location_free)

/* GET /v2/<repository>/manifests/<selector> (a tag or a digest's text). The bytes are NOT verified here. *@content_type
 * is the caller's. Errors: NOT_FOUND, AUTH, NETWORK, LIMIT, INVALID, SANDBOX (the worker died), CANCELLED. */
GBytes *gp_fetch_manifest(
    GpFetch *fetch, const GpLocation *location, const char *selector, char **content_type, GError **error);

/* GET /v2/<repository>/referrers/<digest> (distribution-spec 1.1), or the page of it that *@page names (NULL: the
 * first); *@page becomes the next one's name or NULL, the caller's. Not verified. Errors: as above; NOT_FOUND from a
 * registry without this API. */
GBytes *gp_fetch_referrers(GpFetch *fetch, const GpLocation *location, const GpDigest *digest, char **page,
    char **content_type, GError **error);

/* GET of any URL (lookaside), http only where config allows. Errors as above. */
GBytes *gp_fetch_url(GpFetch *fetch, const char *url, gsize max, GError **error);

/* A blob on its way. */
typedef struct _GpFetchBlob GpFetchBlob;
/* Starts GET /v2/<repository>/blobs/<digest>; @size is the descriptor's and is enforced to the byte by the worker (and
 * by the caller again). */
GpFetchBlob *gp_fetch_blob_open(
    GpFetch *fetch, const GpLocation *location, const GpDigest *digest, guint64 size, GError **error);
/* The same at a URL that a manifest names (image-spec descriptor.md, "urls"): no credentials, no client certificate;
 * http only where config allows. */
GpFetchBlob *gp_fetch_blob_url_open(GpFetch *fetch, const char *url, guint64 size, GError **error);
int gp_fetch_blob_fd(const GpFetchBlob *blob); /* pipe to read to its end; borrowed */
/* After the end of the pipe: TRUE if the worker says that all of it came. Errors as above. */
gboolean gp_fetch_blob_finish(GpFetchBlob *blob, GError **error);
void gp_fetch_blob_free(GpFetchBlob *blob);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpFetchBlob, gp_fetch_blob_free)
