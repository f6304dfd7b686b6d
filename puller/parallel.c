#include "puller/parallel.h"

#include "base/error.h"

gboolean gp_parallel_run(
    GFunc function, GPtrArray *items, gpointer user_data, guint threads, GCompareDataFunc order, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (items->len == 0)
        return TRUE;
    /* Exclusive: its threads are made here, and one that has none would keep what is pushed, and us, for ever. */
    GThreadPool *pool = g_thread_pool_new(function, user_data, (gint) CLAMP(threads, 1, items->len), TRUE, &cause);
    gboolean some = g_thread_pool_get_num_threads(pool) > 0;
    if (order)
        g_thread_pool_set_sort_function(pool, order, NULL);
    for (guint i = 0; some && i < items->len; i++)
        g_thread_pool_push(pool, items->pdata[i], NULL);
    g_thread_pool_free(pool, !some, some);
    if (!some)
        g_set_error(error, GP_ERROR, GP_ERROR_SPACE, "no thread: %s", cause ? cause->message : "none was made");
    return some;
}
