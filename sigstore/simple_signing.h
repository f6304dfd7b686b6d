/* OpenPGP simple signing ("atomic container signature", containers-signature(5)). */
#pragma once

#include "sigstore/evidence.h"
#include "sigstore/gpg_home.h"

/* Imports the public keys in @keyrings (GBytes*: binary or armoured, each with at least one usable public key and no
 * secret one) into a fresh, empty GnuPG home in a temporary directory, which is gone when the result is freed (by
 * gp_gpg_home_free()). Thread-safe. Errors: KEY "no-usable-key: " naming the key file; LIMIT "gpg-timeout: " after
 * GP_LIMIT_GPG_TIMEOUT seconds; INTERNAL, SPACE. */
GpGpgHome *gp_simple_signing_import(GPtrArray *keyrings, GError **error);

/* Verifies one signature @blob against @keys, whose GnuPG takes up nothing from it. Accepts exactly one good,
 * unexpired, unrevoked signature by an imported key (a subkey maps to its primary), over exactly the bytes that are
 * returned as facts. Errors: SIGNATURE with a text that begins with a machine reason: "signature-format: ",
 * "cleartext-signature: ", "unknown-key: ", "bad-signature: ", "expired-signature: ", "expired-key: ", "revoked-key: ",
 * "wrong-key-usage: ", "several-signatures: ", "payload: "; LIMIT "gpg-timeout: " after GP_LIMIT_GPG_TIMEOUT seconds.
 */
GpSignatureFacts *gp_simple_signing_verify(GBytes *blob, GpGpgHome *keys, GError **error);
