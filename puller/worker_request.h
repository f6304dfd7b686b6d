/* A request of the puller, parsed: what a job has to fetch. */
#pragma once

#include <glib.h>

typedef enum {
    GP_REQUEST_MANIFEST,
    GP_REQUEST_BLOB,
    GP_REQUEST_URL,
    GP_REQUEST_REFERRERS,
} GpRequestKind;

typedef struct {
    GpRequestKind kind;
    char *url;           /* to ask first */
    char *origin;        /* of url: the only server that may see the credential */
    char *repository;    /* NULL: a URL, which is no registry's */
    gboolean anonymous;  /* a manifest's URL: nobody shows who we are there */
    guint64 size;        /* blob: exact; else the ceiling */
    char *insecure_host; /* "host[:port]" that may be asked over plain http as well; NULL: none */
    char *username, *password, *identity_token; /* NULL: none */
} GpRequest;

/* Checks everything again, although the puller has: digests and names before they enter a URL (CVE-2024-3727), http
 * only for
 * @plain_http. Errors: INVALID. */
GpRequest *gp_request_parse(const char *message, gsize length, char *const *plain_http, GError **error);
/* The Accept field's value for such a request; NULL: anything. */
const char *gp_request_accept(GpRequestKind kind);

void gp_request_free(GpRequest *request);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpRequest, gp_request_free)
