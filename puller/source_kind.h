/* The inside of a GpSource: the table of functions that each kind of source fills. Included by puller/source*.c only.
 */
#pragma once

#include "puller/descriptor.h"
#include "puller/source.h"

typedef struct {
    /* The top document; *@expected tells whether @digest was given by name (then the bytes are checked against it by
     * the caller). */
    GBytes *(*top)(GpSource *source, GpDigest *digest, gboolean *expected, char **content_type, GError **error);
    /* A manifest by digest, unchecked, at most @max bytes. */
    GBytes *(*manifest)(GpSource *source, const GpDigest *digest, gsize max, char **content_type, GError **error);
    /* A blob as a stream: *@fd or *@blob is set. */
    gboolean (*blob)(
        GpSource *source, const GpDigest *digest, guint64 size, int *fd, GpFetchBlob **blob, GError **error);
    /* The manifest under cosign's tag for @digest, *@content_type maybe NULL. NULL without error: there is none. */
    GBytes *(*cosign_manifest)(GpSource *source, const char *tag, char **content_type, GError **error);
    /* The manifests that refer to @digest, GpDescriptor*, as far as the source knows: they may refer to others and be
     * anything. *@elsewhere: it keeps no such list, and fallback_referrers is to be asked. NULL members: the kind has
     * none. */
    GPtrArray *(*referrers)(GpSource *source, const GpDigest *digest, gboolean *elsewhere, GError **error);
    GPtrArray *(*fallback_referrers)(GpSource *source, const GpDigest *digest, GError **error);
    /* Number @index (from 1) of the signatures stored beside the image. NULL without error: no more. NULL member: the
     * kind has none. */
    GBytes *(*stored_signature)(GpSource *source, const GpDigest *digest, guint index, char **where, GError **error);
} GpSourceKind;

struct _GpSource {
    const GpSourceKind *kind;
    GpFetch *fetch;             /* docker; borrowed */
    const GpLocation *location; /* docker; borrowed */
    char *selector;             /* docker: tag or digest; oci: tag or NULL */
    gboolean has_digest;        /* docker: the name has one */
    GpDigest digest;
    int directory; /* oci, dir: descriptor; else -1 */
    char *path;    /* oci, dir: for messages */
    GpSourceElsewhere elsewhere;
    guint given_up; /* atomic: a bit for each of elsewhere.directories that does not answer */
};

extern const GpSourceKind gp_source_registry;
extern const GpSourceKind gp_source_oci;
extern const GpSourceKind gp_source_dir;

/* FALSE if a list of referrers says of @entry that it is something else than a Sigstore bundle. */
gboolean gp_source_may_be_bundle(const GpDescriptor *entry);

/* LIMIT: more than GP_LIMIT_REFERRERS that may be bundles. */
void gp_source_set_many_referrers(GError **error);

/* Opens a regular file below @directory by plain components (NULL-ended); no link on the way is followed. Errors:
 * NOT_FOUND, INVALID, INTERNAL. */
int gp_source_open_below(int directory, const char *const *components, GError **error);
/* The same, read to its end. */
GBytes *gp_source_read_below(int directory, const char *const *components, gsize max, const char *what, GError **error);

/* A local blob: its file must have exactly @size bytes. Errors: as above. */
int gp_source_open_sized(int directory, const char *const *components, guint64 size, GError **error);

/* Checks oci-layout; part of gp_source_open(). Errors: INVALID, UNSUPPORTED. */
gboolean gp_source_oci_check(GpSource *source, GError **error);
