#include "puller/notes.h"

#include "base/error.h"

#define MAX_NOTES 100 /* the first ones say it all */

struct _GpNotes {
    GMutex lock;
    GPtrArray *texts; /* char*; under the lock */
};

GpNotes *gp_notes_new(void)
{
    GpNotes *notes = g_new0(GpNotes, 1);
    g_mutex_init(&notes->lock);
    notes->texts = g_ptr_array_new_with_free_func(g_free);
    return notes;
}

void gp_notes_free(GpNotes *notes)
{
    if (!notes)
        return;
    g_ptr_array_unref(notes->texts);
    g_mutex_clear(&notes->lock);
    g_free(notes);
}

void gp_notes_add(GpNotes *notes, const char *where, const GError *problem)
{
    if (!notes)
        return;
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(problem, &message, &hint);
    g_mutex_lock(&notes->lock);
    if (notes->texts->len < MAX_NOTES)
        g_ptr_array_add(notes->texts, g_strdup_printf("%s: %s", where, message));
    g_mutex_unlock(&notes->lock);
}

json_t *gp_notes_to_json(GpNotes *notes)
{
    json_t *list = json_array();
    g_mutex_lock(&notes->lock);
    for (guint i = 0; i < notes->texts->len; i++)
        json_array_append_new(list, json_string(notes->texts->pdata[i]));
    g_mutex_unlock(&notes->lock);
    return list;
}
