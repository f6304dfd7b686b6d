/* The inside of a GpPull. Included by puller/pull.c, puller/pull_resolve.c and puller/pull_report.c only. */
#pragma once

#include "policy/credentials.h"
#include "policy/lookaside.h"
#include "policy/policy.h"
#include "policy/registries.h"
#include "puller/fetch.h"
#include "puller/key_provider.h"
#include "puller/layers.h"
#include "puller/notes.h"
#include "puller/pull.h"
#include "puller/resource.h"
#include "puller/source.h"
#include "puller/verify.h"
#include "storage/store.h"

struct _GpPull {
    const GpPullOptions *options;
    GMutex lock; /* what gp_pull_status() reads */
    GpPullState state;
    gint64 started;                   /* wall clock, microseconds */
    gint64 entered;                   /* monotonic microseconds */
    gint64 spent[GP_PULL_FAILED + 1]; /* by state */

    GpImageName *name;
    GpResources *resources;
    GpReference *as;             /* --as */
    const GpReference *identity; /* of either of the two; NULL for a nameless local image */
    GpPolicy *policy;
    char *policy_digest;
    const char *scope;
    GPtrArray *requirements;
    GpVerifyMaterial *material; /* NULL until the requirements are known */
    GThread *loader;            /* loads what the store needs; NULL: not started */
    GpCredentials *credentials;
    GpLookaside *lookaside;

    GpFetch *fetch;
    GpRegistries *registries;
    GPtrArray *locations; /* GpLocation*; of a registry's image */
    guint location;       /* of them: the one that is asked now */
    GpNotes *notes;
    GpSource *source;
    GpManifest *manifest;
    GBytes *manifest_bytes;
    GpVerifySubject subject;
    GpVerdict *verdict;
    GpImageConfig *config;
    GBytes *config_bytes;
    GpKeyProviders *providers; /* NULL unless a layer is encrypted */
    GPtrArray *jobs;           /* GpLayerJob* */
    GpStore *store;
    char *rootfs;
    int mounting;      /* see puller/mount.h; -1: nothing is mounted, or it was kept */
    char *measurement; /* what came of it; NULL: not yet */
    char *receipt;     /* its file */
};

/* The worker has the network, the puller gives it up: see gp_pull_prepare(). */
gboolean gp_pull_separate(GpPull *pull, GError **error);
/* RESOLVE. Errors: POLICY, KEY, INVALID, USAGE, LIMIT. */
gboolean gp_pull_resolve(GpPull *pull, GError **error);
