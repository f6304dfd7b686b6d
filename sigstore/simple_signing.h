/* OpenPGP simple signing ("atomic container signature", containers-signature(5)). */
#pragma once

#include "sigstore/evidence.h"

/* Verifies one signature @blob against the public keys in @keyrings (GBytes*: binary or armoured, each with at least
 * one usable public key and no secret one). A fresh, empty GnuPG home in a temporary directory serves one call and is
 * gone after it. Accepts exactly one good, unexpired, unrevoked signature by an imported key (a subkey maps to its
 * primary), over exactly the bytes that are returned as facts. Thread-safe. Errors: SIGNATURE with a text that begins
 * with a machine reason: "signature-format: ", "cleartext-signature: ", "unknown-key: ", "bad-signature: ",
 * "expired-signature: ", "expired-key: ", "revoked-key: ", "wrong-key-usage: ", "several-signatures: ", "payload: ";
 * KEY "no-usable-key: " naming the key file; LIMIT "gpg-timeout: " after GP_LIMIT_GPG_TIMEOUT seconds; INTERNAL, SPACE.
 */
GpSignatureFacts *gp_simple_signing_verify(GBytes *blob, GPtrArray *keyrings, GError **error);
