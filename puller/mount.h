/* ROOTFS: a stored image becomes the mounted root filesystem and the configuration of a bundle. */
#pragma once

#include <glib.h>

#include "puller/manifest.h"
#include "storage/rootfs.h"
#include "storage/store.h"

typedef struct {
    GpStore *store;
    const GpManifest *manifest;
    const GpDigest *manifest_digest;
    const GpImageConfig *config;
    const char *bundle;
    const char *runtime_dir; /* where the mount is recorded, so that rm refuses while it lasts */
    const GpRootfsLimits *rw;
    guint64 rw_total; /* see gp_uppers_reserve() */
    int *mounting;    /* in: -1; out: held until gp_mount_keep() or gp_mount_undo(), see storage/mounting.h */
} GpMountRequest;

/* Mounts bundle/rootfs and writes bundle/config.json; all of it or nothing. Errors: those of storage/rootfs.h and
 * storage/bundle.h. */
gboolean gp_mount_image(const GpMountRequest *request, GError **error);

/* After success: whoever asked has the answer, and the mount is his. Without it the next pull into the bundle takes the
 * mount for a dead one's. */
void gp_mount_keep(const GpMountRequest *request);

/* Undoes a gp_mount_image() that succeeded: mount, record and config.json. */
void gp_mount_undo(const GpMountRequest *request);
