/* A policy's requirement for people and for scripts. */
#pragma once

#include <jansson.h>

#include "policy/requirement.h"

/* {"type","place","keys":[…],"signedIdentity","covers","unsupported"} and, where the type has them, "rekorKeys",
 * "fulcio", "pki", "trustedRoot", "signers", "logs", "scts", "timestamps", "digests", "threshold", "of". Keys are shown
 * by their location, "(inline)" without one. New reference. */
json_t *gp_requirement_to_json(const GpRequirement *requirement);

/* Prints the same, @depth levels indented. */
void gp_requirement_print(const GpRequirement *requirement, int depth);
