/* containers-auth.json(5): which user name and password belong to a reference. Secrets are wiped when freed and never
 * printed, also not in errors. */
#pragma once

#include <glib.h>

#include "policy/reference.h"

typedef struct _GpCredentials GpCredentials;

/* With an identity token there is no user name and no password: the token alone is exchanged for access. */
typedef struct {
    char *username;       /* NULL with an identity token */
    char *password;       /* NULL with an identity token */
    char *identity_token; /* NULL with user name and password */
} GpCredential;

/* Parses @authfile (named @what in errors): {"auths":{KEY:{"auth":base64("user:password"),"identitytoken":…}}}. Only
 * "auth" and "identitytoken" count: entries without both are tolerated and ignored, and so are keys that docker writes
 * for itself, helpers included (a guest runs no programs for its credentials). "username" and "password" are not read,
 * as in containers/image. Errors: INVALID with the place, LIMIT. */
GpCredentials *gp_credentials_parse(GBytes *authfile, const char *what, GError **error);
void gp_credentials_free(GpCredentials *credentials);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpCredentials, gp_credentials_free)

/* The most specific entry: repository, its parents, host; then the first entry whose key is a URL of the host, as older
 * docker wrote them ("https://index.docker.io/v1/"), docker.io, index.docker.io and registry-1.docker.io being the
 * same. NULL: anonymous. Caller's. */
GpCredential *gp_credentials_lookup(const GpCredentials *credentials, const GpReference *reference);
void gp_credential_free(GpCredential *credential);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpCredential, gp_credential_free)
