/* One run of "guest-pull pull", wherever it happens: as our own child (run_child.c), or, where systemd holds this
 * service in a mount namespace of its own, in a unit that it starts for the connection that we make (run_unit.c, and
 * serve_pull.c at its other end). Either way: when it ends without a digest, nothing is at <bundle>/rootfs. All in the
 * main thread. */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <sys/types.h>

#include "service/bundle_dir.h"

typedef struct {
    char *program;       /* absolute path of guest-pull */
    char *config;        /* --config of the puller; NULL: its default */
    char **bundle_roots; /* NULL-ended */
    char **extra;        /* further options for the puller (debugging); NULL-ended or NULL */
    char *pull_socket;   /* where systemd waits with a unit for each pull; NULL: pulls are our own children */
} GpRunConfig;

typedef struct {
    const char *request; /* its id */
    const char *image;
    GpBundleDir *bundle; /* borrowed; must outlive the run */
    guint seconds;       /* after which the puller gives up by itself */
} GpRunJob;

typedef struct {
    /* The puller's latest state, checked by gp_pull_progress_check(); borrowed. At most ten times a second. */
    void (*progress)(json_t *progress, guint64 fetched, guint64 size, gpointer user_data);
    /* The end, with a digest or @why; the last callback. The callee frees the run. */
    void (*ended)(const char *digest, const GError *why, gpointer user_data);
} GpRunCalls;

typedef struct _GpRun GpRun;

/* @config and @calls must outlive the run; @job's strings are copied. Errors: NOT_FOUND (no such program, no unit),
 * INTERNAL. */
GpRun *gp_run_start(
    const GpRunConfig *config, const GpRunJob *job, const GpRunCalls *calls, gpointer user_data, GError **error);

/* Asks it to end; it will (GP_RUN_GRACE_MS later by force), and as a failure, even if it succeeds at this moment. */
void gp_run_stop(GpRun *run);
#define GP_RUN_GRACE_MS 2000

/* Stops it and waits for that until @end (monotonic), then by force; calls nobody back. To be freed next. */
void gp_run_finish(GpRun *run, gint64 end);
void gp_run_free(GpRun *run);

/* The puller's process, 0 as long as it is not known. */
pid_t gp_run_pid(const GpRun *run);
