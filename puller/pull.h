/* One pull, or one verification, as a state machine; see docs/architecture.md, "The way of one pull". */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/digest.h"
#include "policy/verdict.h"
#include "puller/options.h"

typedef enum {
    GP_PULL_RESOLVE,  /* reference, policy, credentials: no network yet */
    GP_PULL_MANIFEST, /* the manifest, resolved once */
    GP_PULL_VERIFY,   /* the verdict: nothing of the image is asked for before it says yes */
    GP_PULL_LAYERS,   /* configuration and missing layers */
    GP_PULL_COMMIT,   /* one transaction */
    GP_PULL_MEASURE,  /* the runtime measurement; before the mount, so that its failure has nothing to undo */
    GP_PULL_ROOTFS,   /* the mount, config.json, the receipt */
    GP_PULL_DONE,
    GP_PULL_FAILED,
} GpPullState;

const char *gp_pull_state_name(GpPullState state); /* "resolve"; used in timings and progress */

typedef struct _GpPull GpPull;

/* @options is borrowed and must outlive the pull. */
GpPull *gp_pull_new(const GpPullOptions *options);
void gp_pull_free(GpPull *pull);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpPull, gp_pull_free)

/* First half, from a process that has no other threads yet: starts the fetch worker if the image is a registry's, gives
 * the network up, and starts the guard of the deadline and of signals (puller/cancel.h). Errors: INVALID, USAGE,
 * SANDBOX. */
gboolean gp_pull_prepare(GpPull *pull, GError **error);

/* Second half: runs it to DONE or FAILED. Without options->bundle it ends after VERIFY. On failure nothing is mounted
 * and nothing half made is left; layers that were complete and verified stay in the store when only the network or the
 * time ran out. May be called once. Errors: all. */
gboolean gp_pull_run(GpPull *pull, GError **error);

/* After a gp_pull_run() that succeeded with a bundle: whoever asked has the answer and the mount is his; or could not
 * be given the answer, and all of it is undone. One of the two is to be called, or the mount counts as a killed pull's.
 */
void gp_pull_keep(GpPull *pull);
void gp_pull_undo(GpPull *pull);

/* Valid after gp_pull_run(), borrowed. The verdict may be NULL when the failure came before it. */
const GpVerdict *gp_pull_verdict(const GpPull *pull);
const GpDigest *gp_pull_manifest_digest(const GpPull *pull);

/* {"image","manifestDigest","configDigest","encrypted","layers","verdict","location",
 * "warnings","rootfs","measurement","receipt","timings","bytes"}:
 * as much as is known. New reference. */
json_t *gp_pull_report(const GpPull *pull);

/* What failed at one place and was made good at another: array of strings, new reference. In the report too. */
json_t *gp_pull_warnings(const GpPull *pull);

/* Seconds by state and in total, and the HTTP requests (puller/request_log.h); new reference. In the report too. */
json_t *gp_pull_timings(const GpPull *pull);

/* A look at a running pull, from any thread: one row a layer. */
typedef struct {
    char digest[20]; /* the first digits, for people */
    int state;       /* GpLayerState */
    guint64 size, fetched;
} GpPullLayerStatus;
typedef struct {
    GpPullState state;
    GArray *layers; /* GpPullLayerStatus; owned by the caller after gp_pull_status() */
} GpPullStatus;
void gp_pull_status(GpPull *pull, GpPullStatus *status);
