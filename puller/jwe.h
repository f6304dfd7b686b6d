/* Layer keys wrapped for an RSA key, as skopeo writes them for "--encryption-key jwe:public.pem" (JSON Web Encryption,
 * RFC 7516 §7.2): for debugging without a key broker. */
#pragma once

#include <glib.h>
#include <openssl/evp.h>

/* An RSA private key in PEM, without passphrase. Errors: KEY naming @what. */
EVP_PKEY *gp_jwe_key_parse(GBytes *pem, const char *what, GError **error);

/* The plaintext of @jwe (JSON, flattened or general) for @key: RSA-OAEP (RFC 7518 §4.3) and A256GCM (§5.3), nothing
 * else. The result is wiped with its last reference. Errors: INVALID (no such document), UNSUPPORTED (other
 * algorithms), KEY (for somebody else, or changed). */
GBytes *gp_jwe_decrypt(GBytes *jwe, EVP_PKEY *key, GError **error);
