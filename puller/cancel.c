#include "puller/cancel.h"

#include <errno.h>
#include <signal.h>

#include "base/error.h"
#include "base/worker.h"

/* 0: go on; a signal's number; or -1 for the deadline. */
static gint reason;
static guint limit;
static sigset_t watched;

static gpointer guard(gpointer unused)
{
    gint64 end = g_get_monotonic_time() + (gint64) limit * G_USEC_PER_SEC;
    for (;;) {
        gint64 left = end - g_get_monotonic_time();
        struct timespec wait = {.tv_sec = limit ? MAX(left, 0) / G_USEC_PER_SEC : 3600,
            .tv_nsec = limit ? MAX(left, 0) % G_USEC_PER_SEC * 1000 : 0};
        int number = sigtimedwait(&watched, NULL, &wait);
        if (number < 0 && errno == EAGAIN && limit && g_get_monotonic_time() >= end)
            number = -1;
        else if (number < 0)
            continue;
        g_atomic_int_compare_and_exchange(&reason, 0, number);
        break;
    }
    /* Workers that start in this very moment are caught by the next round. */
    for (;;) {
        gp_worker_kill_all();
        g_usleep(20000);
    }
    return unused;
}

void gp_cancel_guard(guint seconds)
{
    limit = seconds;
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGHUP);
    (void) pthread_sigmask(SIG_BLOCK, &watched, NULL);
    g_thread_unref(g_thread_new("guard", guard, NULL));
}

gboolean gp_cancelled(GError **error)
{
    gint why = g_atomic_int_get(&reason);
    if (why == 0)
        return FALSE;
    if (why < 0)
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
            "not done within %u seconds\nA longer time: --timeout SECONDS.", limit);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED, "interrupted by SIG%s", sigabbrev_np(why));
    return TRUE;
}
