/* Room in the store: the marks of free space that the configuration sets, and images that go when a pull needs more. */
#pragma once

#include <glib.h>

#include "storage/store.h"

/* An amount of a filesystem's space; all 0: nothing. */
typedef struct {
    guint64 bytes; /* 0: percent */
    guint percent;
} GpSpace;

/* Parses "2G", "1048576", "0", "10%". Suffixes K, M, G, T are powers of 1024; at most 100 %. Errors: USAGE, naming
 * @what. */
gboolean gp_space_parse(const char *text, const char *what, GpSpace *space, GError **error);
/* "10%", "1048576"; owned by the caller. */
char *gp_space_format(const GpSpace *space);
/* In bytes, of a filesystem of @total. */
guint64 gp_space_bytes(const GpSpace *space, guint64 total);

/* Parses an age, "90", "30m", "12h" or "7d", into seconds. Errors: USAGE, naming @what. */
gboolean gp_age_parse(const char *text, const char *what, guint64 *seconds, GError **error);

/* Room for a pull whose missing blobs have @missing bytes: if less than @low would stay free, images that are neither
 * mounted nor being pulled go, the least recently pulled first, until @high will. Nothing here is an error: the pull
 * tries with what there is. */
void gp_room_make(GpStore *store, const GpSpace *low, const GpSpace *high, const char *runtime_dir, guint64 missing);
