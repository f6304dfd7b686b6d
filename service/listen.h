/* Listening on a unix socket that only root may use, and being started by systemd. */
#pragma once

#include <glib.h>

/* A listening, non-blocking socket at @path with mode 0600, its directory created if missing. A socket left over by a
 * dead process (nobody answers) is replaced; anything else at @path is not touched. Errors: USAGE (somebody serves
 * there, or it is no socket), INTERNAL. */
int gp_listen_unix(const char *path, GError **error);

/* Removes the socket at @path if it is the one that @fd listens on. */
void gp_listen_remove(const char *path, int fd);

/* The sockets that systemd handed over (sd_listen_fds(3)), by FileDescriptorName=: the one called @name, or (@name
 * NULL) the first one that is not called "status". -1 without @error: none was handed over. Errors: USAGE (it is no
 * listening unix stream socket). Removes nothing from the environment: children get a cleaned one. */
int gp_listen_inherited(const char *name, GError **error);

/* Accepts one connection as a non-blocking socket; -1 when there is none. A peer that is neither root nor ourselves is
 * turned away with a log line (-1 too). */
int gp_listen_accept(int listen_fd);

/* sd_notify(3): tells the supervisor @state ("READY=1"), if there is one that wants to know. */
void gp_listen_notify(const char *state);
