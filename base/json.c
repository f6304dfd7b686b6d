#include "base/json.h"

#include <malloc.h>

#include "base/error.h"
#include "base/limits.h"

/* Documents may hold passwords and keys, in their values and in the lexer's buffers: nothing is freed unwiped. And
 * nothing is read with too little memory: jansson's lexer drops the bytes that it finds no room for and goes on, so
 * what comes out would be another document. As everywhere in GLib, the process ends instead. */
static void wiping_free(void *memory)
{
    if (memory)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

static void set_allocator(void)
{
    static gsize done;
    if (!g_once_init_enter(&done))
        return;
    json_set_alloc_funcs(g_malloc, wiping_free);
    g_once_init_leave(&done, 1);
}

/* How deep a document is, and how many values it has at most: commas and brackets outside strings. */
typedef struct {
    gsize deepest, values;
} Shape;

/* jansson's own depth limit is 2048 and fixed, and it has none for what a document takes in memory, which is eighty
 * times its text if that is "{},{},{}": looking before parsing bounds both. */
static Shape shape_of(const char *text, gsize length)
{
    Shape shape = {.values = 1};
    gsize depth = 0;
    gboolean in_string = FALSE;
    for (gsize i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = FALSE;
        } else if (c == '"') {
            in_string = TRUE;
        } else if (c == ',') {
            shape.values++;
        } else if (c == '{' || c == '[') {
            depth++;
            shape.values++;
            shape.deepest = MAX(shape.deepest, depth);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return shape;
}

/* What is larger than any document of a registry is our own: the service's account of all pulls. */
static gsize most_values(gsize max_size)
{
    return max_size <= GP_LIMIT_MANIFEST ? GP_LIMIT_JSON_VALUES : max_size / 64;
}

json_t *gp_json_parse(const void *data, gsize length, gsize max_size, const char *what, GError **error)
{
    if (length > max_size) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "%s: %" G_GSIZE_FORMAT " bytes, at most %" G_GSIZE_FORMAT " allowed", what, length, max_size);
        return NULL;
    }
    Shape shape = shape_of(data, length);
    if (shape.deepest > GP_LIMIT_JSON_DEPTH) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_LIMIT, "%s: JSON nested deeper than %d levels", what, GP_LIMIT_JSON_DEPTH);
        return NULL;
    }
    if (shape.values > most_values(max_size)) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%s: JSON of more than %" G_GSIZE_FORMAT " values", what,
            most_values(max_size));
        return NULL;
    }
    set_allocator();
    json_error_t problem;
    json_t *value = json_loadb(data, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (!value) {
        g_autofree char *shown = gp_escape(problem.text, -1, 200);
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "%s: line %d, column %d: %s", what, problem.line, problem.column, shown);
        return NULL;
    }
    return value;
}

static gboolean has_type(const json_t *value, GpJsonType type)
{
    switch (type) {
    case GP_JSON_STRING:
        return json_is_string(value);
    case GP_JSON_INTEGER:
        return json_is_integer(value);
    case GP_JSON_BOOLEAN:
        return json_is_boolean(value);
    case GP_JSON_OBJECT:
        return json_is_object(value);
    case GP_JSON_ARRAY:
        return json_is_array(value);
    case GP_JSON_ANY:
        return TRUE;
    }
    return FALSE;
}

static const char *type_name(GpJsonType type)
{
    switch (type) {
    case GP_JSON_STRING:
        return "a string";
    case GP_JSON_INTEGER:
        return "an integer";
    case GP_JSON_BOOLEAN:
        return "true or false";
    case GP_JSON_OBJECT:
        return "an object";
    case GP_JSON_ARRAY:
        return "an array";
    case GP_JSON_ANY:
        return "a value";
    }
    return "a value";
}

