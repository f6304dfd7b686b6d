#include "puller/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/worker.h"
#include "puller/cancel.h"
#include "puller/decrypt.h"
#include "puller/parallel.h"
#include "storage/layer_writer.h"

#define PIPE_SIZE (1024 * 1024)
#define CHUNK (128 * 1024)

static const char *const compression_names[] = {
    [GP_COMPRESSION_NONE] = "none", [GP_COMPRESSION_GZIP] = "gzip", [GP_COMPRESSION_ZSTD] = "zstd"};

/* Shared by the threads of one gp_layers_pull(). */
typedef struct {
    GpSource *source;
    GpStore *store;
    const GpKeyProviders *providers;
    const GpLayerLimits *limits;
    GMutex lock;
    guint64 bytes, entries; /* of all layers that are finished; under the lock */
    GError *error;          /* the first failure; under the lock */
    gint failed;            /* atomic: others stop as soon as they see it */
} Batch;

/* The way of one blob from its stream into the unpack worker: hashed, and decrypted, here, by the puller, whatever the
 * workers say. */
typedef struct {
    Batch *batch;
    GpLayerJob *job;
    GpSourceStream *stream;
    GpDecryptor *decryptor; /* NULL: the layer is not encrypted */
    int to_worker;          /* owned; closed at the end so that the worker sees it */
    gboolean sharing;       /* the worker gets the bytes as they are, from pipe to pipe */
    gboolean right;         /* the bytes were those that the manifest names */
    GError *error;
} Feed;

void gp_layer_job_free(GpLayerJob *job)
{
    if (!job)
        return;
    gp_staging_free(job->staging);
    g_free(job->damage);
    g_free(job);
}

static GpLayerJob *find_job(GPtrArray *jobs, const GpDigest *digest)
{
    for (guint i = 0; i < jobs->len; i++)
        if (gp_digest_equal(&((GpLayerJob *) jobs->pdata[i])->descriptor->digest, digest))
            return jobs->pdata[i];
    return NULL;
}

GPtrArray *gp_layers_plan(const GpManifest *manifest, const GpImageConfig *config, GError **error)
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify) gp_layer_job_free);
    for (guint i = 0; i < manifest->layers->len; i++) {
        GpDescriptor *layer = manifest->layers->pdata[i];
        const GpDigest *diff_id = &g_array_index(config->diff_ids, GpDigest, i);
        GpLayerJob *job = find_job(jobs, &layer->digest);
        if (job) {
            g_autofree char *what =
                g_strdup_printf("layer %u: its blob occurs twice, and its diffID in the configuration", i);
            if (!gp_digest_check(&job->diff_id, diff_id, what, error))
                return NULL;
            /* It is fetched and unpacked once, as the first says: what the second says would go unchecked. */
            if (layer->size != job->descriptor->size || strcmp(layer->media_type, job->descriptor->media_type) != 0) {
                g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
                    "layer %u: its blob occurs twice, with different sizes or media types", i);
                return NULL;
            }
            continue;
        }
        job = g_new0(GpLayerJob, 1);
        job->descriptor = layer;
        job->diff_id = *diff_id;
        g_ptr_array_add(jobs, job);
    }
    return g_steal_pointer(&jobs);
}

/* Forwards the next piece, of at most CHUNK bytes, without copying it, and reads it into @buffer. The pipe's pages
 * belong to the kernel (the sandbox keeps workers from lending it theirs by vmsplice or splice), so what is hashed here
 * and what the unpack worker reads is the same. Returns the length, 0 at the end; -1 with errno if this way is no way:
 * EINVAL from what is no pipe, EPIPE from a worker that reads no more. */
static ssize_t share(Feed *feed, int from, guint8 *buffer)
{
    ssize_t shared;
    do
        shared = tee(from, feed->to_worker, CHUNK, 0);
    while (shared < 0 && errno == EINTR);
    return shared <= 0 ? shared : gp_read_full(from, buffer, (gsize) shared, NULL);
}

