/* What names and numbers in tar headers mean: number fields, and the records of pax extended headers (POSIX.1-2017,
 * pax, "pax Extended Header"). libarchive 3.6 rounds here what a layer must keep: it takes an owner that is no number,
 * or an empty one, for 0, ends names at a NUL, loses the sign of "-0.25" and passes over records that are none. */
#pragma once

#include <glib.h>
#include <time.h>

/* A number field of a header block: octal between spaces and NULs, or GNU's base-256 with a sign. FALSE: neither, or
 * beyond 63 bits. */
gboolean gp_unpack_number(const guint8 *field, gsize size, gint64 *value);

/* What an extended header says over the block behind it, as far as it matters here. */
typedef struct {
    char *path;        /* NULL: not said */
    char *link_target; /* NULL: not said */
    gboolean has_uid, has_gid, has_size, has_mtime;
    guint32 uid, gid;
    gint64 size;
    struct timespec mtime;
    gboolean sparse_name; /* path is GNU.sparse.name, which goes before "path" */
} GpUnpackPax;

void gp_unpack_pax_clear(GpUnpackPax *pax);

/* Reads the records of one extended header into @pax, over what it has: of two of one key the last counts, and one
 * without a value takes back what was said, so that the block's own field counts (but not of "size"). @global: a "g"
 * header, where only owners and times may be said. Errors: INVALID (malformed, or not the number that it should be),
 * UNSUPPORTED (a global name, size or attribute), LIMIT. */
gboolean gp_unpack_pax_read(GpUnpackPax *pax, const guint8 *data, gsize length, gboolean global, GError **error);
