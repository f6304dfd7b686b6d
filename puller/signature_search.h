/* The search for an image's signatures: everything that may hold some is asked at once, as soon as it is known which
 * documents they may be of; what is found is looked at in the order that costs least. */
#pragma once

#include <glib.h>

#include "policy/lookaside.h"
#include "policy/reference.h"
#include "puller/source.h"

/* A signature and the digest under which it was found. */
typedef struct {
    GpFoundSignature *found;
    GpDigest digest;
} GpCandidate;

typedef struct {
    GpSource *source;
    const GpReference *identity; /* the logical reference, or NULL */
    const GpLookaside *lookaside;
    const GpDigest *digests; /* the manifest, then the index that led to it */
    guint n_digests;
    gboolean want_simple, want_attached; /* what the policy can use; nothing else is asked for */
} GpSignatureSearchRequest;

typedef struct _GpSignatureSearch GpSignatureSearch;

/* Starts the first round of questions, each in a thread of its own: lookaside; cosign's tags and the lists of
 * referrers. What @request points to outlives the search. */
GpSignatureSearch *gp_signature_search_start(const GpSignatureSearchRequest *request);

/* The three places, in the order in which they are to be looked at. */
typedef enum {
    GP_PLACE_SIMPLE,  /* lookaside, or beside the image */
    GP_PLACE_TAG,     /* cosign's ".sig" tag */
    GP_PLACE_BUNDLES, /* referrers; only asking for it has them opened */
    GP_N_PLACES
} GpSignaturePlace;

/* What was found there: GpCandidate*, signatures of the manifest before those of the index, borrowed, the same list
 * each time. Waits for the answers. Errors: as gp_source_simple_signatures() and its like; LIMIT for more than
 * GP_LIMIT_TAG_SIGNATURES in one place. */
GPtrArray *gp_signature_search_take(GpSignatureSearch *search, GpSignaturePlace place, GError **error);

/* Waits for what has been asked and not answered. */
void gp_signature_search_free(GpSignatureSearch *search);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSignatureSearch, gp_signature_search_free)