/* Reads the next piece, of at most CHUNK bytes; *@forwarded if the worker has it already. */
static ssize_t take(Feed *feed, int from, guint8 *buffer, gboolean *forwarded)
{
    if (feed->sharing) {
        ssize_t shared = share(feed, from, buffer);
        *forwarded = shared > 0;
        if (shared >= 0)
            return shared;
        feed->sharing = FALSE;
    }
    ssize_t got;
    do
        got = read(from, buffer, CHUNK);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Hashes, decrypts and forwards the blob. When the worker stops reading, hashing goes on to the end: only then is it
 * known whether the bytes or the archive in them are to blame. FALSE with feed->error. */
static gboolean pump(Feed *feed, GpHasher *hasher)
{
    g_autofree guint8 *buffer = g_malloc(CHUNK);
    guint64 size = feed->job->descriptor->size, total = 0;
    gboolean forwarding = TRUE;
    int from = gp_source_stream_fd(feed->stream);
    while (!g_atomic_int_get(&feed->batch->failed)) {
        gboolean forwarded = FALSE;
        ssize_t got = take(feed, from, buffer, &forwarded);
        if (got < 0) {
            gp_set_errno(&feed->error, errno, "reading the blob");
            return FALSE;
        }
        if (got == 0)
            return TRUE;
        total += (guint64) got;
        if (total > size) {
            g_set_error(&feed->error, GP_ERROR, GP_ERROR_DIGEST,
                "more than the %" G_GUINT64_FORMAT " bytes that the manifest names", size);
            return FALSE;
        }
        gp_hasher_update(hasher, buffer, (gsize) got);
        if (feed->decryptor)
            gp_decryptor_update(feed->decryptor, buffer, (gsize) got);
        if (forwarding && !forwarded)
            forwarding = gp_write_all(feed->to_worker, buffer, (gsize) got, NULL);
        __atomic_store_n(&feed->job->fetched, total, __ATOMIC_RELAXED);
    }
    g_set_error(&feed->error, GP_ERROR, GP_ERROR_CANCELLED, "given up because another layer failed");
    return FALSE;
}

static gpointer feed_thread(gpointer data)
{
    Feed *feed = data;
    const GpDescriptor *layer = feed->job->descriptor;
    g_autoptr(GpHasher) hasher = gp_hasher_new(layer->digest.algorithm);
    gboolean ok = pump(feed, hasher);
    if (ok)
        ok = gp_source_stream_finish(feed->stream, &feed->error);
    if (ok) {
        GpDigest actual;
        gp_hasher_finish(hasher, &actual);
        ok = gp_digest_check(&layer->digest, &actual, "the blob", &feed->error);
        feed->right = ok;
    }
    if (ok && feed->decryptor)
        ok = gp_decryptor_finish(feed->decryptor, &feed->error);
    gp_close_fd(&feed->to_worker);
    return GINT_TO_POINTER(ok);
}

static gboolean make_pipe(int *read_end, int *write_end, GError **error)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    (void) fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE); /* only speed; an ordinary user has a quota */
    *read_end = fds[0];
    *write_end = fds[1];
    return TRUE;
}

static GpWorker *start_unpacker(
    GpCompression compression, int *to_worker, int *from_worker, GpSharedMemory **shared, GError **error)
{
    GP_AUTOFD int blob_in = -1;
    GP_AUTOFD int blob_out = -1;
    GP_AUTOFD int frames_in = -1;
    GP_AUTOFD int frames_out = -1;
    if (!make_pipe(&blob_out, &blob_in, error) || !make_pipe(&frames_out, &frames_in, error) ||
        !(*shared = gp_shared_memory_new(error)))
        return NULL;
    const char *const arguments[] = {compression_names[compression], NULL};
    const int fds[] = {blob_out, frames_in, gp_shared_memory_fd(*shared)};
    GpWorker *worker = gp_worker_spawn("guest-pull-unpack", arguments, fds, G_N_ELEMENTS(fds), error);
    if (worker) {
        *to_worker = gp_steal_fd(&blob_in);
        *from_worker = gp_steal_fd(&frames_out);
    }
    return worker;
}

/* Which of the three accounts of one failure is the cause: bytes that are not the named ones explain whatever the
 * archive looked like; a worker that was killed explains why its answer broke off; but "given up" explains nothing. */
static GError *judge(GError *feeding, GError *writing, GError *ending)
{
    GError *chosen = NULL;
    if (feeding && feeding->code != GP_ERROR_CANCELLED)
        chosen = feeding;
    else if (writing && writing->code != GP_ERROR_SANDBOX)
        chosen = writing;
    else if (ending)
        chosen = ending;
    else
        chosen = writing ? writing : feeding;
    if (feeding != chosen)
        g_clear_error(&feeding);
    if (writing != chosen)
        g_clear_error(&writing);
    if (ending != chosen)
        g_clear_error(&ending);
    return chosen;
}

