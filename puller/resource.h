/* What a configuration names by location: a file of the measured guest now, a KBS resource where one can be asked. */
#pragma once

#include <glib.h>

/* Reads @location, an absolute path, file:///path or (not without a KBS) kbs:///repository/type/tag, up to @max bytes.
 * @what names its purpose
 * ("policy"). Always freshly: nothing is cached. Errors: KEY (absent, or no KBS here), LIMIT, USAGE (no such form). */
GBytes *gp_resource_fetch(const char *location, gsize max, const char *what, GError **error);
