/* signedIdentity: does the reference stated in a signature satisfy the one asked for? */
#pragma once

#include <glib.h>

#include "policy/identity_rule.h"
#include "policy/reference.h"

/* What a signature is: decides what happens when no rule is written and the signature states no tag. */
typedef enum {
    GP_IDENTITY_SIMPLE_SIGNING,
    GP_IDENTITY_COSIGN, /* a name-only payload counts as matchRepository when the rule is NULL: cosign writes no tag */
    GP_IDENTITY_BUNDLE, /* can state no name: when the rule is NULL, the digest alone binds it (docs/policy.md) */
} GpIdentityKind;

/* TRUE if @stated (the docker-reference inside the signature, verbatim) satisfies @rule (NULL: default) for @intended,
 * the logical reference. Both sides are normalized as docker does, so "busybox:1" equals "docker.io/library/busybox:1".
 *
 *   matchRepoDigestOrExact  the default; @stated has a tag or digest, and: equal, if @intended has a tag; the same
 *                           repository, if @intended has only a digest (its bytes are checked elsewhere)
 *   matchExact              both have a tag or digest, and are equal
 *   matchRepository         the same repository
 *   exactReference          equal to the rule's reference, whatever was asked for
 *   exactRepository         in the rule's repository, whatever was asked for
 *   remapIdentity           @intended, its prefix replaced, as matchRepoDigestOrExact
 *
 * TRUE as well for a GP_IDENTITY_BUNDLE that states nothing (@stated is NULL) when @rule is NULL.
 *
 * FALSE with a SIGNATURE error whose text begins with the reason "identity-mismatch: " or (@stated is NULL or empty)
 * "identity-not-stated: ". */
gboolean gp_identity_match(
    const GpIdentityRule *rule, GpIdentityKind kind, const GpReference *intended, const char *stated, GError **error);