/* Nobody has the other end any more: whatever ended the worker, it was not us. */
static gboolean has_hung_up(int fd)
{
    struct pollfd look = {.fd = fd};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLHUP);
}

static gboolean is_stopped(gpointer data)
{
    return g_atomic_int_get(&((Batch *) data)->failed) || gp_cancelled(NULL);
}

/* *@wrong: it was the blob that did not come as named, so another place may have a better one. */
static gboolean unpack(Batch *batch, GpLayerJob *job, GpSourceStream *stream, const GpLayerKey *key, GpLayerTree **tree,
    gboolean *wrong, GError **error)
{
    GpCompression compression;
    int to_worker = -1;
    GP_AUTOFD int from_worker = -1;
    if (!gp_layer_compression(job->descriptor, &compression, error))
        return FALSE;
    g_autoptr(GpSharedMemory) shared = NULL;
    g_autoptr(GpWorker) worker = start_unpacker(compression, &to_worker, &from_worker, &shared, error);
    if (!worker)
        return FALSE;

    g_autoptr(GpDecryptor) decryptor = key ? gp_decryptor_new(key) : NULL;
    Feed feed = {.batch = batch,
        .job = job,
        .stream = stream,
        .decryptor = decryptor,
        .to_worker = to_worker,
        .sharing = !decryptor};
    GThread *feeder = g_thread_new("feed", feed_thread, &feed);
    GpLayerTarget target = {.objects_fd = gp_store_objects_fd(batch->store),
        .root_fd = gp_staging_root_fd(job->staging),
        .max_bytes = MIN(gp_layer_limits_bytes(batch->limits, job->descriptor->size), batch->limits->image_bytes),
        .max_entries = MIN(batch->limits->layer_entries, batch->limits->image_entries),
        .limits = batch->limits,
        .stopped = is_stopped,
        .stopped_data = batch,
        .shared = shared};
    GpLayerProgress progress = {0};
    GpDigest diff_id;
    GError *writing = NULL, *ending = NULL;
    g_autoptr(GpLayerTree) written = gp_layer_write(from_worker, &target, &progress, &diff_id, &writing);
    gboolean died = has_hung_up(from_worker);
    if (!written)
        gp_worker_kill(worker);
    gp_close_fd(&from_worker);
    gboolean fed = GPOINTER_TO_INT(g_thread_join(feeder));
    gboolean ended = gp_worker_wait(worker, &ending);
    *wrong = !fed && !feed.right && feed.error && feed.error->code != GP_ERROR_CANCELLED;
    if (!fed || !written || !ended) {
        /* Our own SIGKILL is not the worker's fault. */
        if (!written && (writing->code != GP_ERROR_SANDBOX || !died))
            g_clear_error(&ending);
        g_propagate_error(error, judge(feed.error, writing, ending));
        return FALSE;
    }
    job->entries = written->entries;
    job->unpacked = written->bytes;
    if (!gp_digest_check(&job->diff_id, &diff_id, "the unpacked layer (diffID)", error))
        return FALSE;
    *tree = g_steal_pointer(&written);
    return TRUE;
}

/* What an image calls a layer of the store must be what the layer was when it came in: a decrypted layer belongs to
 * whoever has its key, and a blob that was a plain layer is no encrypted one. */
static gboolean check_key(const char *stored, const char *shown, GError **error)
{
    if (!stored && !shown)
        return TRUE;
    if (stored && shown && strlen(stored) == strlen(shown) && CRYPTO_memcmp(stored, shown, strlen(stored)) == 0)
        return TRUE;
    if (!stored)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "not-encrypted: the manifest says that the layer is encrypted, but the store has the same blob as a plain "
            "layer");
    else
        g_set_error(error, GP_ERROR, GP_ERROR_KEY,
            "key-required: cannot decrypt the layer: the store has it, but this image %s",
            shown ? "shows another key than the one that decrypted it" : "names it without its key");
    return FALSE;
}

/* The blob was taken apart as another manifest said: one that says otherwise of the same bytes would have been refused
 * if it had come first. */
