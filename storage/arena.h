/* Memory that is given out piece by piece and taken back all at once, and that need not stay in memory: beyond a few
 * MiB of the whole process it lies in a file without a name, whose pages the kernel may write out and take back. For
 * what a layer keeps of each of its names until it is committed: of a million that are 170 MB. */
#pragma once

#include <glib.h>

typedef struct _GpArena GpArena;

/* @directory_fd: where the file may be made, on the disk that holds the layer itself; borrowed until
 * gp_arena_free(). -1, or a filesystem that cannot: all of it stays in memory. */
GpArena *gp_arena_new(int directory_fd);
void gp_arena_free(GpArena *arena);

/* @size bytes (at most GP_ARENA_LARGEST) of zeros, on a multiple of 8; valid until the arena is freed. Never NULL:
 * without memory the process ends, as in all of GLib. *@ref, unless NULL, becomes a name for it in half a pointer's
 * size. By one thread at a time. */
#define GP_ARENA_LARGEST (64 * 1024)
gpointer gp_arena_alloc(GpArena *arena, gsize size, guint32 *ref);
/* What has the name @ref. */
gpointer gp_arena_at(const GpArena *arena, guint32 ref);

/* Gives the file's pages back to the kernel's cache; whoever looks again has them again. From any thread, whoever else
 * reads or writes there. */
void gp_arena_rest(GpArena *arena);
/* To be called for each piece by whoever walks through much of the arena: does that after some MiB. From any thread. */
void gp_arena_passed(GpArena *arena);

/* To be asked at the end, before what was made of the arena's content counts: a page that the disk did not take may
 * have come back empty. Errors: DIGEST (integrity). */
gboolean gp_arena_check(const GpArena *arena, GError **error);
