/* What the files of the store share; nobody else includes it. Layout of the store's directory:
 *
 *   repo/               libostree, bare: refs layer/<algorithm>/<hex>, image/<algorithm>/<hex>, whose file's time is
 *                       that of the last pull
 *   layers/<a>-<hex>/   root/ is the layer as it is mounted
 *   staging/<random>/   the same in the making; locked by whoever makes it: an unlocked one is a dead process's
 *   locks/<a>-<hex>     held while a blob is being unpacked, so that a second pull waits instead of doing it again
 *   locks/….wanted      held by who waits for it, so that the holder commits the layer as soon as it is finished
 *   locks/writing       held while refs and layers/ change together
 *   locks/objects       shared by who writes commits, exclusive for who removes objects; counts removals, see below
 *   locks/used          a byte for each layer and image, locked by who uses it: see store_use.c
 *   lock                shared by everyone, exclusive for who clears locks/ away
 *   quarantine/<random> a layer that was found damaged, as staging/
 *   garbage             there if unused objects may lie in repo/
 *
 * Refs: layer/<algorithm>/<hex>, image/<algorithm>/<hex>, and making/<random> for the finished commit of the layer in
 * staging/<random>. Objects that only a layer in the making has are not kept by any ref: who removes objects may take
 * them, and the layer's commit puts them back (store_relink.c).
 *
 * All locks are flock(2) or fcntl(2)'s of open files, so that no dead process holds one. Order: lock, used, a blob's,
 * writing, objects. */
#pragma once

#include "storage/libostree.h"
#include "storage/store.h"

struct _GpStore {
    char *path;
    char *runtime_dir; /* NULL: nothing is noted or asked about this boot */
    GpStoreMode mode;
    int fd; /* of the directory */
    int lock_fd;
    int objects_fd;
    int uses_fd, claims_fd; /* of locks/used; apart, so that our own use stops our own removal too */
    OstreeRepo *repo;       /* NULL until gp_store_repository() */
    GMutex lock;            /* OstreeRepo is used by one thread at a time */
    GMutex commits_lock;
    GHashTable *commits;                   /* GpDigest to metadata: see store_read.c */
    gboolean (*cancelled)(GError **error); /* NULL: nobody cancels */
    GMutex finished_lock;
    GPtrArray *finished; /* GpStaging*, borrowed: complete; those not committed yet hold their blob's lock */
    gint garbage;        /* atomic: a staging was given up, its objects are still there */
};

struct _GpStaging {
    GpStore *store;
    GpDigest blob;
    char *name; /* in staging/; NULL once it has become a layer */
    int fd;     /* of the directory, locked */
    int root_fd;
    int blob_lock_fd; /* -1: another process works on the blob too, and the first commit wins */
    gboolean complete;
    GpDigest diff_id;
    guint64 blob_size;
    guint64 generation; /* of the objects when it began */
    char *form;         /* as gp_staging_set_form() says; NULL */
    char *key_proof;    /* NULL: not an encrypted layer */
    char *commit;       /* checksum of the layer's commit, which no ref names yet; NULL until complete */
    GError *error;      /* why there is none although the layer is complete; told by gp_store_commit() */
};

/* "sha256-<hex>": a file name. */
char *gp_store_file_name(const GpDigest *digest);
/* "layer/sha256/<hex>" or "image/…": a ref. */
char *gp_store_ref(const char *kind, const GpDigest *digest);
/* The digest that a ref of @kind names; FALSE if it is none. */
gboolean gp_store_ref_digest(const char *kind, const char *ref, GpDigest *digest);

/* Opens store->repo, for whoever is going to use it; the first one loads libostree. Thread-safe; not to be called with
 * store->lock held. Errors: INTERNAL. */
gboolean gp_store_repository(GpStore *store, GError **error);

/* An empty store->commits. */
GHashTable *gp_store_commits_new(void);

/* The commit and its metadata (a{sv}, new reference) behind a ref. Errors: NOT_FOUND, INTERNAL, DIGEST (the commit is
 * not the one of its name; integrity). */
gboolean gp_store_load(GpStore *store, const char *ref, char **commit, GVariant **metadata, GError **error);

/* Bytes of file @name at the top of @commit. */
GBytes *gp_store_read_file(GpStore *store, const char *commit, const char *name, gsize max, GError **error);

/* The layers (GpDigest) that an image names, from its commit's metadata alone. Errors: NOT_FOUND, INTERNAL. */
GArray *gp_store_image_layers(GpStore *store, const GpDigest *manifest, GError **error);

/* Takes @operation (LOCK_SH, LOCK_EX) on @fd, looking again every 20 ms for at most @seconds. FALSE: somebody else
 * still has it; errno otherwise. */
gboolean gp_store_flock(int fd, int operation, guint seconds);

/* locks/writing, closed by the caller. Errors: CANCELLED (another process keeps it for a minute), INTERNAL. */
int gp_store_lock_writing(GpStore *store, GError **error);

/* Writes the commit of the layer in @staging, which holds @tree. Returns its checksum, owned by the caller.
 * Thread-safe. Errors: SPACE, INTERNAL. */
char *gp_store_write_layer(GpStaging *staging, GpLayerTree *tree, GError **error);

/* Removes leftovers of dead processes: staging directories. Looks whether there is garbage. */
void gp_store_sweep(GpStore *store);

