/* Pulls on their way into a bundle. Whoever is killed between the mount and the answer leaves a mount that nobody knows
 * of, and the next try would meet it: so a locked file in the runtime directory says what is going on, and whoever
 * finds it there without its lock clears up first. */
#pragma once

#include <glib.h>

/* Begins the work in @bundle, which must exist: the file @runtime_dir/mounting/<hash of the path>, locked until the
 * descriptor that is returned is closed. What a dead process left in @bundle (mounts of ours, half a config.json) goes.
 * Errors: INVALID (a living process is at work there), NOT_FOUND (no @bundle), INTERNAL, SPACE. */
int gp_mounting_begin(const char *runtime_dir, const char *bundle, GError **error);

/* Ends it: what is in @bundle now is there to stay, or nothing is. Closes *@fd; -1: nothing was begun. */
void gp_mounting_end(const char *runtime_dir, const char *bundle, int *fd);
