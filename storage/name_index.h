/* Finds the names of a layer's tree: which reference belongs to a directory and a name in it. Six bytes a slot, and no
 * copying when it grows, so that a million names cost 12 MB at the worst moment too. */
#pragma once

#include <glib.h>

typedef struct _GpNameIndex GpNameIndex;

GpNameIndex *gp_name_index_new(void);
void gp_name_index_free(GpNameIndex *index);

/* A number for @name in the directory @parent, whose address is never used again by another one. */
guint64 gp_name_index_hash(const GpNameIndex *index, gconstpointer parent, const char *name);

/* TRUE if @ref is the one that is looked for. */
typedef gboolean (*GpNameMatch)(gconstpointer data, guint32 ref);

/* The reference under @hash that @match says yes to; 0: there is none. */
guint32 gp_name_index_find(const GpNameIndex *index, guint64 hash, GpNameMatch match, gconstpointer data);
/* Adds @ref, which is not 0. */
void gp_name_index_add(GpNameIndex *index, guint64 hash, guint32 ref);
/* Takes the @ref out that was added under @hash. */
void gp_name_index_remove(GpNameIndex *index, guint64 hash, guint32 ref);
