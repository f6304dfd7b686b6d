#include "service/run.h"

#include "service/run_private.h"

GpRun *gp_run_start(
    const GpRunConfig *config, const GpRunJob *job, const GpRunCalls *calls, gpointer user_data, GError **error)
{
    gboolean unit = config->pull_socket != NULL;
    GpRun *run = g_malloc0(unit ? gp_run_unit_size() : gp_run_child_size());
    run->config = config;
    run->calls = calls;
    run->user_data = user_data;
    run->request = g_strdup(job->request);
    run->image = g_strdup(job->image);
    run->bundle = job->bundle;
    run->seconds = job->seconds;
    if (unit ? gp_run_unit_start(run, error) : gp_run_child_start(run, error))
        return run;
    gp_run_free(run);
    return NULL;
}

void gp_run_stop(GpRun *run)
{
    if (run->stopping)
        return;
    run->stopping = TRUE;
    run->kind->stop(run);
}

void gp_run_finish(GpRun *run, gint64 end)
{
    gp_run_stop(run);
    run->kind->finish(run, end);
}

void gp_run_free(GpRun *run)
{
    if (!run)
        return;
    run->kind->free(run);
    g_free(run->request);
    g_free(run->image);
    g_free(run);
}

pid_t gp_run_pid(const GpRun *run)
{
    return run->pid;
}

void gp_run_remove_source(guint *source)
{
    if (*source)
        g_source_remove(*source);
    *source = 0;
}
