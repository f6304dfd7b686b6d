/* A public key that a policy names, for cosign and transparency logs: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) in PEM
 * (RFC 7468). */
#pragma once

#include <glib.h>
#include <openssl/x509.h>

#include "base/digest.h"

typedef struct _GpPublicKey GpPublicKey;

/* Exactly one "PUBLIC KEY" block and white space around it; P-256, P-384, P-521, RSA of 2048 to 4096 bits, Ed25519. The
 * DER must be the one encoding that has no choices left (named curve, uncompressed point), so that a key has one id.
 * @what names the key in errors. Errors: KEY. */
GpPublicKey *gp_public_key_parse(GBytes *pem, const char *what, GError **error);

/* The same key from its DER; @pkcs1: an RSAPublicKey (RFC 8017 A.1.1) as old trusted roots have it. Errors: KEY. */
GpPublicKey *gp_public_key_from_der(GBytes *der, gboolean pkcs1, const char *what, GError **error);

/* The key that @certificate certifies. Errors: KEY. */
GpPublicKey *gp_public_key_of_certificate(X509 *certificate, const char *what, GError **error);

GpPublicKey *gp_public_key_ref(GpPublicKey *key);

/* Its SubjectPublicKeyInfo; borrowed. */
GBytes *gp_public_key_der(const GpPublicKey *key);

/* Sigstore's name of the kind of key and hash (PublicKeyDetails): "PKIX_ECDSA_P256_SHA_256"; static. */
const char *gp_public_key_details(const GpPublicKey *key);

/* TRUE if @signature is this key's over @data: ECDSA in DER with the curve's own hash, for P-384 and P-521 else with
 * SHA-256 (cosign's bug 5092: it signs with either); RSA PKCS#1 v1.5 with SHA-256; Ed25519 (RFC 8032, not pre-hashed:
 * OpenSSL 3.0 has no Ed25519ph). Anything malformed is just no signature. */
gboolean gp_public_key_verifies(const GpPublicKey *key, GBytes *data, GBytes *signature);

/* The same when only the digest of the data is known: sound for SHA-256 alone, and impossible for Ed25519. */
gboolean gp_public_key_verifies_digest(const GpPublicKey *key, const GpDigest *digest, GBytes *signature);

/* FALSE for Ed25519, whose signatures need the data itself. */
gboolean gp_public_key_signs_digests(const GpPublicKey *key);

/* "sha256:<hex>" over the DER; borrowed. */
const char *gp_public_key_id(const GpPublicKey *key);

void gp_public_key_free(GpPublicKey *key); /* one reference */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpPublicKey, gp_public_key_free)
