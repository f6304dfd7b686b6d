/* Taking parts out of a TOML document without understanding the rest (TOML 1.0): what the real confidential-data-hub's
 * configuration says about images is ours, everything else is passed on byte for byte. */
#pragma once

#include <glib.h>

/* @text (@length bytes) without the top-level keys @names (NULL-ended), whether written as [name], [name.sub],
 * [[name]], name = … or name.sub = …. A name that is an escaped string, and whatever is not clearly TOML, is refused,
 * because what is not understood might be what was to be taken out. Owned by the caller. Errors: USAGE with the line.
 */
char *gp_toml_without(const char *text, gsize length, const char *const *names, GError **error);
