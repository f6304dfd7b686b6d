/* A thread that gives finished layers to whoever waits for them: see storage/staging.c. */
#include "storage/store_internal.h"

#define INTERVAL (G_USEC_PER_SEC / 4)

struct _GpStoreGiver {
    GpStore *store;
    GMutex lock;
    GCond stop;
    gboolean stopped; /* under the lock */
    GThread *thread;
};

static gpointer run(gpointer data)
{
    GpStoreGiver *giver = data;
    g_mutex_lock(&giver->lock);
    while (!giver->stopped) {
        gint64 next = g_get_monotonic_time() + INTERVAL;
        if (!g_cond_wait_until(&giver->stop, &giver->lock, next) && !giver->stopped) {
            g_mutex_unlock(&giver->lock);
            gp_store_give_finished(giver->store);
            g_mutex_lock(&giver->lock);
        }
    }
    g_mutex_unlock(&giver->lock);
    return NULL;
}

GpStoreGiver *gp_store_giver_start(GpStore *store)
{
    GpStoreGiver *giver = g_new0(GpStoreGiver, 1);
    giver->store = store;
    g_mutex_init(&giver->lock);
    g_cond_init(&giver->stop);
    giver->thread = g_thread_new("giver", run, giver);
    return giver;
}

void gp_store_giver_free(GpStoreGiver *giver)
{
    g_mutex_lock(&giver->lock);
    giver->stopped = TRUE;
    g_cond_signal(&giver->stop);
    g_mutex_unlock(&giver->lock);
    g_thread_join(giver->thread);
    g_mutex_clear(&giver->lock);
    g_cond_clear(&giver->stop);
    g_free(giver);
}
