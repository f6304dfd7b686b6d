/* One entry of a layer as the unpack worker reports it, and its wire form. The worker reads tar; the puller believes
 * nothing: gp_entry_decode() re-validates everything. Paths are relative, "a/b" without leading "./", "" is the layer's
 * root directory. */
#pragma once

#include <glib.h>
#include <sys/types.h>
#include <time.h>

/* Frame types of the unpack worker's output, in this order: (ENTRY (DATA | SHARED)*)* END, or ERROR at any time. */
typedef enum {
    GP_UNPACK_READY = 1, /* confined; sent once, first, empty */
    GP_UNPACK_ENTRY,     /* encoded GpEntry */
    GP_UNPACK_DATA,      /* u64 LE file offset, then content of the last regular entry, ascending, gaps are holes */
    GP_UNPACK_END,       /* diffID as text, then u64 LE count of uncompressed bytes */
    GP_UNPACK_ERROR,     /* JSON {"code","message"} */
    GP_UNPACK_SHARED,    /* as DATA: u64 LE file offset, then where the content lies in the shared memory: u32 LE each,
                            first byte and length */
} GpUnpackFrame;

/* The memory that the worker may share with the puller: it unpacks into the slots one after the other and tells by
 * SHARED frames which bytes are whose content; a slot is filled again when all frames about it were taken. Behind the
 * slots lies a page with GpSharedCount. */
#define GP_SHARED_SLOT (128 * 1024)
#define GP_SHARED_SLOTS 4
#define GP_SHARED_SIZE (GP_SHARED_SLOT * GP_SHARED_SLOTS)
#define GP_SHARED_COUNT_SIZE 4096

/* What the puller tells the worker, who waits for @taken as a futex; nothing here is believed by the puller. */
typedef struct {
    guint32 taken;   /* SHARED frames whose content the puller has copied, modulo 2^32 */
    guint32 waiting; /* 1: the worker wants to be woken */
} GpSharedCount;

typedef struct {
    char *name;
    guint8 *value;
    gsize size;
} GpXattr;

/* A growing list of GpXattr that frees what it holds; g_array_unref() ends it. */
GArray *gp_xattrs_new(void);
/* Appends copies of @name and @value. */
void gp_xattrs_add(GArray *xattrs, const char *name, const void *value, gsize size);
/* Sorts by the names' bytes, as the wire form and libostree's object headers want it. */
void gp_xattrs_sort(GArray *xattrs);

typedef struct {
    char *path;  /* bytes, not necessarily UTF-8 */
    mode_t mode; /* type and permission bits */
    guint32 uid, gid;
    struct timespec mtime;
    guint64 size; /* regular files */
    guint32 rdev_major, rdev_minor;
    char *link_target; /* symlink target verbatim, or a hard link's target path (normalized like path) */
    gboolean hardlink; /* then mode, owner and the rest are the target's and ignored */
    GArray *xattrs;    /* GpXattr, sorted by name; NULL: none */
} GpEntry;

void gp_entry_clear(GpEntry *entry);
void gp_entry_free(GpEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpEntry, gp_entry_free)

/* The wire form; INVALID or LIMIT if @entry breaks a rule (the worker checks too, to blame the archive and not itself).
 */
GBytes *gp_entry_encode(const GpEntry *entry, GError **error);

/* Reads the wire form and checks: path components (no empty, ".", "..", NUL, over-long), depth, types, sizes, xattr
 * names (no "trusted.overlay."), device 0:0, limits.h. Errors: INVALID "forbidden path …", LIMIT,
 * SANDBOX (not our format). */
GpEntry *gp_entry_decode(const guint8 *data, gsize length, GError **error);
