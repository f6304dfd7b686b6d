/* Several things at once. */
#pragma once

#include <glib.h>

/* Calls @function with each of @items and @user_data, in up to @threads threads, and waits until all are done. @order
 * (NULL: as they lie) says which come first. Fewer threads than wanted do; with none, nothing is done. Errors: SPACE
 * (no thread). */
gboolean gp_parallel_run(
    GFunc function, GPtrArray *items, gpointer user_data, guint threads, GCompareDataFunc order, GError **error);