static gboolean check_form(Batch *batch, const GpDescriptor *layer, GError **error)
{
    GpCompression compression;
    g_autofree char *form = NULL;
    guint64 size;
    if (!gp_layer_compression(layer, &compression, error) ||
        !gp_store_layer_form(batch->store, &layer->digest, &size, &form, error))
        return FALSE;
    if (size != layer->size)
        g_set_error(error, GP_ERROR, GP_ERROR_DIGEST,
            "the manifest names %" G_GUINT64_FORMAT " bytes, but the blob in the store had %" G_GUINT64_FORMAT,
            layer->size, size);
    else if (form && strcmp(form, compression_names[compression]) != 0)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "the media type says \"%s\", but the blob in the store was unpacked as \"%s\"",
            compression_names[compression], form);
    else
        return TRUE;
    return FALSE;
}

/* A layer in the store was verified when it came in; that this image's configuration calls it by another diffID makes
 * *this* image wrong. */
static gboolean check_stored(Batch *batch, GpLayerJob *job, const char *proof, GError **error)
{
    GpDigest stored;
    g_autofree char *stored_proof = NULL;
    return gp_store_layer_key_proof(batch->store, &job->descriptor->digest, &stored_proof, error) &&
           check_key(stored_proof, proof, error) &&
           gp_store_layer_diff_id(batch->store, &job->descriptor->digest, &stored, error) &&
           gp_digest_check(&job->diff_id, &stored, "the stored layer's diffID", error) &&
           check_form(batch, job->descriptor, error);
}

/* Looks whether the store has the layer, and a good one; else it becomes job->staging's to make. What was damaged is in
 * quarantine and comes anew. */
static gboolean find_or_begin(Batch *batch, GpLayerJob *job, gboolean *already, GError **error)
{
    const GpDigest *blob = &job->descriptor->digest;
    for (;;) {
        char *damage = NULL;
        *already = gp_store_has_layer(batch->store, blob);
        if (!*already)
            job->staging = gp_store_begin_layer(batch->store, blob, already, error);
        if (!*already)
            return job->staging != NULL;
        if (gp_store_verify_layer(batch->store, blob, &damage, error))
            return TRUE;
        if (!damage)
            return FALSE;
        g_free(job->damage);
        job->damage = gp_escape(damage, -1, 2000);
        g_free(damage);
    }
}

static gboolean over_limit(const char *what, guint64 limit, GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%s: more than %" G_GUINT64_FORMAT, what, limit);
    return FALSE;
}

/* Adds a finished layer to the image's sums. A stored one came in under limits that may have been others. */
static gboolean account(Batch *batch, const GpLayerJob *job, guint64 bytes, guint64 entries, GError **error)
{
    const GpLayerLimits *limits = batch->limits;
    if (bytes > gp_layer_limits_bytes(limits, job->descriptor->size))
        return over_limit("layer_bytes", gp_layer_limits_bytes(limits, job->descriptor->size), error);
    if (entries > limits->layer_entries)
        return over_limit("layer_entries", limits->layer_entries, error);
    g_mutex_lock(&batch->lock);
    guint64 all_bytes = batch->bytes += bytes, all_entries = batch->entries += entries;
    g_mutex_unlock(&batch->lock);
    if (all_bytes > limits->image_bytes)
        return over_limit("image_bytes", limits->image_bytes, error);
    return all_entries <= limits->image_entries || over_limit("image_entries", limits->image_entries, error);
}

static gboolean account_stored(Batch *batch, const GpLayerJob *job, GError **error)
{
    guint64 bytes, entries;
    return gp_store_layer_counts(batch->store, &job->descriptor->digest, &bytes, &entries, error) &&
           account(batch, job, bytes, entries, error);
}

/* What comes of one try to make a layer. */
typedef enum {
    MADE,
    STORED, /* another pull has made it meanwhile */
    BROKEN,
} Making;

/* Place by place, until one has the blob as it is named; what came from a worse one goes with its staging. */
static Making make_layer(Batch *batch, GpLayerJob *job, const GpLayerKey *key, GpLayerTree **tree, GError **error)
{
    const GpDescriptor *layer = job->descriptor;
    for (;; job->place++) {
        gboolean already, wrong = FALSE;
        g_autoptr(GError) cause = NULL;
        if (!find_or_begin(batch, job, &already, error))
            return BROKEN;
        if (already)
            return STORED;
        g_atomic_int_set(&job->state, GP_LAYER_PULLING);
        g_autoptr(GpSourceStream) stream = gp_source_stream_open_at(batch->source, &job->place, layer, error);
        if (!stream)
            return BROKEN;
        if (unpack(batch, job, stream, key, tree, &wrong, &cause))
            return MADE;
        if (!wrong || !gp_source_place_failed(batch->source, job->place, layer, cause)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return BROKEN;
        }
        g_clear_pointer(&job->staging, gp_staging_free);
        __atomic_store_n(&job->fetched, 0, __ATOMIC_RELAXED);
    }
}

