/* What cosign puts beside a signature in the annotations of a ".sig" tag's layers, as the evidence that bundles carry.
 */
#pragma once

#include <jansson.h>

#include "sigstore/bundle.h"

/* Reads the signature, the certificate and its chain (PEM; blank counts as absent), the promise of a Rekor log
 * ("dev.sigstore.cosign/bundle") and the timestamp ("…/rfc3161timestamp") of @annotations (an object of strings).
 * Nothing is verified. Errors: SIGNATURE "signature-format: " naming the annotation. */
GpBundle *gp_cosign_evidence_read(const json_t *annotations, GError **error);
