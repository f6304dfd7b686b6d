/* The little of YAML that configuration needs, over libyaml's events: mappings of plain keys, and scalars. What makes
 * YAML surprising is refused: aliases and anchors (they can multiply a document), tags, lists, merged keys, several
 * documents, keys that occur twice. Sizes are the caller's to limit. */
#pragma once

#include <glib.h>

typedef struct _GpYaml GpYaml;

/* Reads @text (named @what in errors); both must outlive the reader. */
GpYaml *gp_yaml_new(GBytes *text, const char *what);
void gp_yaml_free(GpYaml *yaml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpYaml, gp_yaml_free)

/* What gp_yaml_mapping() calls for each key: it must consume exactly the value behind it, by one of the functions
 * below.
 */
typedef gboolean (*GpYamlVisit)(GpYaml *yaml, const char *key, gpointer data, GError **error);

/* The whole document: one mapping, or nothing at all (an empty file). Errors: INVALID with the line. */
gboolean gp_yaml_document(GpYaml *yaml, GpYamlVisit visit, gpointer data, GError **error);

/* The next value: a mapping, or nothing ("key:" alone, "null", "~"). It goes as deep as its visitors ask it to, so the
 * document cannot make it recurse. Errors: INVALID. */
gboolean gp_yaml_mapping(GpYaml *yaml, GpYamlVisit visit, gpointer data, GError **error);

/* The next value: text, not empty and without control characters. Caller's, NULL on error. Errors: INVALID. */
char *gp_yaml_text(GpYaml *yaml, GError **error);

/* The next value: exactly true or false, unquoted. "yes" and "on" mean different things to different YAML versions.
 * Errors: INVALID. */
gboolean gp_yaml_boolean(GpYaml *yaml, gboolean *value, GError **error);

/* Sets an INVALID error with the line that was read last; always FALSE. */
gboolean gp_yaml_refuse(GpYaml *yaml, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
