/* The pieces of the reference grammar (distribution/reference, "Grammar"), each over @length bytes at @text. Byte tests
 * only: no locale, no regular expressions, linear time. */
#pragma once

#include <glib.h>

/* "registry.example", "localhost:5000", "[::1]:5000": labels of letters, digits and inner hyphens; a port of 1 to
 * 65535 without leading zeros (":0443" would be the same server as ":443" under another scope). */
gboolean gp_is_domain(const char *text, gsize length);

/* "library/debian": lower-case components joined by '/', each of runs of [a-z0-9] joined by '.', '_', '__' or hyphens.
 */
gboolean gp_is_repository_path(const char *text, gsize length);

/* [A-Za-z0-9_][A-Za-z0-9_.-]{0,127} */
gboolean gp_is_tag(const char *text, gsize length);

/* Whether the first component of a name, its text before the first '/', is a domain and not a part of a docker.io
 * repository: it has a '.' or ':', or is "localhost". As containers/image; distribution also takes "Foo" of "Foo/bar"
 * for a domain, which is refused here as a repository in upper case. */
gboolean gp_names_a_domain(const char *text, gsize length);
