/* Every header of a tar, read a second time: libarchive says where entries are, of what type, and what they contain;
 * this reader says exactly who they belong to, when they changed and what they are called (storage/worker_pax.h tells
 * why), and where it has each of them begin. Where the two do not agree, two other readers would not either, and the
 * archive is refused.
 *
 * Strict: an unknown type, two extended headers in a row, a long name beside a pax path, a lone zero block that has
 * entries behind it: each is read differently by different tools, and none is written by one. */
#pragma once

#include <glib.h>
#include <time.h>

typedef struct {
    guint64 offset; /* of its first block in the archive: the extended header, if it has one */
    char *path;     /* as it stands there: not normalized, never empty, no NUL inside */
    char *link_target;
    guint32 uid, gid;
    struct timespec mtime;
} GpUnpackHeader;

void gp_unpack_header_free(GpUnpackHeader *header);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpUnpackHeader, gp_unpack_header_free)

typedef struct _GpUnpackHeaders GpUnpackHeaders;

GpUnpackHeaders *gp_unpack_headers_new(void);
void gp_unpack_headers_free(GpUnpackHeaders *headers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpUnpackHeaders, gp_unpack_headers_free)

/* The next bytes of the archive, any number of them. What is wrong with them is told by gp_unpack_headers_next() behind
 * the last good entry. */
void gp_unpack_headers_feed(GpUnpackHeaders *headers, const guint8 *data, gsize length);

/* The next entry that was fed completely, @offset being where it must begin; the caller frees. Errors: INVALID (also:
 * it begins elsewhere, or is not there), UNSUPPORTED, LIMIT. */
GpUnpackHeader *gp_unpack_headers_next(GpUnpackHeaders *headers, guint64 offset, GError **error);

/* After the archive's last byte: is there nothing left that was not taken? Errors: as above. */
gboolean gp_unpack_headers_finish(GpUnpackHeaders *headers, GError **error);
