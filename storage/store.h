/* The content store: a bare libostree repository and one directory per layer, on the encrypted volume. Layers are named
 * by blob digest (what the puller itself hashed), images by manifest digest. Many processes may use one store. */
#pragma once

#include <glib.h>

#include "base/digest.h"
#include "storage/layer_tree.h"

typedef struct _GpStore GpStore;

typedef enum {
    GP_STORE_READ = 0,   /* must exist */
    GP_STORE_WRITE = 1,  /* created if missing */
    GP_STORE_REMOVE = 2, /* must exist: for rm, prune and quarantine. Others may go on pulling. */
} GpStoreMode;

/* Loads libostree, which the first layer that is written would do and which takes 10 ms: for whoever has time before.
 * Fails silently; who needs it will tell. Meanwhile no other thread of the process can be started. */
void gp_store_prepare(void);
/* Was an image last pulled as @reference into the store at @path? A guess for whoever has not opened it yet: of many
 * images not all are looked at, and a volume may be mounted there later. */
gboolean gp_store_knows(const char *path, const char *reference);

/* The configuration of the image with @manifest if the store at @path has it, and it has the digest @config; else NULL.
 * For whoever has not opened the store yet. */
GBytes *gp_store_config_at(const char *path, const GpDigest *manifest, const GpDigest *config);

/* Opens the store at @path. Without @allow_unencrypted a WRITE open demands that the directory sits on dm-crypt
 * (UNSUPPORTED, naming the option). Leftovers of dead processes (staging directories whose lock nobody holds) are
 * removed. Errors: NOT_FOUND, UNSUPPORTED, SPACE, INTERNAL. */
GpStore *gp_store_open(const char *path, GpStoreMode mode, gboolean allow_unencrypted, GError **error);
void gp_store_free(GpStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpStore, gp_store_free)

/* Where notes of this boot lie, on a tmpfs ("/run/guest-pull"): see gp_store_verify_layer(). */
void gp_store_set_runtime_dir(GpStore *store, const char *runtime_dir);

/* A function that is asked while waiting for other processes: TRUE with an error ends the wait. */
void gp_store_set_cancelled(GpStore *store, gboolean (*cancelled)(GError **error));

/* Marks image @manifest and @layers (GpDigest) as used until @store is freed: no other process removes them, there yet
 * or not. To be called before one looks what is there. Errors: CANCELLED, INTERNAL. */
gboolean gp_store_use_image(GpStore *store, const GpDigest *manifest, const GArray *layers, GError **error);

/* Is the layer with this blob digest committed? */
gboolean gp_store_has_layer(GpStore *store, const GpDigest *blob);
/* diffID recorded with a committed layer. Errors: NOT_FOUND, INTERNAL. */
gboolean gp_store_layer_diff_id(GpStore *store, const GpDigest *blob, GpDigest *diff_id, GError **error);

/* What was recorded by gp_staging_bind_key(), the caller's; NULL without error for a layer that was never encrypted.
 * Errors: NOT_FOUND, INTERNAL. */
gboolean gp_store_layer_key_proof(GpStore *store, const GpDigest *blob, char **proof, GError **error);

/* Content bytes and entries of the layer as recorded. Errors: NOT_FOUND, INTERNAL. */
gboolean gp_store_layer_counts(GpStore *store, const GpDigest *blob, guint64 *bytes, guint64 *entries, GError **error);
/* The blob's size, and what gp_staging_set_form() recorded (the caller's; NULL: nothing). Errors: NOT_FOUND, INTERNAL.
 */
gboolean gp_store_layer_form(GpStore *store, const GpDigest *blob, guint64 *size, char **form, GError **error);

/* Paths (char*) of directories of the layer that need thought when layers are stacked (puller/overlay_plan.h).
 * *@implied: those that only entries below them named (storage/layer_tree.h); *@whiteouts: those with a whiteout right
 * in them. The caller frees both. Errors: NOT_FOUND, INTERNAL. */
gboolean gp_store_layer_directories(
    GpStore *store, const GpDigest *blob, GPtrArray **implied, GPtrArray **whiteouts, GError **error);

/* While it lives, whoever waits for a layer that is finished in this process gets it within a quarter of a second, and
 * not when the whole image is there. To be freed before gp_store_commit() of the image. */
typedef struct _GpStoreGiver GpStoreGiver;
GpStoreGiver *gp_store_giver_start(GpStore *store);
void gp_store_giver_free(GpStoreGiver *giver);

/* A layer being made: a locked staging directory. While one process holds @blob's staging another one's begin waits,
 * and then finds the layer committed: *@already TRUE and NULL returned without error. While it waits, it
 * commits those finished layers of its own that others wait for, without their image: no two pulls wait for each other
 * for ever, and no blob is unpacked twice. Freed uncommitted: everything is removed. Thread-safe. Errors: SPACE,
 * INTERNAL, and what the function of gp_store_set_cancelled() says. */
typedef struct _GpStaging GpStaging;
GpStaging *gp_store_begin_layer(GpStore *store, const GpDigest *blob, gboolean *already, GError **error);
int gp_staging_root_fd(const GpStaging *staging); /* borrowed: the directory that becomes the layer's root */
int gp_store_objects_fd(GpStore *store);          /* borrowed */
int gp_store_fd(GpStore *store);                  /* borrowed: its directory, by which mounts know it */
/* Records that the layer was decrypted, by the key of which @proof is the proof; before gp_staging_complete(). */
void gp_staging_bind_key(GpStaging *staging, const char *proof);
/* Records how the blob was taken apart ("gzip"), for gp_store_layer_form(). Before gp_staging_complete(). */
void gp_staging_set_form(GpStaging *staging, const char *form);
/* Hands the finished tree over, once, and writes the layer's commit, which gp_store_commit() makes a layer of; an error
 * in that is told there. Takes @tree. Thread-safe: call it from the thread that unpacked the layer. */
