/* The parsers behind gp_requirement_parse(), one per type; for policy/requirement*.c only. Each fills @requirement from
 * the object @value at @place. Errors: INVALID with the place. */
#pragma once

#include "policy/requirement.h"

gboolean gp_requirement_parse_bare(GpRequirement *requirement, json_t *value, const char *place, GError **error);
gboolean gp_requirement_parse_signed_by(GpRequirement *requirement, json_t *value, const char *place, GError **error);
gboolean gp_requirement_parse_sigstore(GpRequirement *requirement, json_t *value, const char *place, GError **error);
gboolean gp_requirement_parse_base_layer(GpRequirement *requirement, json_t *value, const char *place, GError **error);
gboolean gp_requirement_parse_digests(GpRequirement *requirement, json_t *value, const char *place, GError **error);
gboolean gp_requirement_parse_keyless(GpRequirement *requirement, json_t *value, const char *place, GError **error);
gboolean gp_requirement_parse_threshold(GpRequirement *requirement, json_t *value, const char *place, GError **error);

/* What several types share; an absent @value leaves the default. */
gboolean gp_requirement_take_identity(
    GpRequirement *requirement, json_t *value, const char *place, const char *key, GError **error);
gboolean gp_requirement_take_covers(
    GpRequirement *requirement, json_t *value, const char *place, const char *key, GError **error);

/* Sets INVALID "@place: @reason"; always FALSE. */
gboolean gp_requirement_refuse(GError **error, const char *place, const char *reason);
