/* The shape of an OpenPGP message (RFC 4880 §11.3), looked at before GnuPG sees it: GnuPG is liberal in what it takes
 * (it ignores bytes behind a compressed message, passes unsigned text through, guesses what to do with keys), a
 * signature of ours is not. */
#pragma once

#include <glib.h>

/* Accepts exactly one binary inline-signed message: one-pass signature, literal data, signature; or signature, literal
 * data as PGP 2 wrote it; bare or inside one compressed packet (ZIP or zlib), and not a byte more. Returns that message
 * uncompressed, at most GP_LIMIT_SIGNATURE bytes. Nothing is verified here. Errors: SIGNATURE with "signature-format:
 * ", "cleartext-signature: " or "several-signatures: ". */
GBytes *gp_openpgp_message_check(GBytes *blob, GError **error);
