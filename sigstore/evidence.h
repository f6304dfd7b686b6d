/* What goes into and comes out of sigstore/: bytes that somebody unknown wrote, and the facts that cryptography
 * establishes. */
#pragma once

#include <glib.h>

#include "base/digest.h"
#include "sigstore/certificate.h"

typedef enum {
    GP_SIGNATURE_SIMPLE, /* OpenPGP simple signing: states a reference */
    GP_SIGNATURE_COSIGN, /* cosign's payload: states a repository */
    GP_SIGNATURE_BUNDLE, /* a statement: states a digest and no name */
} GpSignatureKind;

/* Facts that a verified signature states. All of it was under the signature, by a key that was given or by a
 * certificate that was verified for every one of @times. */
typedef struct {
    GpSignatureKind kind;
    GpDigest manifest_digest;
    char *docker_reference; /* verbatim, not normalized; NULL when the format cannot state one */
    char *signer;           /* "GPG key FINGERPRINT", "key sha256:<hex of SPKI DER>", "identity <SAN> by <issuer>" */
    char *creator;          /* optional; for the report */
    gint64 timestamp;       /* what the signer claims, seconds since 1970; -1 if not stated. Never used to decide */
    GpCertificateIdentity *identity; /* whom the certificate names; NULL for a bare key */
    GArray *times;                   /* gint64, seconds since 1970: attested by logs and authorities; NULL: none */
} GpSignatureFacts;

void gp_signature_facts_free(GpSignatureFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSignatureFacts, gp_signature_facts_free)
