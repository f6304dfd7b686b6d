/* signedIdentity as a policy writes it (containers-policy.json(5)). */
#pragma once

#include <glib.h>
#include <jansson.h>

typedef enum {
    GP_IDENTITY_MATCH_REPO_DIGEST_OR_EXACT = 0, /* the default of the format */
    GP_IDENTITY_MATCH_EXACT,
    GP_IDENTITY_MATCH_REPOSITORY,
    GP_IDENTITY_EXACT_REFERENCE,
    GP_IDENTITY_EXACT_REPOSITORY,
    GP_IDENTITY_REMAP,
} GpIdentityType;

typedef struct {
    GpIdentityType type;
    char *reference;     /* exactReference: canonical form; exactRepository: "domain/path" */
    char *prefix;        /* remapIdentity */
    char *signed_prefix; /* remapIdentity */
} GpIdentityRule;

/* Parses the object @value at @place, strictly. exactReference must carry a tag or a digest, exactRepository neither (a
 * tag there would be ignored), remapIdentity's prefixes are normalized "host[:port][/namespace…]". Errors: INVALID,
 * LIMIT or UNSUPPORTED with the place. */
GpIdentityRule *gp_identity_rule_parse(json_t *value, const char *place, GError **error);
void gp_identity_rule_free(GpIdentityRule *rule);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpIdentityRule, gp_identity_rule_free)

const char *gp_identity_type_name(GpIdentityType type); /* "matchExact" */
