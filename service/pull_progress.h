/* What a puller says about itself while it works (cli/progress.h): one message a change, perhaps hostile, because the
 * puller parsed hostile bytes. */
#pragma once

#include <glib.h>
#include <jansson.h>

/* Checks {"state","layers":[{"digest","state","size","fetched"}]}: nothing else, words that are words, at most
 * GP_LIMIT_LAYERS layers. *@fetched and *@size are the bytes of all layers. Errors: INVALID, LIMIT. */
gboolean gp_pull_progress_check(json_t *progress, guint64 *fetched, guint64 *size, GError **error);
