/* A Sigstore bundle (protobuf-specs, sigstore_bundle.proto: v0.1, v0.2, v0.3): what somebody unknown hands over as
 * evidence. Reading it proves nothing. */
#pragma once

#include <glib.h>

/* A transparency log's entry and what proves that it is one. */
typedef struct {
    guint64 log_index; /* global */
    GBytes *log_id;    /* 32 bytes */
    char *kind, *version;
    gint64 integrated_time; /* 0: not stated */
    GBytes *promise;        /* signed entry timestamp; NULL: none */
    gboolean has_proof;
    guint64 proof_index, tree_size; /* of the proof's own tree (a shard) */
    GBytes *root_hash;              /* 32 bytes */
    GPtrArray *hashes;              /* GBytes* of 32 bytes, from the leaf up */
    char *checkpoint;               /* signed note */
    GBytes *body;                   /* canonicalizedBody */
} GpLogEntry;
void gp_log_entry_free(GpLogEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpLogEntry, gp_log_entry_free)

typedef struct {
    GBytes *certificate;       /* of the signer, DER; NULL: signed with a bare key */
    GPtrArray *untrusted;      /* GBytes*, never NULL: further certificates that came along, for building chains only */
    GPtrArray *entries;        /* GpLogEntry*, never NULL */
    GPtrArray *timestamps;     /* GBytes*, never NULL: TimeStampResp in DER (RFC 3161) */
    GBytes *signature;         /* of the payload's pre-authentication encoding, or of the artifact */
    GBytes *payload;           /* DSSE envelope's; NULL: a signature of the artifact itself */
    char *payload_type;        /* with payload */
    GBytes *message_digest;    /* of the artifact, as the bundle claims it; NULL: not stated */
    char *message_digest_name; /* "SHA2_256", "SHA2_384", "SHA2_512" */
} GpBundle;

/* Reads @json, at most GP_LIMIT_BUNDLE bytes. Refused: media types but the four known ones, members that a bundle does
 * not have, both or none of two alternatives, an entry without the proof that its version demands (0.1: a promise;
 * later: an inclusion proof with checkpoint), more entries, timestamps or hashes than base/limits.h allows. Errors:
 * SIGNATURE "bundle-format: " with the place, "limit: ". */
GpBundle *gp_bundle_parse(GBytes *json, GError **error);

/* Empty, for evidence that comes in other forms (cosign's annotations). */
GpBundle *gp_bundle_new(void);
void gp_bundle_free(GpBundle *bundle);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpBundle, gp_bundle_free)
