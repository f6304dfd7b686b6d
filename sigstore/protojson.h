/* Members of protobuf messages in JSON (protobuf's "ProtoJSON" mapping), read strictly: null is absent, 64-bit integers
 * are numbers or strings, an omitted number is 0; a member that the message does not have is an error. Errors: INVALID
 * naming the place, LIMIT. */
#pragma once

#include <glib.h>

#include "base/json.h"

typedef struct {
    const char *key;
    GpJsonType type; /* GP_JSON_INTEGER: a 64-bit integer */
    gboolean mandatory;
    json_t **value; /* borrowed; NULL when absent or null */
} GpProtoField;

/* Looks the rows of @fields (ended by a NULL key) up in @object at @place. */
gboolean gp_proto_fields(json_t *object, const char *place, const GpProtoField *fields, GError **error);

/* The integer @value (NULL: 0), which must not be negative. */
gboolean gp_proto_integer(json_t *value, const char *place, const char *key, guint64 *number, GError **error);

/* The bytes of the string @value; base64, standard or URL alphabet, with or without padding, with newlines.
 * @size: exactly so many, 0: at least one. */
GBytes *gp_proto_bytes(json_t *value, const char *place, const char *key, gsize size, GError **error);
