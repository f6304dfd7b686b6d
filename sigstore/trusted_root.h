/* Who vouches for keyless signatures: the logs, certificate and timestamp authorities of one Sigstore instance, each
 * with the time in which it counts (protobuf-specs, sigstore_trustroot.proto). Configured by the policy's author and
 * trusted; read strictly all the same. */
#pragma once

#include <glib.h>

#include "sigstore/openssl.h"
#include "sigstore/public_key.h"

/* A transparency log, of signatures (Rekor) or of certificates. */
typedef struct {
    GpPublicKey *key;
    GBytes *id;        /* 32 bytes: SHA-256 of the key, or of name and key for logs with Ed25519 checkpoints */
    char *host;        /* of its base URL, with the port; NULL if none is known */
    gint64 start, end; /* seconds since 1970, both inclusive; G_MININT64 and G_MAXINT64: no limit */
} GpTrustedLog;

/* A CA or a timestamp authority. */
typedef struct {
    GPtrArray *certificates; /* X509*, as the file has them: issued before issuer, the root last; at least one */
    gint64 start, end;
} GpTrustedAuthority;

typedef struct {
    GPtrArray *tlogs, *ctlogs;        /* GpTrustedLog*, never NULL */
    GPtrArray *authorities;           /* GpTrustedAuthority*, never NULL: certificate authorities */
    GPtrArray *timestamp_authorities; /* GpTrustedAuthority*, never NULL */
} GpTrustedRoot;

/* Reads trusted_root.json (media types "application/vnd.dev.sigstore.trustedroot…" 0.1 and 0.2). @what names it in
 * errors. Errors: KEY "…: trusted-root: …" naming the place. */
GpTrustedRoot *gp_trusted_root_parse(GBytes *json, const char *what, GError **error);

/* The same from parts, for policies that name a CA and logs' keys alone (sigstoreSigned's "fulcio"): no window of
 * validity, no log of certificates. @ca: PEM certificates, the roots last. @rekor_keys: GpPublicKey*, copied by
 * reference. Errors: KEY. */
GpTrustedRoot *gp_trusted_root_assemble(GBytes *ca, GPtrArray *rekor_keys, const char *what, GError **error);

void gp_trusted_root_free(GpTrustedRoot *root);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpTrustedRoot, gp_trusted_root_free)

/* TRUE if @time lies in the window of @start and @end. */
gboolean gp_in_window(gint64 start, gint64 end, gint64 time);

/* The certificates (X509*) of a PEM text, 1 to GP_LIMIT_CHAIN, in its order. Errors: KEY naming @what. */
GPtrArray *gp_certificates_from_pem(GBytes *pem, const char *what, GError **error);

/* One certificate, in DER without a byte more; NULL otherwise. */
X509 *gp_certificate_from_der(GBytes *der);