/* The same for layer directories without a ref. The caller holds locks/writing. */
void gp_store_sweep_layers(GpStore *store);

/* Removes objects that no ref reaches, and the refs of what dead processes had in the making. The caller holds
 * locks/writing. Errors: CANCELLED (others have been writing commits for a minute), INTERNAL. */
gboolean gp_store_prune_objects(GpStore *store, GError **error);

/* At the end: removes the objects of layers that were given up, if nobody else has the store open; else leaves word for
 * the next one. The shared lock is lost. */
void gp_store_collect(GpStore *store);

/* ---- store_remove.c */

/* Moves the layer's directory, whose ref is gone, into @folder ("staging": it is swept away from there). None: fine.
 * The caller holds locks/writing. Errors: INTERNAL, SPACE. */
gboolean gp_store_move_layer(GpStore *store, const GpDigest *blob, const char *folder, GError **error);

/* Content bytes of the layer as recorded; 0 if its commit cannot be read. */
guint64 gp_store_layer_bytes(GpStore *store, const GpDigest *blob);

/* Notes that this boot has written the layer, so that gp_store_verify_layer() need not look. Failure costs a look. */
void gp_store_note_verified(GpStore *store, const GpDigest *blob);

/* Checks what would be mounted of one layer, and the record that says how it must be; objects that are not mounted are
 * left to gp_store_fsck(). @problems: as there. Thread-safe. */
void gp_store_check_layer(GpStore *store, const GpDigest *blob, GPtrArray *problems);

/* One image with its documents. Errors: NOT_FOUND, INTERNAL. */
GpStoredImage *gp_store_load_image(GpStore *store, const GpDigest *digest, GError **error);

/* ---- store_use.c */

/* locks/used, opened; -1 with errno. */
int gp_store_open_used(const GpStore *store);

/* Marks a layer or image ("layer", "image") as used by us until gp_store_unuse() or the end: nobody removes it. It need
 * not exist. Errors: CANCELLED (it has been on its way out for a minute, or the caller's wish), INTERNAL. */
gboolean gp_store_use(GpStore *store, const char *kind, const GpDigest *digest, GError **error);
void gp_store_unuse(GpStore *store, const char *kind, const GpDigest *digest);

/* Takes it for removal: nobody uses it, and whoever wants to waits. Without @wait FALSE says that somebody uses it, and
 * there is no error; with it that is CANCELLED after a minute. */
gboolean gp_store_claim(GpStore *store, const char *kind, const GpDigest *digest, gboolean wait, GError **error);
void gp_store_disclaim(GpStore *store, const char *kind, const GpDigest *digest);

/* ---- store_objects.c */

/* locks/objects, locked and closed by the caller: LOCK_SH to write commits, LOCK_EX to remove objects. Errors:
 * CANCELLED (not free for a minute), INTERNAL, SPACE. */
int gp_store_lock_objects(GpStore *store, int operation, GError **error);

/* How often objects were removed: odd while somebody does it, or died doing it. */
guint64 gp_store_generation(GpStore *store);

/* Puts the objects of @staging's files back that were removed since it began. The caller holds locks/objects. Errors:
 * SPACE, INTERNAL. */
gboolean gp_store_relink(GpStaging *staging, GpLayerTree *tree, GError **error);

/* ---- store_refs.c */

/* All refs of @kind, as digests (GpDigest). Errors: INTERNAL. */
GArray *gp_store_list(GpStore *store, const char *kind, GError **error);

/* The names below making/ (char*), temporary files included. Errors: INTERNAL. */
GPtrArray *gp_store_making(GpStore *store, GError **error);

/* Does the layer or image have a ref? */
gboolean gp_store_has_ref(GpStore *store, const char *kind, const GpDigest *digest);

/* Removes the ref of @kind. Errors: INTERNAL. */
gboolean gp_store_drop_ref(GpStore *store, const char *kind, const GpDigest *digest, GError **error);

/* When the ref was given its commit, or the image was last pulled: its file's time. Errors: INTERNAL. */
gboolean gp_store_ref_time(GpStore *store, const char *kind, const GpDigest *digest, gint64 *seconds, GError **error);
gboolean gp_store_set_ref_time(
    GpStore *store, const char *kind, const GpDigest *digest, gint64 seconds, GError **error);

/* Keys of commit metadata. */
#define GP_META_BLOB "guest-pull.blob"
#define GP_META_DIFF_ID "guest-pull.diff-id"
#define GP_META_BLOB_SIZE "guest-pull.blob-size"
#define GP_META_FORM "guest-pull.form"
#define GP_META_KEY_PROOF "guest-pull.key-proof"
#define GP_META_BYTES "guest-pull.bytes"
#define GP_META_ENTRIES "guest-pull.entries"
#define GP_META_IMPLIED "guest-pull.implied"
#define GP_META_WHITEOUTS "guest-pull.whiteouts"
#define GP_META_REFERENCE "guest-pull.reference"
#define GP_META_LAYERS "guest-pull.layers"

/* Files at the top of commits. */
#define GP_FILE_ENTRIES "entries"
#define GP_FILE_MANIFEST "manifest"
#define GP_FILE_CONFIG "config"
#define GP_LIMIT_SIDECAR (4 * GP_GIB)

/* Commits those layers of @store in the making that are finished and that another process waits for. Thread-safe. */
void gp_store_give_finished(GpStore *store);
