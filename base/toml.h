/* TOML as a JSON document, over toml++ (C++): the only C++ of the program, behind one function. */
#pragma once

#include <glib.h>
#include <jansson.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Parses a TOML document of at most @max_size bytes and GP_LIMIT_JSON_DEPTH levels into a JSON object; @what names it
 * in errors. A key that occurs twice is an error, as TOML demands. Dates, times and numbers that JSON does not have
 * become strings. Returns a new reference. Errors: INVALID with the line, LIMIT. */
json_t *gp_toml_parse(const void *data, gsize length, gsize max_size, const char *what, GError **error);

#ifdef __cplusplus
}
#endif
