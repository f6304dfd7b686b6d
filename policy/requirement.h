/* One requirement of a policy: those of containers-policy.json(5), "Policy requirements", and our own, whose types and
 * keys begin with "guest-pull/" (docs/policy.md). */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/digest.h"
#include "policy/identity_rule.h"
#include "policy/key_source.h"
#include "policy/signer_rule.h"

typedef enum {
    GP_REQUIREMENT_REJECT = 0, /* zeroed memory rejects */
    GP_REQUIREMENT_INSECURE_ACCEPT_ANYTHING,
    GP_REQUIREMENT_SIGNED_BY,
    GP_REQUIREMENT_SIGSTORE_SIGNED,
    GP_REQUIREMENT_SIGNED_BASE_LAYER, /* parsed and checked, can never be satisfied: see unsupported */
    GP_REQUIREMENT_DIGESTS,           /* "guest-pull/digests": the manifest is one of a list */
    GP_REQUIREMENT_KEYLESS,           /* "guest-pull/keyless": issuer and subject of a certificate of a trusted root */
    GP_REQUIREMENT_THRESHOLD,         /* "guest-pull/threshold": so many of several, each by a signer of its own */
    GP_REQUIREMENT_ENCRYPTED,         /* "guest-pull/encrypted": every layer is */
} GpRequirementType;

/* Which document a signature or a pinned digest must be of, when the manifest was chosen from an index. */
typedef enum {
    GP_COVERS_ANY = 0,  /* the index from exactly whose bytes the manifest was chosen, or the manifest */
    GP_COVERS_INDEX,    /* that index: whoever signed meant the whole set; an image without index is refused */
    GP_COVERS_INSTANCE, /* the manifest that runs */
} GpCovers;

/* sigstoreSigned's "pki": a private CA and whom its certificates must name (each that is written). */
typedef struct {
    GpKeySource *roots;
    GpKeySource *intermediates; /* NULL: none */
    char *email, *hostname;     /* at least one */
} GpPkiRule;

/* What does not apply to a type is NULL or 0, except that the arrays marked so are never NULL. */
typedef struct {
    GpRequirementType type;
    char *path;               /* place in the document, "$.default[0]" */
    GPtrArray *keys;          /* GpKeySource*, never NULL; never empty for signedBy and keyed sigstoreSigned */
    GpIdentityRule *identity; /* NULL: not written, the default applies */
    GpCovers covers;

    GpKeySource *fulcio;       /* sigstoreSigned: the CA's certificates; "signers" has issuer and email */
    GpPkiRule *pki;            /* sigstoreSigned */
    GPtrArray *rekor_keys;     /* GpKeySource*, never NULL; not empty: an entry of one of these logs is required */
    GpKeySource *trusted_root; /* keyless: trusted_root.json */
    GPtrArray *signers;        /* GpSignerRule*, never NULL; keyless and fulcio: any one of them */
    guint logs, scts;          /* keyless: so many log entries and certificate timestamps must verify */
    guint timestamps;          /* keyless: and so many RFC 3161 timestamps; logs + timestamps is at least 1 */

    GArray *digests;     /* GpDigest, never NULL */
    guint threshold;     /* of "children" */
    GPtrArray *children; /* GpRequirement*, never NULL: signedBy, sigstoreSigned, keyless */

    char *unsupported; /* NULL, or what no evaluator here understands ("fulcio"): the requirement must refuse */
} GpRequirement;

/* Parses the object @value at @place, strictly: a key that its type does not have, a missing or doubled key source, an
 * empty list, a null are all errors. What is valid but cannot be evaluated is checked all the same and named in
 * "unsupported". Errors: INVALID with the place. */
GpRequirement *gp_requirement_parse(json_t *value, const char *place, GError **error);
void gp_requirement_free(GpRequirement *requirement);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpRequirement, gp_requirement_free)

const char *gp_requirement_type_name(GpRequirementType type); /* "signedBy" */
const char *gp_covers_name(GpCovers covers);                  /* "any" */

/* Calls @visit for every key, certificate or trusted root that @requirement or its children name. */
typedef void (*GpRequirementVisit)(const GpRequirement *requirement, const GpKeySource *source, gpointer data);
void gp_requirement_visit_sources(const GpRequirement *requirement, GpRequirementVisit visit, gpointer data);
