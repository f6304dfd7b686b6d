/* Where an image comes from: a registry, an OCI layout or a dir: folder, behind one table of functions. A source
 * delivers bytes; who asked for a digest checks it (gp_source_* below do so before they return). */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/digest.h"
#include "policy/lookaside.h"
#include "policy/reference.h"
#include "puller/descriptor.h"
#include "puller/fetch.h"
#include "puller/notes.h"

typedef struct _GpSource GpSource;

typedef enum {
    GP_SOURCE_DOCKER,
    GP_SOURCE_OCI,
    GP_SOURCE_DIR,
} GpSourceType;

/* What the IMAGE argument says, split: "docker://x", "x", "oci:DIR[:TAG]", "dir:DIR". */
typedef struct {
    GpSourceType type;
    char *directory;        /* oci, dir: made absolute */
    char *tag;              /* oci: NULL if not written */
    GpReference *reference; /* docker; else NULL */
} GpImageName;
GpImageName *gp_image_name_parse(const char *text, GError **error);
void gp_image_name_free(GpImageName *name);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpImageName, gp_image_name_free)
/* The policy scope that is tried first for a local image: its directory, for oci with ":TAG" if one was written. NULL
 * for docker. Caller's. */
char *gp_image_name_scope(const GpImageName *name);
const char *gp_source_type_name(GpSourceType type); /* the policy's transport: "docker", "oci", "dir" */

/* @fetch and @location are borrowed and only for docker (else NULL). Errors: NOT_FOUND, INVALID, INTERNAL. */
GpSource *gp_source_open(const GpImageName *name, GpFetch *fetch, const GpLocation *location, GError **error);
void gp_source_free(GpSource *source);

/* What the image is called at the mirror or moved location that is asked; NULL: as it was asked for. Borrowed. Its
 * signatures are looked for under this name first; whom they must name is another matter. */
const GpReference *gp_source_physical(const GpSource *source);

/* Where else an image's blobs may come from; all borrowed. */
typedef struct {
    char *const *directories;   /* of blobs, shared by the host: blobs/<algorithm>/<hex>; asked first; NULL: none */
    const GPtrArray *locations; /* GpLocation*, asked in order when the source's own location fails; NULL: none */
    guint first_location;       /* of them */
    gboolean urls;              /* at last, and without credentials, those that a foreign layer names */
    GpNotes *notes;             /* is told what failed; NULL: nobody is */
} GpSourceElsewhere;
/* To be called before the first blob is asked for. */
void gp_source_set_elsewhere(GpSource *source, const GpSourceElsewhere *elsewhere);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSource, gp_source_free)

/* The top document (manifest or index), resolved once: by digest if the name has one (then checked), else by tag.
 * *@digest is computed from the bytes (with the name's algorithm if it has a digest). *@content_type may be NULL for
 * local sources. */
GBytes *gp_source_top(GpSource *source, GpDigest *digest, char **content_type, GError **error);
/* A manifest by digest, checked; @size is the descriptor's. */
GBytes *gp_source_manifest(GpSource *source, const GpDigest *digest, guint64 size, char **content_type, GError **error);
/* A small blob (config, signature payload) by digest, size enforced, checked. */
GBytes *gp_source_blob(GpSource *source, const GpDigest *digest, guint64 size, gsize max, GError **error);

/* A layer as a stream: NOT checked; the reader hashes it. gp_source_stream_finish() after the end says whether the
 * transport thinks that it is complete. Thread-safe: several streams at once from several threads. */
typedef struct _GpSourceStream GpSourceStream;
GpSourceStream *gp_source_stream_open(GpSource *source, const GpDigest *digest, guint64 size, GError **error);
/* The same at the first place from *@place (0 is the first of all) that has it; *@place becomes the one it was. A place
 * proves bad only when the bytes are hashed: then gp_source_place_failed() and the next one. */
GpSourceStream *gp_source_stream_open_at(GpSource *source, guint *place, const GpDescriptor *blob, GError **error);
/* Notes what was wrong with @place for @blob; TRUE if another is left that may do better. */
gboolean gp_source_place_failed(GpSource *source, guint place, const GpDescriptor *blob, const GError *problem);
gboolean gp_source_place_is_local(const GpSource *source, guint place); /* a directory: nothing came from the network */
/* For people; caller's. */
char *gp_source_place_describe(const GpSource *source, guint place, const GpDescriptor *blob);
int gp_source_stream_fd(const GpSourceStream *stream);
gboolean gp_source_stream_finish(GpSourceStream *stream, GError **error);
void gp_source_stream_free(GpSourceStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSourceStream, gp_source_stream_free)

/* One signature as found; who verifies decides what it is. */
typedef enum {
    GP_FOUND_SIMPLE, /* lookaside or signature-N: blob, starting byte decides (OpenPGP or "\0simple-signing\n") */
    GP_FOUND_COSIGN, /* payload and annotations */
    GP_FOUND_BUNDLE, /* a Sigstore bundle */
} GpFoundType;
typedef struct {
    GpFoundType type;
    char *source;        /* for the report */
    GBytes *blob;        /* SIMPLE: the signature; COSIGN: the payload; BUNDLE: the document; NULL with @problem */
    json_t *annotations; /* COSIGN: object of strings */
    char *media_type;    /* COSIGN */
    char *problem;       /* BUNDLE: why it could not be had, machine word first; else NULL */
} GpFoundSignature;
void gp_found_signature_free(GpFoundSignature *found);

/* Detached simple signatures of @digest: docker: @lookaside_base (may be NULL: none), file, http or https; dir:
 * signature-N. GpFoundSignature*; an empty array is success. Any answer but "not there" is an error. */
GPtrArray *gp_source_simple_signatures(
    GpSource *source, const GpReference *reference, const char *lookaside_base, const GpDigest *digest, GError **error);
/* cosign attachments under tag sha256-<hex>.sig (docker; oci: by ref name, or as "cosign save" leaves them), or
 * "\0sigstore-json\n" blobs of dir:. @identity: whom the image is asked for as, or NULL; a payload that says just that
 * is not fetched. */
GPtrArray *gp_source_cosign_signatures(
    GpSource *source, const GpReference *identity, const GpDigest *digest, GError **error);

/* The manifests that are attached to @digest: docker: the referrers API with its pages; oci: the layout's index.
 * *@elsewhere is set where the registry has no such API: gp_source_fallback_referrers() then reads the tag
 * sha256-<hex>, which clients keep instead. GpDescriptor*, unchecked. Errors: as for manifests; nothing there is none.
 */
GPtrArray *gp_source_referrers(GpSource *source, const GpDigest *digest, gboolean *elsewhere, GError **error);
GPtrArray *gp_source_fallback_referrers(GpSource *source, const GpDigest *digest, GError **error);
/* The Sigstore bundles among @referrers (of gp_source_referrers()) that are attached to @digest; each is opened,
 * several at once, whatever the list says that it is. GpFoundSignature* of GP_FOUND_BUNDLE; those that could not be
 * read have "problem" set. Errors: LIMIT for more than GP_LIMIT_REFERRERS that may be bundles; NETWORK, AUTH, SANDBOX,
 * CANCELLED.
 */
GPtrArray *gp_source_bundles(GpSource *source, const GpDigest *digest, GPtrArray *referrers, GError **error);
