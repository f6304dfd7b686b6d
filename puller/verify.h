/* VERIFY: the policy's requirements, the signatures that the source has, and the cryptographic facts, joined into a
 * verdict. */
#pragma once

#include <glib.h>

#include "policy/lookaside.h"
#include "policy/policy.h"
#include "policy/verdict.h"
#include "puller/manifest.h"
#include "puller/source.h"
#include "puller/verify_material.h"

/* The documents that a signature may cover: the manifest that will run, and the index from exactly whose bytes it was
 * chosen. A signature of the index admits the instance; a signature of some other instance admits nothing. */
typedef struct {
    GpDigest manifest;
    gboolean has_index;
    GpDigest index;
} GpVerifySubject;

typedef struct {
    GpSource *source;
    const GpReference *identity; /* the logical reference; NULL for a local image without --as */
    const char *scope;           /* as gp_policy_lookup() named it */
    GPtrArray *requirements;     /* GpRequirement* */
    const char *policy_digest;
    const GpLookaside *lookaside;
    const GpVerifySubject *subject;
    const GpManifest *manifest; /* what subject->manifest is the digest of */
    GpVerifyMaterial *material; /* of the requirements; NULL only if one of them rejects outright */
} GpVerifyRequest;

/* Evaluates every requirement. *@verdict is set whenever the evaluation came to an end, accepted or not; the caller's.
 * TRUE only if all of it accepts. Errors: POLICY (reject, a digest that is
 * not listed, a layer in the clear), SIGNATURE (none was accepted), UNSUPPORTED (a requirement
 * that this program cannot evaluate), KEY (a key could not be had), and what fetching signatures gives. */
gboolean gp_verify_image(const GpVerifyRequest *request, GpVerdict **verdict, GError **error);

/* The part that needs no image: TRUE if @requirements contain "reject", so that nothing need be asked of anybody. */
gboolean gp_verify_rejects_outright(GPtrArray *requirements);
