/* What the store takes: counted from the disk, each inode once, and from the layers' records, each layer once. */
#pragma once

#include <glib.h>

#include "storage/store.h"

typedef struct {
    guint64 disk_bytes;                  /* blocks of everything below the store's directory, as du(1) counts */
    guint64 staging_bytes;               /* of these, in staging/: pulls at work */
    guint64 quarantine_bytes;            /* and in quarantine/ */
    guint64 images, layers, layer_bytes; /* content of all layers' files */
    guint64 unused_layers, unused_bytes; /* of those that no image uses */
    guint64 fs_bytes, fs_free;           /* of the filesystem that it lies on */
    guint64 fs_inodes, fs_free_inodes;
    GArray *per_image; /* GpImageUsage */
} GpStoreUsage;

typedef struct {
    GpDigest manifest;
    guint64 bytes; /* content of its layers' files, a layer that occurs twice once */
    guint64 own;   /* of those layers that no other image has */
} GpImageUsage;

/* Counts while others may be pulling: what appears or goes meanwhile is counted or not, and no error. Errors: INTERNAL.
 */
GpStoreUsage *gp_store_usage(GpStore *store, GError **error);
void gp_store_usage_free(GpStoreUsage *usage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpStoreUsage, gp_store_usage_free)