static gboolean is_empty(const json_t *value)
{
    if (json_is_string(value))
        return json_string_length(value) == 0;
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* Levenshtein distance, both strings cut to 40 bytes: only for "did you mean". */
static guint distance(const char *a, const char *b)
{
    enum { MAX_LENGTH = 40 };
    gsize length_a = MIN(strlen(a), MAX_LENGTH), length_b = MIN(strlen(b), MAX_LENGTH);
    guint row[MAX_LENGTH + 1];
    for (guint j = 0; j <= length_b; j++)
        row[j] = j;
    for (gsize i = 0; i < length_a; i++) {
        guint diagonal = row[0];
        row[0] = (guint) i + 1;
        for (gsize j = 0; j < length_b; j++) {
            guint change = diagonal + (g_ascii_tolower(a[i]) != g_ascii_tolower(b[j]));
            diagonal = row[j + 1];
            row[j + 1] = MIN(MIN(row[j], diagonal) + 1, change);
        }
    }
    return row[length_b];
}

const char *gp_json_nearest(const char *word, const char *const *known)
{
    const char *nearest = NULL;
    guint best = 4;
    for (; *known; known++) {
        guint d = distance(word, *known);
        if (d < best) {
            best = d;
            nearest = *known;
        }
    }
    return nearest;
}

static void set_unknown_key(GError **error, const char *path, const char *key, const GpJsonField *fields)
{
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    for (const GpJsonField *field = fields; field->key; field++)
        g_ptr_array_add(known, (gpointer) (guintptr) field->key);
    g_ptr_array_add(known, NULL);
    const char *nearest = gp_json_nearest(key, (const char *const *) known->pdata);
    g_autofree char *place = gp_json_path_key(path, key);
    if (nearest)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: unknown key (did you mean \"%s\"?)", place, nearest);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: unknown key", place);
}

static gboolean take_field(json_t *object, const char *path, const GpJsonField *field, GError **error)
{
    *field->value = NULL;
    json_t *value = json_object_get(object, field->key);
    if (!value || (json_is_null(value) && (field->flags & GP_JSON_NULLABLE))) {
        if (!(field->flags & GP_JSON_MANDATORY))
            return TRUE;
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: \"%s\" is missing", path, field->key);
        return FALSE;
    }
    if (!has_type(value, field->type)) {
        g_autofree char *place = gp_json_path_key(path, field->key);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must be %s", place, type_name(field->type));
        return FALSE;
    }
    if ((field->flags & GP_JSON_NON_EMPTY) && is_empty(value)) {
        g_autofree char *place = gp_json_path_key(path, field->key);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must not be empty", place);
        return FALSE;
    }
    *field->value = value;
    return TRUE;
}

gboolean gp_json_fields(json_t *object, const char *path, const GpJsonField *fields, gboolean strict, GError **error)
{
    if (!json_is_object(object)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must be an object", path);
        return FALSE;
    }
    if (strict) {
        const char *key;
        json_t *value;
        json_object_foreach(object, key, value)
        {
            const GpJsonField *field = fields;
            while (field->key && strcmp(field->key, key) != 0)
                field++;
            if (!field->key) {
                set_unknown_key(error, path, key, fields);
                return FALSE;
            }
        }
    }
    for (const GpJsonField *field = fields; field->key; field++)
        if (!take_field(object, path, field, error))
            return FALSE;
    return TRUE;
}

char *gp_json_path_key(const char *path, const char *key)
{
    gboolean plain = key[0] != '\0' && strlen(key) <= 64;
    for (const char *p = key; plain && *p; p++)
        plain = g_ascii_isalnum(*p) || *p == '_' || *p == '-';
    if (plain)
        return g_strconcat(path, ".", key, NULL);
    g_autofree char *shown = gp_escape(key, -1, 200);
    return g_strconcat(path, "[\"", shown, "\"]", NULL);
}

char *gp_json_path_index(const char *path, gsize index)
{
    return g_strdup_printf("%s[%" G_GSIZE_FORMAT "]", path, index);
}

char *gp_json_to_text(const json_t *value, gboolean pretty)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6) | (pretty ? JSON_INDENT(2) : JSON_COMPACT));
    char *copy = g_strdup(text);
    free(text);
    return copy;
}
