#include "cli/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/output.h"
#include "puller/layers.h"

#define INTERVAL (G_USEC_PER_SEC / 10)
#define MAX_LINES 24

struct _GpProgress {
    GpPull *pull;
    GThread *thread;
    GMutex lock;
    GCond wake;
    gboolean stop;
    gboolean terminal;
    guint drawn; /* lines on the terminal that the next drawing replaces */
    GpPullState announced;
    GArray *reported; /* layer states already printed in plain lines */
};

static const char *state_word(int state)
{
    switch ((GpLayerState) state) {
    case GP_LAYER_WAITING:
        return "waiting";
    case GP_LAYER_PULLING:
        return "pulling";
    case GP_LAYER_DONE:
        return "verified";
    case GP_LAYER_REUSED:
        return "reused";
    case GP_LAYER_FAILED:
        return "failed";
    }
    return "";
}

static void draw_bar(const GpPullLayerStatus *layer)
{
    enum { WIDTH = 24 };
    char bar[WIDTH + 1];
    double part = layer->size ? (double) layer->fetched / (double) layer->size : 1;
    gboolean whole = layer->state == GP_LAYER_DONE || layer->state == GP_LAYER_REUSED;
    int filled = whole ? WIDTH : (int) (CLAMP(part, 0, 1) * WIDTH);
    memset(bar, ' ', WIDTH);
    memset(bar, '=', (gsize) filled);
    bar[WIDTH] = '\0';
    g_autofree char *size = gp_format_bytes(layer->size);
    (void) fprintf(stderr, "\033[2K  %s  [%s] %9s  %s\n", layer->digest, bar, size, state_word(layer->state));
}

static void draw_terminal(GpProgress *progress, const GpPullStatus *status)
{
    if (progress->drawn)
        (void) fprintf(stderr, "\033[%uA", progress->drawn);
    (void) fprintf(stderr, "\033[2K%s\n", gp_pull_state_name(status->state));
    guint shown = MIN(status->layers->len, MAX_LINES);
    for (guint i = 0; i < shown; i++)
        draw_bar(&g_array_index(status->layers, GpPullLayerStatus, i));
    progress->drawn = shown + 1;
}

static void draw_plain(GpProgress *progress, const GpPullStatus *status)
{
    for (guint i = 0; i < status->layers->len; i++) {
        const GpPullLayerStatus *layer = &g_array_index(status->layers, GpPullLayerStatus, i);
        if (progress->reported->len <= i)
            g_array_set_size(progress->reported, i + 1);
        int *before = &g_array_index(progress->reported, int, i);
        if (*before == layer->state)
            continue;
        *before = layer->state;
        g_autofree char *size = gp_format_bytes(layer->size);
        (void) fprintf(stderr, "layer %s %s (%s)\n", layer->digest, state_word(layer->state), size);
    }
    if (progress->announced != status->state)
        (void) fprintf(stderr, "%s\n", gp_pull_state_name(status->state));
    progress->announced = status->state;
}

static void draw(GpProgress *progress)
{
    GpPullStatus status;
    gp_pull_status(progress->pull, &status);
    if (progress->terminal)
        draw_terminal(progress, &status);
    else
        draw_plain(progress, &status);
    g_array_unref(status.layers);
}

static gpointer run(gpointer data)
{
    GpProgress *progress = data;
    g_mutex_lock(&progress->lock);
    while (!progress->stop) {
        gint64 next = g_get_monotonic_time() + INTERVAL;
        (void) g_cond_wait_until(&progress->wake, &progress->lock, next);
        g_mutex_unlock(&progress->lock);
        draw(progress);
        g_mutex_lock(&progress->lock);
    }
    g_mutex_unlock(&progress->lock);
    return NULL;
}

GpProgress *gp_progress_start(GpPull *pull)
{
    GpProgress *progress = g_new0(GpProgress, 1);
    progress->pull = pull;
    progress->terminal = isatty(STDERR_FILENO);
    progress->reported = g_array_new(FALSE, TRUE, sizeof(int));
    g_mutex_init(&progress->lock);
    g_cond_init(&progress->wake);
    progress->thread = g_thread_new("progress", run, progress);
    return progress;
}

void gp_progress_stop(GpProgress *progress)
{
    if (!progress)
        return;
    g_mutex_lock(&progress->lock);
    progress->stop = TRUE;
    g_cond_signal(&progress->wake);
    g_mutex_unlock(&progress->lock);
    (void) g_thread_join(progress->thread);
    g_array_unref(progress->reported);
    g_cond_clear(&progress->wake);
    g_mutex_clear(&progress->lock);
    g_free(progress);
}
