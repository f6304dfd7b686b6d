/* What goes into and comes out of sigstore/: bytes that somebody unknown wrote, and the facts that cryptography
 * establishes. */
#pragma once

#include <glib.h>

#include "base/digest.h"

/* Facts that a verified signature states. All of it was under the signature, by a key that was given. */
typedef struct {
    GpDigest manifest_digest;
    char *docker_reference; /* verbatim, not normalized; NULL when the format cannot state one */
    char *signer;           /* "GPG key FINGERPRINT", "key sha256:<hex of SPKI DER>" */
    char *creator;          /* optional; for the report */
    gint64 timestamp;       /* what the signer claims, seconds since 1970; -1 if not stated. Never used to decide */
} GpSignatureFacts;

void gp_signature_facts_free(GpSignatureFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSignatureFacts, gp_signature_facts_free)
