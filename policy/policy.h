/* containers-policy.json(5), parsed strictly into requirements, and looked up by scope. Pure: no I/O; keys that the
 * policy names by path or URI are resolved by the caller. */
#pragma once

#include <glib.h>

#include "policy/identity.h"
#include "policy/reference.h"
#include "policy/requirement.h"

typedef struct _GpPolicy GpPolicy;

/* Parses @text (named @what in errors): "default" is mandatory, "transports" is not, every list of requirements has at
 * least one. Stricter than containers/image where that would let a requirement vanish: unknown transports, empty or
 * null Rekor keys, empty lists and scopes that can never match are errors. Errors: INVALID with the JSON path, the
 * offending key and the nearest known one; LIMIT. */
GpPolicy *gp_policy_parse(GBytes *text, const char *what, GError **error);
void gp_policy_free(GpPolicy *policy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpPolicy, gp_policy_free)

/* The requirements of the most specific scope in @transport ("docker", "oci", "dir"): GpRequirement*, borrowed, at
 * least one. Only that scope counts; what less specific ones say does not add to it.
 *
 * For "docker" the scopes of @reference are tried (gp_reference_scopes()); for a local transport @local_scope, the
 * source's absolute path without "." and ".." (for "oci" with ":NAME" behind it if one was asked for), and its parent
 * directories. Then the transport's scope "", then default. What does not apply is NULL.
 *
 * *@scope (borrowed) names the match as a person would write it: "docker: registry.example/app", "docker: (all)",
 * "default". */
GPtrArray *gp_policy_lookup(const GpPolicy *policy, const char *transport, const GpReference *reference,
    const char *local_scope, const char **scope);
