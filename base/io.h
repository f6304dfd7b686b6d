/* Small I/O helpers that GLib lacks: whole reads and writes, and reading a file that may be hostile. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* An fd that closes itself: GP_AUTOFD int fd = -1; */
void gp_close_fd(int *fd);
#define GP_AUTOFD __attribute__((cleanup(gp_close_fd)))
/* Takes the value out of @fd and leaves -1. */
int gp_steal_fd(int *fd);

/* Writes all @length bytes or fails; EINTR is handled, and EAGAIN waited out with poll(). Errors: INTERNAL or SPACE. */
gboolean gp_write_all(int fd, const void *data, gsize length, GError **error);

/* Reads up to @length bytes, fewer only at end of file; -1 on error. Errors: INTERNAL. */
gssize gp_read_full(int fd, void *data, gsize length, GError **error);

/* Reads @fd to its end into memory. Errors: LIMIT when there are more than @max bytes (named @what), INTERNAL. */
GBytes *gp_read_all(int fd, gsize max, const char *what, GError **error);

/* Opens a regular file for reading without following a link in its last component and without blocking on a fifo or
 * device. Errors: NOT_FOUND; INVALID when it is no regular file; INTERNAL. */
int gp_open_regular(int dirfd, const char *path, GError **error);

/* gp_open_regular() and gp_read_all(). */
GBytes *gp_read_file(int dirfd, const char *path, gsize max, const char *what, GError **error);

/* Creates @path and its missing parents with @mode. Errors: INTERNAL, SPACE. */
gboolean gp_mkdir_p(const char *path, mode_t mode, GError **error);

/* Removes a tree below @dirfd without following links and without crossing into another filesystem; absent is success.
 */
gboolean gp_remove_tree(int dirfd, const char *name, GError **error);
