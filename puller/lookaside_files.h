/* Reading directories of files for policy/lookaside and policy/registries, which themselves do no I/O. */
#pragma once

#include <glib.h>

#include "policy/lookaside.h"
#include "policy/registries.h"

/* All *.yaml files of @directory in the order of their names. A directory that does not exist is an empty configuration
 * unless @required. Errors: USAGE (required and absent), INVALID, LIMIT, INTERNAL. */
GpLookaside *gp_lookaside_load(const char *directory, gboolean required, GError **error);

/* All *.conf files of @directory in the order of their names. Errors: USAGE, INVALID, LIMIT, UNSUPPORTED, INTERNAL. */
GpRegistries *gp_registries_load(const char *directory, GError **error);
