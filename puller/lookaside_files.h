/* Reading a registries.d directory for policy/lookaside, which itself does no I/O. */
#pragma once

#include <glib.h>

#include "policy/lookaside.h"

/* All *.yaml files of @directory in the order of their names. A directory that does not exist is an empty configuration
 * unless @required. Errors: USAGE (required and absent), INVALID, LIMIT, INTERNAL. */
GpLookaside *gp_lookaside_load(const char *directory, gboolean required, GError **error);
