/* The outcome of evaluating a policy for one image: what was required, what was looked at, and why it was or was not
 * enough. Texts are copied; those that quote what a registry wrote come escaped from whoever makes them. */
#pragma once

#include <glib.h>
#include <jansson.h>

typedef enum {
    GP_VERDICT_REJECT = 0, /* zeroed memory rejects */
    GP_VERDICT_ACCEPT = 1,
} GpVerdictResult;

/* One signature that was tried for one requirement. */
typedef struct {
    char *source; /* where it came from: "lookaside …/signature-1", "tag sha256-….sig, layer 0" */
    gboolean accepted;
    char *signer; /* "GPG key FINGERPRINT", "key sha256:…"; NULL if none was established */
    char *reason; /* for a person; begins with a machine word when refused: "identity-mismatch: …" */
} GpVerdictAttempt;

typedef struct _GpVerdictRequirement {
    char *type;  /* "signedBy" */
    char *place; /* "$.transports.docker[…][0]" */
    GpVerdictResult result;
    char *by;            /* the key or identity that satisfied it; NULL otherwise */
    char *reason;        /* why, in words */
    GPtrArray *attempts; /* GpVerdictAttempt* */
    GPtrArray *parts;    /* GpVerdictRequirement*: what a threshold counted; NULL for everything else */
} GpVerdictRequirement;

typedef struct {
    GpVerdictResult result;
    char *scope;
    char *policy_digest;     /* of the policy's bytes */
    GPtrArray *requirements; /* GpVerdictRequirement* */
} GpVerdict;

/* A verdict that rejects until gp_verdict_conclude() says otherwise; @policy_digest may be NULL. */
GpVerdict *gp_verdict_new(const char *scope, const char *policy_digest);

/* Adds a requirement that rejects until it is told otherwise; borrowed. */
GpVerdictRequirement *gp_verdict_add(GpVerdict *verdict, const char *type, const char *place);

/* The same for one of several that @whole counts; it does not enter gp_verdict_conclude(). */
GpVerdictRequirement *gp_verdict_add_part(GpVerdictRequirement *whole, const char *type, const char *place);

/* Records a signature that was looked at. It decides nothing: gp_verdict_settle() does. */
void gp_verdict_attempt(
    GpVerdictRequirement *requirement, const char *source, gboolean accepted, const char *signer, const char *reason);

/* Decides @requirement; the last call counts. @by is NULL when it is rejected. */
void gp_verdict_settle(GpVerdictRequirement *requirement, GpVerdictResult result, const char *by, const char *reason);

/* Accepts only if there is at least one requirement and every one accepts: an empty list is no permission. */
void gp_verdict_conclude(GpVerdict *verdict);

/* {"scope","policyDigest","accepted","requirements":[{"type","accepted","by","reason","place","signatures":[{"source",
 * "accepted","signer","reason"}],"of":[requirements]}]}; absent texts are null, "of" is there for thresholds only. A
 * new reference. */
json_t *gp_verdict_to_json(const GpVerdict *verdict);

void gp_verdict_free(GpVerdict *verdict);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpVerdict, gp_verdict_free)
