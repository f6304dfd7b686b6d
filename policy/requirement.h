/* One requirement of a policy (containers-policy.json(5), "Policy requirements"). */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "policy/identity_rule.h"
#include "policy/key_source.h"

typedef enum {
    GP_REQUIREMENT_REJECT = 0, /* zeroed memory rejects */
    GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING,
    GP_REQUIREMENT_SIGNED_BY,
    GP_REQUIREMENT_SIGSTORE_SIGNED,
    GP_REQUIREMENT_SIGNED_BASE_LAYER, /* parsed and checked, can never be satisfied: see unsupported */
} GpRequirementType;

typedef struct {
    GpRequirementType type;
    char *path;               /* place in the document, "$.default[0]" */
    GPtrArray *keys;          /* GpKeySource*, never NULL; never empty for signedBy and keyed sigstoreSigned */
    GpIdentityRule *identity; /* NULL: not written, the default applies */
    char *unsupported;        /* NULL, or what no evaluator here understands ("fulcio"): the requirement must refuse */
} GpRequirement;

/* Parses the object @value at @place, strictly: a key that its type does not have, a missing or doubled key source, an
 * empty list, a null are all errors. What is valid but cannot be evaluated (fulcio, pki, Rekor keys, signedBaseLayer,
 * key types other than GPGKeys) is checked all the same and named in "unsupported". Errors: INVALID with the place. */
GpRequirement *gp_requirement_parse(json_t *value, const char *place, GError **error);
void gp_requirement_free(GpRequirement *requirement);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpRequirement, gp_requirement_free)

const char *gp_requirement_type_name(GpRequirementType type); /* "signedBy" */
