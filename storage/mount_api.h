/* Small things over fsopen(2) and its relatives, for the two kinds of mounts that we make. */
#pragma once

#include <glib.h>

#define GP_MOUNT_SOURCE "guest-pull"

/* A new context for file system @type whose source shows as GP_MOUNT_SOURCE in /proc/self/mountinfo. -1 and errno on
 * failure. */
int gp_mount_open(const char *type);

/* Sets option @key to @value (NULL: a flag). FALSE and errno on failure. */
gboolean gp_mount_set(int context, const char *key, const char *value);

/* Creates the file system and a detached mount of it. -1 and errno on failure. */
int gp_mount_create(int context);

/* What the kernel has to say about the last failure on @context, "" if nothing; owned by the caller. */
char *gp_mount_log(int context);
