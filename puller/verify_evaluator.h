/* How one kind of evidence is verified: a table of functions that puller/verify.c drives and that a new kind of
 * signature fills. An evaluator establishes facts; whether the digest, the name, the coverage and the signer of these
 * facts are the ones wanted is decided in one place, by verify.c, for all of them. */
#pragma once

#include <glib.h>

#include "policy/requirement.h"
#include "puller/signature_search.h"
#include "sigstore/evidence.h"

/* The bytes of what a policy names: GHashTable of location (borrowed from the policy) → GBytes. */
typedef GHashTable GpPolicySources;

typedef struct {
    const char *what;  /* "cosign signature": for "no … was found" */
    gboolean attached; /* looked for in cosign's tag, then among the referrers; else in GP_PLACE_SIMPLE */
    gboolean (*reads)(const GpRequirement *requirement, const GpFoundSignature *found);

    /* What the requirement names, parsed once: keys, certificates, a trusted root. Called by another thread than
     * verify, which comes later. Errors: KEY, with the place. */
    gpointer (*prepare)(const GpRequirement *requirement, GpPolicySources *sources, GError **error);
    void (*release)(gpointer material);

    /* The facts under one signature, by a signer that @material admits. Errors: SIGNATURE (machine word first) when it
     * is just not good enough; every other code ends the whole evaluation. */
    GpSignatureFacts *(*verify)(
        const GpRequirement *requirement, gpointer material, const GpCandidate *candidate, GError **error);
} GpEvaluator;

extern const GpEvaluator gp_evaluator_simple;   /* signedBy: puller/verify_simple.c */
extern const GpEvaluator gp_evaluator_sigstore; /* sigstoreSigned, guest-pull/keyless: puller/verify_sigstore.c */

/* Who evaluates @requirement, which is signedBy, sigstoreSigned or guest-pull/keyless. */
const GpEvaluator *gp_evaluator_for(const GpRequirement *requirement);

/* TRUE if @identity (NULL: none) is one of those whom @requirement's "signers" name. An evaluator may ask earlier, for
 * a better reason; the frame asks in any case. */
gboolean gp_requirement_admits(const GpRequirement *requirement, const GpCertificateIdentity *identity);

/* The bytes of @source, borrowed; fetched before any evaluator is asked. */
GBytes *gp_policy_source_bytes(GpPolicySources *sources, const GpKeySource *source);
