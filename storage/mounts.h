/* Which bundles have an image mounted: a record per mount in the runtime directory, believed only as long as the mount
 * is there. */
#pragma once

#include <glib.h>

#include "base/digest.h"

/* Notes that @bundle/rootfs shows the image @manifest. Errors: INTERNAL, SPACE. */
gboolean gp_mounts_record(const char *runtime_dir, const char *bundle, const GpDigest *manifest, GError **error);

/* Removes the record of @bundle; none is success. Errors: INTERNAL. */
gboolean gp_mounts_forget(const char *runtime_dir, const char *bundle, GError **error);

/* The bundles (char*) in which @manifest is mounted now, or any image if @manifest is NULL. Records of mounts that are
 * gone (the agent unmounts without telling us) are removed on the way. Errors: INTERNAL. */
GPtrArray *gp_mounts_using(const char *runtime_dir, const GpDigest *manifest, GError **error);
