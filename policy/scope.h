/* Scope keys, as policy.json and registries.d write them: checked when they are read, because a scope that can never
 * match protects nothing and nobody would notice. */
#pragma once

#include <glib.h>

/* Checks a scope of the docker transport and gives it the form of gp_reference_scopes(), the domain in lower case:
 * "host[:port]", "host[:port]/namespace…", that with ":tag" or "@digest", or "*.example.com". Caller's. Errors: INVALID
 * with the reason alone (no place), UNSUPPORTED for an unknown digest algorithm. */
char *gp_scope_check_docker(const char *scope, GError **error);

/* Checks a scope of the transports "oci" and "dir": an absolute path without "//", ".", ".." and a final slash, and not
 * "/" itself, which would be the transport's scope "". Errors: INVALID with the reason alone. */
gboolean gp_scope_check_path(const char *scope, GError **error);
