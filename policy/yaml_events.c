#include "policy/yaml_events.h"

#include <yaml.h>

#include "base/error.h"

struct _GpYaml {
    yaml_parser_t parser;
    const char *what;
    gsize line; /* of the last event, from 1 */
};

static void event_clear(yaml_event_t *event)
{
    yaml_event_delete(event);
}
#define AUTO_EVENT __attribute__((cleanup(event_clear))) yaml_event_t

GpYaml *gp_yaml_new(GBytes *text, const char *what)
{
    GpYaml *yaml = g_new0(GpYaml, 1);
    if (!yaml_parser_initialize(&yaml->parser))
        g_error("libyaml: no memory");
    gsize length = 0;
    const unsigned char *data = g_bytes_get_data(text, &length);
    yaml_parser_set_input_string(&yaml->parser, data ? data : (const unsigned char *) "", length);
    yaml_parser_set_encoding(&yaml->parser, YAML_UTF8_ENCODING);
    yaml->what = what;
    yaml->line = 1;
    return yaml;
}

void gp_yaml_free(GpYaml *yaml)
{
    if (!yaml)
        return;
    yaml_parser_delete(&yaml->parser);
    g_free(yaml);
}

gboolean gp_yaml_refuse(GpYaml *yaml, GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *reason = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: line %" G_GSIZE_FORMAT ": %s", yaml->what, yaml->line, reason);
    return FALSE;
}

static gboolean is_decorated(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor || event->data.scalar.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_ALIAS_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return FALSE;
    }
    return FALSE;
}

static gboolean next(GpYaml *yaml, yaml_event_t *event, GError **error)
{
    if (!yaml_parser_parse(&yaml->parser, event)) {
        if (yaml->parser.error == YAML_MEMORY_ERROR)
            g_error("libyaml: no memory"); /* the document is as good as any */
        *event = (yaml_event_t){0};
        yaml->line = yaml->parser.problem_mark.line + 1;
        return gp_yaml_refuse(yaml, error, "%s", yaml->parser.problem ? yaml->parser.problem : "not YAML");
    }
    yaml->line = event->start_mark.line + 1;
    if (event->type == YAML_ALIAS_EVENT || is_decorated(event))
        return gp_yaml_refuse(yaml, error, "anchors, aliases and tags are not allowed");
    if (event->type == YAML_SEQUENCE_START_EVENT)
        return gp_yaml_refuse(yaml, error, "a list is not expected here");
    return TRUE;
}

/* The text of a scalar, or NULL when a NUL hides a part of it. */
static const char *scalar_text(const yaml_event_t *event)
{
    const char *text = (const char *) event->data.scalar.value;
    return strlen(text) == event->data.scalar.length ? text : NULL;
}

static gboolean is_null(const yaml_event_t *event)
{
    const char *text = event->type == YAML_SCALAR_EVENT ? scalar_text(event) : NULL;
    return text && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || !strcmp(text, "null") || !strcmp(text, "~"));
}

/* The pairs up to the mapping's end; its start has been read. */
static gboolean read_pairs(GpYaml *yaml, GpYamlVisit visit, gpointer data, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (;;) {
        AUTO_EVENT event = {0};
        if (!next(yaml, &event, error))
            return FALSE;
        if (event.type == YAML_MAPPING_END_EVENT)
            return TRUE;
        const char *key = event.type == YAML_SCALAR_EVENT ? scalar_text(&event) : NULL;
        if (!key)
            return gp_yaml_refuse(yaml, error, "a key must be plain text");
        if (!g_hash_table_add(seen, g_strdup(key))) {
            g_autofree char *shown = gp_escape(key, -1, 200);
            return gp_yaml_refuse(yaml, error, "the key \"%s\" occurs twice", shown);
        }
        if (!visit(yaml, key, data, error))
            return FALSE;
    }
}

static gboolean read_mapping(GpYaml *yaml, const yaml_event_t *start, GpYamlVisit visit, gpointer data, GError **error)
{
    if (is_null(start))
        return TRUE;
    if (start->type != YAML_MAPPING_START_EVENT)
        return gp_yaml_refuse(yaml, error, "a mapping (\"key: value\") is expected here");
    return read_pairs(yaml, visit, data, error);
}

gboolean gp_yaml_mapping(GpYaml *yaml, GpYamlVisit visit, gpointer data, GError **error)
{
    AUTO_EVENT start = {0};
    return next(yaml, &start, error) && read_mapping(yaml, &start, visit, data, error);
}

static gboolean expect(GpYaml *yaml, yaml_event_type_t type, const char *reason, GError **error)
{
    AUTO_EVENT event = {0};
    if (!next(yaml, &event, error))
        return FALSE;
    return event.type == type || gp_yaml_refuse(yaml, error, "%s", reason);
}

gboolean gp_yaml_document(GpYaml *yaml, GpYamlVisit visit, gpointer data, GError **error)
{
    AUTO_EVENT event = {0};
    if (!expect(yaml, YAML_STREAM_START_EVENT, "not YAML", error) || !next(yaml, &event, error))
        return FALSE;
    if (event.type == YAML_STREAM_END_EVENT)
        return TRUE;
    return gp_yaml_mapping(yaml, visit, data, error) &&
           expect(yaml, YAML_DOCUMENT_END_EVENT, "the document goes on behind its end", error) &&
           expect(yaml, YAML_STREAM_END_EVENT, "only one document is allowed in a file", error);
}

char *gp_yaml_text(GpYaml *yaml, GError **error)
{
    AUTO_EVENT event = {0};
    if (!next(yaml, &event, error))
        return NULL;
    const char *text = event.type == YAML_SCALAR_EVENT ? scalar_text(&event) : NULL;
    gboolean good = text && *text && !is_null(&event);
    for (const char *p = text; good && *p; p++)
        good = !g_ascii_iscntrl(*p);
    if (good)
        return g_strdup(text);
    gp_yaml_refuse(yaml, error, "text that is not empty is expected here");
    return NULL;
}

gboolean gp_yaml_boolean(GpYaml *yaml, gboolean *value, GError **error)
{
    AUTO_EVENT event = {0};
    if (!next(yaml, &event, error))
        return FALSE;
    const char *text = event.type == YAML_SCALAR_EVENT && event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE
                           ? scalar_text(&event)
                           : NULL;
    *value = g_strcmp0(text, "true") == 0;
    return *value || g_strcmp0(text, "false") == 0 ||
           gp_yaml_refuse(yaml, error, "true or false, without quotes, is expected here");
}
