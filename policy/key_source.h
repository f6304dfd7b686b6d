/* Where a policy says that a key or certificate is: by location, or inside the policy itself. */
#pragma once

#include <glib.h>
#include <jansson.h>

/* Exactly one of the two is set. */
typedef struct {
    char *location; /* absolute path, file:// or kbs:// URI */
    GBytes *data;   /* inline, decoded */
} GpKeySource;

void gp_key_source_free(GpKeySource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpKeySource, gp_key_source_free)

/* The up to four spellings of one thing: keyPath, keyPaths, keyData, keyDatas. A spelling that the place does not have
 * has a NULL key; values are what gp_json_fields() found, NULL when absent. */
typedef struct {
    const char *path_key, *paths_key, *data_key, *datas_key;
    json_t *path, *paths, *data, *datas;
} GpKeyForms;

/* Reads the one spelling that is there into a new GPtrArray of GpKeySource*, at least one; *@sources stays NULL when
 * none is there. @place is the JSON path of the object that has them. Errors: INVALID for two spellings, an empty list,
 * an element that is no string, a location that is neither an absolute path nor a file:/// or kbs:/// URI, and data
 * that is not padded base64. */
gboolean gp_key_forms_read(const GpKeyForms *forms, const char *place, GPtrArray **sources, GError **error);

/* The same for what can be there only once; *@source stays NULL when no spelling is there. */
gboolean gp_key_forms_read_one(const GpKeyForms *forms, const char *place, GpKeySource **source, GError **error);
