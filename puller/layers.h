/* LAYERS: every layer that the store lacks, several at once: stream -> hash -> unpack worker -> frames -> layer writer.
 */
#pragma once

#include <glib.h>

#include "puller/key_provider.h"
#include "puller/manifest.h"
#include "puller/source.h"
#include "storage/layer_limits.h"
#include "storage/store.h"

typedef enum {
    GP_LAYER_WAITING = 0,
    GP_LAYER_PULLING,
    GP_LAYER_DONE,
    GP_LAYER_REUSED, /* was in the store, or another process put it there meanwhile */
    GP_LAYER_FAILED,
} GpLayerState;

/* One distinct blob of the image; written by one thread, looked at by others while it runs (progress only). */
typedef struct {
    GpDescriptor *descriptor; /* borrowed from the manifest */
    GpDigest diff_id;         /* as the image configuration says */
    gint state;               /* GpLayerState, atomic */
    guint64 fetched;          /* bytes of the blob so far */
    guint64 entries, unpacked;
    guint place;        /* of the source: where the blob was asked for, at last */
    char *damage;       /* what was wrong with the layer that the store had; NULL: nothing */
    GpStaging *staging; /* when DONE: not yet committed */
} GpLayerJob;
void gp_layer_job_free(GpLayerJob *job);

/* The distinct layers of @manifest with their diffIDs from @config, in order of first appearance (GpLayerJob*). A blob
 * that occurs twice with different diffIDs is refused: DIGEST. */
GPtrArray *gp_layers_plan(const GpManifest *manifest, const GpImageConfig *config, GError **error);

typedef struct {
    const GpKeyProviders *providers; /* NULL if no layer is encrypted */
    const GpLayerLimits *limits;
    guint parallel; /* layers at the same time */
} GpLayersHow;

/* Gets all @jobs, the biggest first. The key of an encrypted layer is unwrapped by
 * how->providers before its blob is asked for, also when the store has the layer: having it is no right to it. On
 * failure the first failed layer's error; what other layers had finished stays in their jobs. Errors: DIGEST (bytes are
 * not what the manifest or configuration names), and LIMIT (of a layer, or of all together), KEY (a layer's key cannot
 * be had, or is another one), those of source and storage. */
gboolean gp_layers_pull(GpSource *source, GpStore *store, GPtrArray *jobs, const GpLayersHow *how, GError **error);
