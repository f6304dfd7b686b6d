#include "cli/progress.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "cli/output.h"
#include "puller/layers.h"

#define INTERVAL (G_USEC_PER_SEC / 10)
#define CHANNEL_INTERVAL (G_USEC_PER_SEC / 5)
#define MAX_LINES 24

struct _GpProgress {
    GpPull *pull;
    GThread *thread;
    GMutex lock;
    GCond wake;
    gboolean stop;
    gboolean quiet; /* nothing on standard error */
    gboolean terminal;
    int channel;     /* where the service wants to be told; -1: nobody does */
    gint64 next_say; /* not before, monotonic */
    char *said;      /* the last message */
    guint drawn;     /* lines on the terminal that the next drawing replaces */
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

static void G_GNUC_PRINTF(1, 2) print_line(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *line = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (gp_log_format() != GP_LOG_TEXT)
        gp_log(G_LOG_LEVEL_INFO, gp_request_id(), "%s", line);
    else
        (void) fprintf(stderr, "%s\n", line);
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
        print_line("layer %s %s (%s)", layer->digest, state_word(layer->state), size);
    }
    if (progress->announced != status->state)
        print_line("%s", gp_pull_state_name(status->state));
    progress->announced = status->state;
}

static char *message(const GpPullStatus *status)
{
    json_t *layers = json_array();
    for (guint i = 0; i < status->layers->len; i++) {
        const GpPullLayerStatus *layer = &g_array_index(status->layers, GpPullLayerStatus, i);
        json_array_append_new(
            layers, json_pack("{s:s, s:s, s:I, s:I}", "digest", layer->digest, "state", state_word(layer->state),
                        "size", (json_int_t) layer->size, "fetched", (json_int_t) layer->fetched));
    }
    g_autoptr(json_t) all = json_pack("{s:s, s:o}", "state", gp_pull_state_name(status->state), "layers", layers);
    g_autofree char *text = gp_json_to_text(all, FALSE);
    return g_strconcat(text, "\n", NULL);
}

/* A channel that is full loses the message: the next one says more. */
static void say(GpProgress *progress, const GpPullStatus *status, gboolean last)
{
    gint64 now = g_get_monotonic_time();
    if (now < progress->next_say && !last)
        return;
    g_autofree char *text = message(status);
    if (g_strcmp0(text, progress->said) == 0)
        return;
    (void) !write(progress->channel, text, strlen(text));
    progress->next_say = now + CHANNEL_INTERVAL;
    g_free(progress->said);
    progress->said = g_steal_pointer(&text);
}

static void draw(GpProgress *progress, gboolean last)
{
    GpPullStatus status;
    gp_pull_status(progress->pull, &status);
    if (progress->channel >= 0)
        say(progress, &status, last);
    if (!progress->quiet && progress->terminal)
        draw_terminal(progress, &status);
    else if (!progress->quiet)
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
        gboolean last = progress->stop;
        g_mutex_unlock(&progress->lock);
        draw(progress, last);
        g_mutex_lock(&progress->lock);
    }
    g_mutex_unlock(&progress->lock);
    return NULL;
}

/* GUEST_PULL_PROGRESS_FD names a descriptor that whoever started us left open for this; no process of ours inherits it.
 */
static int open_channel(void)
{
    const char *text = g_getenv("GUEST_PULL_PROGRESS_FD");
    guint64 number;
    if (!text || !g_ascii_string_to_unsigned(text, 10, STDERR_FILENO + 1, G_MAXINT32, &number, NULL) ||
        fcntl((int) number, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return (int) number;
}

GpProgress *gp_progress_start(GpPull *pull, gboolean quiet)
{
    int channel = open_channel();
    if (quiet && channel < 0)
        return NULL;
    GpProgress *progress = g_new0(GpProgress, 1);
    progress->pull = pull;
    progress->quiet = quiet;
    progress->channel = channel;
    progress->terminal = gp_log_format() == GP_LOG_TEXT && isatty(STDERR_FILENO);
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
    g_free(progress->said);
    g_cond_clear(&progress->wake);
    g_mutex_clear(&progress->lock);
    g_free(progress);
}
