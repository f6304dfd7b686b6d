/* What run.c knows of the two kinds of a run. */
#pragma once

#include "service/run.h"

typedef struct {
    void (*stop)(GpRun *run);
    void (*finish)(GpRun *run, gint64 end);
    void (*free)(GpRun *run); /* what is beyond GpRun itself */
} GpRunKind;

/* The first member of both kinds. */
struct _GpRun {
    const GpRunKind *kind;
    const GpRunConfig *config;
    const GpRunCalls *calls;
    gpointer user_data;
    char *request, *image;
    GpBundleDir *bundle;
    guint seconds;
    pid_t pid;
    gboolean stopping;
};

/* Both take @run, filled by gp_run_start(), zero beyond GpRun; FALSE with @error: nothing was started. */
gsize gp_run_child_size(void);
gboolean gp_run_child_start(GpRun *run, GError **error);
gsize gp_run_unit_size(void);
gboolean gp_run_unit_start(GpRun *run, GError **error);

/* Removes and zeroes a source, if there is one. */
void gp_run_remove_source(guint *source);
