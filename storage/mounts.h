/* Which images are mounted: a layer below a live overlay must not be removed (the kernel calls the result undefined),
 * and the kernel does not tell what lies below an overlay whose layers came as descriptors. So every mount leaves a
 * record, which counts for as long as any process still sees that overlay: the agent unmounts without telling us, and a
 * container keeps its root in a mount namespace of its own. */
#pragma once

#include <glib.h>

#include "base/digest.h"

/* Which mounts: of the image @manifest (NULL: of any) of the store whose directory is open as @store (-1: of any). */
typedef struct {
    int store;
    const GpDigest *manifest;
} GpMountsOf;
#define GP_MOUNTS_ALL ((GpMountsOf){-1, NULL})

/* Records that @bundle/rootfs shows the image @of, in @runtime_dir/mounts (made with mode 0700 if missing); the overlay
 * must be there already. Replaces an older record of @bundle. Errors: INTERNAL, SPACE. */
gboolean gp_mounts_record(const char *runtime_dir, const char *bundle, GpMountsOf of, GError **error);

/* Removes the record of @bundle; none is success. Errors: INTERNAL. */
gboolean gp_mounts_forget(const char *runtime_dir, const char *bundle, GError **error);

/* The bundles (char*, absolute) of the mounts @of that are there now. Records of overlays that are gone are removed on
 * the way. A record that cannot be read is an error: better not to remove a layer than to guess. Errors: INVALID (a
 * file that is no record, by name), INTERNAL. */
GPtrArray *gp_mounts_using(const char *runtime_dir, GpMountsOf of, GError **error);
