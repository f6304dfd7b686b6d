/* Content digests as OCI names them (image-spec descriptor.md, "Digests"): an algorithm and a value. Expected digests
 * are arguments, computed ones are results; nothing here lets the two change places. */
#pragma once

#include <glib.h>

typedef enum {
    GP_DIGEST_SHA256 = 1,
    GP_DIGEST_SHA512 = 2,
} GpDigestAlgorithm;

/* A plain value: copy it by assignment. Zeroed memory is no digest and equals none. */
typedef struct {
    GpDigestAlgorithm algorithm;
    guint8 bytes[64]; /* the first 32 for sha256, the rest zero */
} GpDigest;

#define GP_DIGEST_MAX_TEXT 136 /* "sha512:" + 128 hex digits + NUL */

/* Parses "sha256:<64 lower-case hex>" or "sha512:<128>", nothing else: no upper case, no blanks (CVE-2024-3727: a
 * digest is validated before it enters a URL or a path). Errors: INVALID malformed, UNSUPPORTED a well-formed digest of
 * an algorithm that we do not have. */
gboolean gp_digest_parse(const char *text, GpDigest *digest, GError **error);

/* "sha256:<hex>", owned by the caller. */
char *gp_digest_to_string(const GpDigest *digest);
/* "<hex>" alone, owned by the caller. */
char *gp_digest_to_hex(const GpDigest *digest);
const char *gp_digest_algorithm_name(GpDigestAlgorithm algorithm);
gsize gp_digest_size(GpDigestAlgorithm algorithm);

gboolean gp_digest_equal(const GpDigest *a, const GpDigest *b);
guint gp_digest_hash(gconstpointer digest); /* for GHashTable with (GEqualFunc) gp_digest_equal */

/* Digest of @length bytes at @data. */
void gp_digest_of(GpDigestAlgorithm algorithm, const void *data, gsize length, GpDigest *digest);

/* TRUE if @data has the digest @expected; else a DIGEST error "«what» is sha256:…, expected sha256:…". */
gboolean gp_digest_check_bytes(const GpDigest *expected, GBytes *data, const char *what, GError **error);
/* The same for an already computed digest. */
gboolean gp_digest_check(const GpDigest *expected, const GpDigest *actual, const char *what, GError **error);

/* Streaming, over OpenSSL. gp_hasher_finish() may be called once; the hasher is then only good for freeing or
 * gp_hasher_restart(), which begins anew and costs a fraction of a new one. */
typedef struct _GpHasher GpHasher;
GpHasher *gp_hasher_new(GpDigestAlgorithm algorithm);
void gp_hasher_restart(GpHasher *hasher);
void gp_hasher_update(GpHasher *hasher, const void *data, gsize length);
void gp_hasher_finish(GpHasher *hasher, GpDigest *digest);
void gp_hasher_free(GpHasher *hasher);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpHasher, gp_hasher_free)
