/* A signature as one file: what lookaside servers and dir: folders hold. */
#pragma once

#include "puller/source.h"

/* Tells by the first bytes what @blob is: an OpenPGP packet (high bit set, RFC 4880 4.2) or "\0simple-signing\n" and
 * one: SIMPLE, the prefix taken off; "\0sigstore-json\n" and {"mimeType","payload","annotations"}: COSIGN. @where
 * becomes its source. Errors: INVALID for everything else. */
GpFoundSignature *gp_signature_blob_parse(GBytes *blob, const char *where, GError **error);