static gboolean pull_layer(Batch *batch, GpLayerJob *job, GError **error)
{
    g_autoptr(GpLayerKey) key = NULL;
    g_autofree char *proof = NULL;
    if (gp_layer_is_encrypted(job->descriptor)) {
        key = gp_layer_key_unwrap(batch->providers, job->descriptor, error);
        if (!key)
            return FALSE;
        proof = gp_layer_key_proof(key, &job->descriptor->digest);
    }
    GpLayerTree *tree = NULL;
    Making made = make_layer(batch, job, key, &tree, error);
    if (made == BROKEN)
        return FALSE;
    if (made == STORED) {
        if (!check_stored(batch, job, proof, error) || !account_stored(batch, job, error))
            return FALSE;
        g_atomic_int_set(&job->state, GP_LAYER_REUSED);
        return TRUE;
    }
    if (!account(batch, job, job->unpacked, job->entries, error)) {
        gp_layer_tree_free(tree);
        return FALSE;
    }
    if (proof)
        gp_staging_bind_key(job->staging, proof);
    GpCompression compression;
    if (gp_layer_compression(job->descriptor, &compression, NULL))
        gp_staging_set_form(job->staging, compression_names[compression]);
    gp_staging_complete(job->staging, tree, &job->diff_id, job->descriptor->size);
    g_atomic_int_set(&job->state, GP_LAYER_DONE);
    return TRUE;
}

static void run_job(gpointer data, gpointer user_data)
{
    GpLayerJob *job = data;
    Batch *batch = user_data;
    if (g_atomic_int_get(&batch->failed))
        return;
    g_autoptr(GError) error = NULL;
    if (pull_layer(batch, job, &error))
        return;
    g_atomic_int_set(&job->state, GP_LAYER_FAILED);
    g_clear_pointer(&job->staging, gp_staging_free);
    g_autofree char *digest = gp_digest_to_string(&job->descriptor->digest);
    g_prefix_error(&error, "layer %s: ", digest);
    g_mutex_lock(&batch->lock);
    if (!batch->error)
        batch->error = g_steal_pointer(&error);
    g_mutex_unlock(&batch->lock);
    g_atomic_int_set(&batch->failed, 1);
}

static gint bigger_first(gconstpointer a, gconstpointer b, gpointer unused)
{
    guint64 x = ((const GpLayerJob *) a)->descriptor->size, y = ((const GpLayerJob *) b)->descriptor->size;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* What is to do for the layer takes less time than a thread for it: there it is, and no key is to be asked for. */
static gboolean is_at_hand(const Batch *batch, const GpLayerJob *job)
{
    const GpDescriptor *layer = job->descriptor;
    return !gp_layer_is_encrypted(layer) && gp_store_has_layer(batch->store, &layer->digest) &&
           gp_store_is_verified(batch->store, &layer->digest);
}

static void run_in_threads(Batch *batch, GPtrArray *jobs, guint threads)
{
    GpStoreGiver *giver = gp_store_giver_start(batch->store);
    if (!gp_parallel_run(run_job, jobs, batch, CLAMP(threads, 1, GP_LIMIT_PARALLEL), bigger_first, &batch->error))
        g_prefix_error(&batch->error, "layers: ");
    gp_store_giver_free(giver);
}

gboolean gp_layers_pull(GpSource *source, GpStore *store, GPtrArray *jobs, const GpLayersHow *how, GError **error)
{
    Batch batch = {.source = source, .store = store, .providers = how->providers, .limits = how->limits};
    g_autoptr(GPtrArray) others = g_ptr_array_new();
    g_mutex_init(&batch.lock);
    for (guint i = 0; i < jobs->len; i++) {
        if (is_at_hand(&batch, jobs->pdata[i]))
            run_job(jobs->pdata[i], &batch);
        else
            g_ptr_array_add(others, jobs->pdata[i]);
    }
    if (others->len > 0)
        run_in_threads(&batch, others, how->parallel);
    g_mutex_clear(&batch.lock);
    if (!batch.error)
        return TRUE;
    g_autoptr(GError) failure = batch.error;
    if (!gp_cancelled(error))
        g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}