void gp_staging_complete(GpStaging *staging, GpLayerTree *tree, const GpDigest *diff_id, guint64 blob_size);
void gp_staging_free(GpStaging *staging);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpStaging, gp_staging_free)

/* An image as the store remembers it. */
typedef struct {
    char *reference; /* as last asked for, normalized */
    GpDigest manifest_digest;
    GBytes *manifest, *config;
    GArray *layers; /* GpDigest: blob digests, base first, repeats kept */
    gint64 pulled;  /* seconds since 1970, for people */
} GpStoredImage;
void gp_stored_image_free(GpStoredImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpStoredImage, gp_stored_image_free)

/* One transaction, the image's ref last: all @stagings (GpStaging*, each complete) and, unless NULL, @image, whose
 * layers must be among them or in the store. After success the layers are in place; the stagings stay the caller's to
 * free. After failure nothing has changed. Errors: SPACE, CANCELLED (another process has been committing for a minute),
 * INTERNAL. */
gboolean gp_store_commit(GpStore *store, GPtrArray *stagings, const GpStoredImage *image, GError **error);

/* All images (GpStoredImage*), newest first. */
GPtrArray *gp_store_images(GpStore *store, GError **error);
/* Facts of one layer for lists. */
typedef struct {
    GpDigest blob, diff_id;
    guint64 blob_size, bytes, entries;
    guint images; /* how many images use it */
    gboolean encrypted;
} GpStoredLayer;
GPtrArray *gp_store_layers(GpStore *store, GError **error);
void gp_stored_layer_free(GpStoredLayer *layer);

/* What an image's commit says, without its documents. */
typedef struct {
    GpDigest manifest;
    gint64 pulled; /* the last time, seconds since 1970 */
} GpImageFacts;
/* All images (GpImageFacts), in no order. Errors: INTERNAL. */
GArray *gp_store_image_facts(GpStore *store, GError **error);

/* What went away. */
typedef struct {
    guint64 images, layers;
    guint64 bytes; /* content of those layers' files; the disk's blocks are a little more */
} GpPruned;

/* Removes the image with @manifest and all layers that no image uses any more; what another process is using just now
 * stays for the next time. @runtime_dir: where mounts are recorded (storage/mounts.h; NULL: nothing is mounted). An
 * interrupted removal is completed by the next one. Errors: NOT_FOUND, INVALID (it is mounted), CANCELLED (it has been
 * in use by another process for a minute), INTERNAL. */
gboolean gp_store_remove_image(
    GpStore *store, const GpDigest *manifest, const char *runtime_dir, GpPruned *pruned, GError **error);

typedef struct {
    const char *runtime_dir; /* as above */
    gboolean by_age;
    guint64 older_than; /* seconds since the last pull; only with by_age */
    guint64 free_bytes; /* images go, the least recently pulled first, until so much is free; 0: none */
} GpPruneOptions;

/* Removes layers that no image uses, objects that nothing uses, what lies in quarantine if nothing is mounted, and
 * images as @options say; never what is mounted or in use by another process. Others may go on pulling. Errors:
 * CANCELLED (another process has been writing for a minute), INTERNAL. */
gboolean gp_store_prune(GpStore *store, const GpPruneOptions *options, GpPruned *pruned, GError **error);

/* Of the filesystem: all its bytes, and those that may still be written. */
guint64 gp_store_size(GpStore *store);
guint64 gp_store_free_bytes(GpStore *store);

/* A layer's directory for the overlay, opened O_PATH; the caller closes. Errors: NOT_FOUND. */
int gp_store_open_layer_root(GpStore *store, const GpDigest *blob, GError **error);

/* What fsck found. */
typedef struct {
    GPtrArray *problems;     /* char*, a line each */
    GArray *layers, *images; /* GpDigest: those that problems are about */
    guint64 checked;         /* entries of layers looked at */
} GpFsckReport;
GpFsckReport *gp_fsck_report_new(void);
void gp_fsck_report_free(GpFsckReport *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpFsckReport, gp_fsck_report_free)

/* Checks every byte and attribute that would be mounted against the commits: repository objects, sidecars, layer
 * directories, refs, images' documents. Others may go on pulling and removing. TRUE means that the check itself ran.
 * Errors: CANCELLED, INTERNAL. */
gboolean gp_store_fsck(GpStore *store, GpFsckReport *report, GError **error);
/* The same for one layer, or one image with its layers. Errors: also NOT_FOUND. */
gboolean gp_store_fsck_one(GpStore *store, const GpDigest *digest, GpFsckReport *report, GError **error);

/* Takes damaged @layers and @images (GpDigest, either may be NULL) out of use, whoever uses them: directories go to
 * quarantine/ (a mount may lie on them; gp_store_prune() clears it), refs go, also those of images that name such a
 * layer unless they are mounted. The next pull fetches them again. Errors: CANCELLED, INTERNAL. */
gboolean gp_store_quarantine(
    GpStore *store, const GArray *layers, const GArray *images, const char *runtime_dir, GError **error);

/* Need gp_store_verify_layer() not look any more in this boot? */
gboolean gp_store_is_verified(GpStore *store, const GpDigest *blob);

/* May the layer, which is in the store already, be used? Once in every boot everything in it is checked as by fsck.
 * That it was, or that this boot has written it, is noted in the directory of gp_store_set_runtime_dir(), which is gone
 * with the boot; without that directory the answer is yes. FALSE without an error: it was damaged and is in quarantine
 * now;
 * *@problem (owned by the caller) says why. Errors: CANCELLED, INTERNAL. */
gboolean gp_store_verify_layer(GpStore *store, const GpDigest *blob, char **problem, GError **error);
