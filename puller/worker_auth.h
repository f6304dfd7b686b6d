/* What a 401 asks for, and the request that gets it: the token dance of the distribution specification. */
#pragma once

#include <glib.h>

#include "puller/worker_request.h"

/* What to do about a challenge. Exactly one of authorization and token_url is set. */
typedef struct {
    char *authorization; /* the field value to send: Basic. Secret. */
    char *token_url;     /* Bearer: ask here first, */
    char *token_form;    /* with this POST body (NULL: GET; secret) */
    char *token_basic;   /* and this Authorization (NULL: none; secret) */
} GpAuthStep;

/* @fields: char*, the WWW-Authenticate fields of @request's own server. Credentials go to that server, and to the token
 * server that it names over https (plain http only if it is plain itself). Errors: AUTH. */
gboolean gp_auth_plan(const GpRequest *request, const GPtrArray *fields, GpAuthStep *step, GError **error);
void gp_auth_step_clear(GpAuthStep *step);

/* The key under which an authorization for @request is kept in GpTokens; the caller's secret. */
char *gp_auth_key(const GpRequest *request);
