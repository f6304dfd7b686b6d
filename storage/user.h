/* Who the image's process is: "user[:group]" of an image configuration looked up in the image's own /etc/passwd and
 * /etc/group. */
#pragma once

#include <glib.h>

typedef struct {
    guint32 uid, gid;
    GArray *additional_gids; /* guint32, ascending, without gid; never NULL */
    char *home;              /* of the passwd line, else "/" */
} GpUser;

/* Resolves @text (NULL or "" is uid 0) by the files below @rootfs_fd. A symbolic link there is followed only inside
 * (openat2 RESOLVE_IN_ROOT), a file that is not a regular one is never opened.
 *
 * The rules are those of the container engines (Docker, containerd, Podman): a number is always an id and needs no
 * line; a number without a line has group 0; supplementary groups are those whose lines list the user's name, unless a
 * group was named. Errors: INVALID naming the user or group that does not exist, or what is malformed; LIMIT (a file
 * above GP_LIMIT_PASSWD, or one of too many groups); INTERNAL. */
gboolean gp_user_resolve(int rootfs_fd, const char *text, GpUser *user, GError **error);

void gp_user_clear(GpUser *user);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GpUser, gp_user_clear)
