/* X.509 certificates of signers (RFC 5280), verified for moments that others attest, never for now. */
#pragma once

#include <glib.h>

#include "sigstore/openssl.h"

typedef enum {
    GP_CERTIFICATE_CODE_SIGNING, /* the signer's must say so, and no CA above it may say otherwise */
    GP_CERTIFICATE_UNRESTRICTED, /* nor may the signer's, which need not say so: private PKIs seldom do */
} GpCertificateUse;

/* A store that trusts @root alone, which need not be self-signed, for chains valid at @at, both ends of each
 * certificate's validity included; SHA-1 and short keys are out. The caller's; NULL only without memory. */
X509_STORE *gp_certificate_store(X509 *root, gint64 at);

/* TRUE if @leaf is a signer's certificate, no CA's, that one of @authorities (GpTrustedAuthority*) vouches for: one in
 * whose window @at lies (seconds since 1970), over its own certificates and those of @untrusted (X509*, may be NULL),
 * up to its last one; all of the chain valid at @at (CVE-2026-24122). *@issuer (may be NULL) becomes the certificate
 * that issued @leaf, the caller's. Errors: SIGNATURE with "certificate-expired-at-time: ", "certificate-usage: " (RFC
 * 5280 §4.2.1.12), "certificate-untrusted: "; INTERNAL. */
gboolean gp_certificate_verify(X509 *leaf, GPtrArray *authorities, GPtrArray *untrusted, gint64 at,
    GpCertificateUse use, X509 **issuer, GError **error);

/* How Fulcio writes whom it has seen. */
typedef enum {
    GP_SAN_URI,
    GP_SAN_EMAIL,
    GP_SAN_OTHER_NAME, /* 1.3.6.1.4.1.57264.1.7 */
} GpSanType;

typedef struct {
    char *issuer; /* the OIDC issuer, verbatim */
    GpSanType type;
    char *san;
} GpCertificateIdentity;

/* The identity in a certificate of Fulcio (its oid-info.md): the issuer of 1.3.6.1.4.1.57264.1.8 (DER UTF8String) and
 * .1.1 (raw), equal where both are there, and the one subject alternative name. Texts without NUL. Errors: SIGNATURE
 * "certificate-identity: ". */
GpCertificateIdentity *gp_certificate_identity(X509 *certificate, GError **error);
void gp_certificate_identity_free(GpCertificateIdentity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpCertificateIdentity, gp_certificate_identity_free)

/* TRUE if one of the subject alternative names is the email address @email, byte for byte. */
gboolean gp_certificate_has_email(X509 *certificate, const char *email);
/* TRUE if one of the DNS names matches @hostname (RFC 6125); the subject is not looked at. */
gboolean gp_certificate_has_hostname(X509 *certificate, const char *hostname);
