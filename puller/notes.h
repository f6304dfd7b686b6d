/* What went wrong on the way and was made good elsewhere: told to people beside the result. Any thread may add. */
#pragma once

#include <glib.h>
#include <jansson.h>

typedef struct _GpNotes GpNotes;

GpNotes *gp_notes_new(void);
void gp_notes_free(GpNotes *notes);

/* Adds "@where: what @problem says", @problem's hint left out. @notes may be NULL: then nobody wants to know. */
void gp_notes_add(GpNotes *notes, const char *where, const GError *problem);

/* Array of strings; new reference. */
json_t *gp_notes_to_json(GpNotes *notes);
