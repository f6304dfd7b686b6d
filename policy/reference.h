/* Image references, parsed and normalized as docker and containers/image do (distribution/reference grammar). */
#pragma once

#include <glib.h>

#include "base/digest.h"

/* A normalized reference. Immutable after parsing; strings are never NULL unless said. */
typedef struct {
    char *domain;           /* "docker.io", "localhost:5000", "[::1]:5000"; letters as written */
    char *path;             /* "library/debian": repository without domain */
    char *tag;              /* NULL when only a digest was given; "latest" when neither was */
    gboolean tag_defaulted; /* the tag was not written */
    gboolean has_digest;
    GpDigest digest;
} GpReference;

/* Parses what a person or kata-agent writes. "docker://" is optional; a name without a domain is of docker.io, and of
 * its "library/" if it has one component; "index.docker.io" is read as docker.io; without tag and digest the tag is
 * "latest". A bare string of 64 hex digits is refused, as docker does: it looks like an image id. Errors: INVALID,
 * LIMIT (over GP_LIMIT_REFERENCE), UNSUPPORTED (a digest of an algorithm that we do not have). */
GpReference *gp_reference_parse(const char *text, GError **error);

/* The same name normalization without "docker://" and without the tag "latest": "name" stays name-only, with tag NULL
 * and no digest. For references inside signatures and policies. Errors as above. */
GpReference *gp_reference_parse_named(const char *text, GError **error);

void gp_reference_free(GpReference *reference);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpReference, gp_reference_free)

/* TRUE if neither tag nor digest is there. */
gboolean gp_reference_is_name_only(const GpReference *reference);

char *gp_reference_name(const GpReference *reference);      /* "domain/path"; caller's */
char *gp_reference_to_string(const GpReference *reference); /* "domain/path[:tag][@digest]", the canonical form */

/* Policy scopes of the docker transport in the order tried, without transport "" and default: "domain/path@digest" if
 * there is a digest, else "domain/path:tag", then "domain/path", each parent, "domain", "*.parent", "*.grandparent" …
 * (of the domain without its port). NULL-ended, caller's.
 *
 * A reference with tag and digest (containers/image refuses to make a scope of it) is looked up by its digest only:
 * that alone says which bytes will run, while the tag beside it is the word of whoever wrote the reference. Were its
 * scope tried, "app:trusted@sha256:…" would bring any bytes of the repository under the rules for app:trusted.
 *
 * The domain is in lower case here, as in the scope keys of a policy (gp_scope_check_docker()): DNS does not tell
 * GHCR.IO from ghcr.io, so a scope must not either. */
char **gp_reference_scopes(const GpReference *reference);
