/* Strict JSON over jansson: what two parsers could read differently is refused (duplicate keys, trailing data, NUL,
 * excessive depth or size), and errors name the place inside the document: "$.transports.docker[0].type". */
#pragma once

#include <glib.h>
#include <jansson.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

typedef enum {
    GP_JSON_STRING = 1,
    GP_JSON_INTEGER,
    GP_JSON_BOOLEAN,
    GP_JSON_OBJECT,
    GP_JSON_ARRAY,
    GP_JSON_ANY, /* the caller looks at it */
} GpJsonType;

typedef enum {
    GP_JSON_OPTIONAL = 0,
    GP_JSON_MANDATORY = 1 << 0,
    GP_JSON_NULLABLE = 1 << 1,  /* null counts as absent (Go's encoders write it); otherwise null is a type error */
    GP_JSON_NON_EMPTY = 1 << 2, /* an empty string, array or object is an error */
} GpJsonFlags;

/* A row of a document's dispatch table. @value receives a borrowed reference, or NULL when the key is absent. A table
 * ends with a row whose @key is NULL. */
typedef struct {
    const char *key;
    GpJsonType type;
    GpJsonFlags flags;
    json_t **value;
} GpJsonField;

/* Parses one JSON value (any type at the top level) of at most @max_size bytes, GP_LIMIT_JSON_DEPTH levels and
 * GP_LIMIT_JSON_VALUES values (more, if @max_size is above GP_LIMIT_MANIFEST). @what names the document in errors
 * ("policy", "manifest"). Returns a new reference. Errors: INVALID with line and column, LIMIT. */
json_t *gp_json_parse(const void *data, gsize length, gsize max_size, const char *what, GError **error);

/* Looks up all rows of @fields in @object. @path is @object's own place ("$" at the top). Keys compare byte for byte; a
 * key that no row names is an error if @strict, naming the nearest known one. Errors: INVALID. */
gboolean gp_json_fields(json_t *object, const char *path, const GpJsonField *fields, gboolean strict, GError **error);

/* The word of @known (ended by NULL) that @word was probably meant to be; NULL if none is near. For "did you mean". */
const char *gp_json_nearest(const char *word, const char *const *known);

/* Adds ".key" (or "[\"odd key\"]") to @path; owned by the caller. */
char *gp_json_path_key(const char *path, const char *key);
/* Adds "[index]" to @path; owned by the caller. */
char *gp_json_path_index(const char *path, gsize index);

/* Compact text of @value, keys in insertion order, owned by the caller (g_free). */
char *gp_json_to_text(const json_t *value, gboolean pretty);
