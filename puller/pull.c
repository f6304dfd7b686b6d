#include "puller/pull.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/cancel.h"
#include "puller/locations.h"
#include "puller/measure.h"
#include "puller/mount.h"
#include "puller/pull_state.h"
#include "puller/receipt.h"
#include "puller/volume.h"

const char *gp_pull_state_name(GpPullState state)
{
    static const char *const names[] = {
        "resolve", "manifest", "verify", "layers", "commit", "measure", "rootfs", "done", "failed"};
    return names[state];
}

GpPull *gp_pull_new(const GpPullOptions *options)
{
    GpPull *pull = g_new0(GpPull, 1);
    pull->options = options;
    pull->started = g_get_real_time();
    pull->mounting = -1;
    pull->notes = gp_notes_new();
    g_mutex_init(&pull->lock);
    return pull;
}

void gp_pull_free(GpPull *pull)
{
    if (!pull)
        return;
    g_clear_pointer(&pull->jobs, g_ptr_array_unref);
    gp_key_providers_free(pull->providers);
    gp_close_fd(&pull->mounting);
    gp_store_free(pull->store);
    gp_source_free(pull->source);
    gp_fetch_free(pull->fetch);
    gp_verify_material_free(pull->material);
    if (pull->loader)
        g_thread_join(pull->loader);
    gp_resources_free(pull->resources);
    g_clear_pointer(&pull->locations, g_ptr_array_unref);
    gp_registries_free(pull->registries);
    gp_notes_free(pull->notes);
    gp_image_config_free(pull->config);
    g_clear_pointer(&pull->config_bytes, g_bytes_unref);
    gp_manifest_free(pull->manifest);
    g_clear_pointer(&pull->manifest_bytes, g_bytes_unref);
    gp_verdict_free(pull->verdict);
    gp_lookaside_free(pull->lookaside);
    gp_credentials_free(pull->credentials);
    gp_policy_free(pull->policy);
    gp_reference_free(pull->as);
    gp_image_name_free(pull->name);
    g_free(pull->policy_digest);
    g_free(pull->rootfs);
    g_free(pull->measurement);
    g_free(pull->receipt);
    g_mutex_clear(&pull->lock);
    g_free(pull);
}

const GpVerdict *gp_pull_verdict(const GpPull *pull)
{
    return pull->verdict;
}

const GpDigest *gp_pull_manifest_digest(const GpPull *pull)
{
    return &pull->subject.manifest;
}

/* ---- MANIFEST */

/* The image's next location if it has one and that may do better than the one that failed with @failure. */
static gboolean try_next_location(GpPull *pull, const GError *failure)
{
    if (!pull->locations || pull->location + 1 >= pull->locations->len || !gp_locations_may_cure(failure))
        return FALSE;
    g_autofree char *where = gp_location_describe(pull->locations->pdata[pull->location]);
    gp_notes_add(pull->notes, where, failure);
    pull->location++;
    return TRUE;
}

/* Nothing that a failed location said is kept. */
static void forget_manifest(GpPull *pull)
{
    g_clear_pointer(&pull->verdict, gp_verdict_free);
    g_clear_pointer(&pull->manifest, gp_manifest_free);
    g_clear_pointer(&pull->manifest_bytes, g_bytes_unref);
    g_clear_pointer(&pull->source, gp_source_free);
    pull->subject = (GpVerifySubject){0};
}

static gboolean open_source(GpPull *pull, GError **error)
{
    const GpLocation *location = pull->locations ? pull->locations->pdata[pull->location] : NULL;
    pull->source = gp_source_open(pull->name, pull->fetch, location, error);
    if (!pull->source)
        return FALSE;
    GpSourceElsewhere elsewhere = {.directories = pull->options->blob_directories,
        .locations = pull->locations,
        .first_location = pull->location + 1,
        .urls = pull->options->allow_foreign_layers,
        .notes = pull->notes};
    if (location)
        gp_source_set_elsewhere(pull->source, &elsewhere);
    return TRUE;
}

/* What an index's entry says of a document, the document says of itself: clients that believe the one and those that
 * believe the other must see the same image. */
static gboolean check_entry_type(const char *said, const char *is, GError **error)
{
    if (strcmp(said, is) == 0)
        return TRUE;
    g_autofree char *shown = gp_escape(said, -1, 200);
    g_set_error(
        error, GP_ERROR, GP_ERROR_INVALID, "the index's entry says \"%s\", but the document is \"%s\"", shown, is);
    return FALSE;
}

static gboolean get_manifest_here(GpPull *pull, GError **error)
{
    g_auto(GpPlatform) platform = {0};
    g_autofree char *type = NULL;
    g_autoptr(GpIndex) index = NULL;
    if (!gp_platform_parse(pull->options->platform, &platform, error) || !open_source(pull, error))
        return FALSE;
    GpDigest digest;
    pull->manifest_bytes = gp_source_top(pull->source, &digest, &type, error);
    if (!pull->manifest_bytes || !gp_manifest_parse(pull->manifest_bytes, type, &pull->manifest, &index, error))
        return FALSE;
    if (index) {
        pull->subject.has_index = TRUE;
        pull->subject.index = digest;
    }
    for (int depth = 1; index; depth++) {
        const GpDescriptor *chosen = gp_index_choose(index, &platform, error);
        if (!chosen)
            return FALSE;
        if (depth > GP_LIMIT_INDEX_DEPTH) {
            g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "indexes nested deeper than %d", GP_LIMIT_INDEX_DEPTH);
            return FALSE;
        }
        digest = chosen->digest;
        g_autofree char *said = g_strdup(chosen->media_type);
        g_clear_pointer(&pull->manifest_bytes, g_bytes_unref);
        g_clear_pointer(&type, g_free);
        pull->manifest_bytes = gp_source_manifest(pull->source, &digest, chosen->size, &type, error);
        g_clear_pointer(&index, gp_index_free);
        if (!pull->manifest_bytes || !gp_manifest_parse(pull->manifest_bytes, type, &pull->manifest, &index, error) ||
            !check_entry_type(said, index ? index->media_type : pull->manifest->media_type, error))
            return FALSE;
    }
    pull->subject.manifest = digest;
    return TRUE;
}

/* Location by location. */
static gboolean get_manifest(GpPull *pull, GError **error)
{
    if (pull->fetch && !gp_fetch_ready(pull->fetch, error))
        return FALSE;
    for (;;) {
        g_autoptr(GError) failure = NULL;
        forget_manifest(pull);
        if (get_manifest_here(pull, &failure))
            return TRUE;
        if (!try_next_location(pull, failure)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
    }
}

/* ---- VERIFY */

static gboolean verify_here(GpPull *pull, GError **error)
{
    GpVerifyRequest request = {.source = pull->source,
        .identity = pull->identity,
        .scope = pull->scope,
        .requirements = pull->requirements,
        .policy_digest = pull->policy_digest,
        .lookaside = pull->lookaside,
        .subject = &pull->subject,
        .manifest = pull->manifest,
        .material = pull->material};
    return gp_verify_image(&request, &pull->verdict, error);
}

/* An image that a mirror has altered, or whose signatures it lacks, is asked for at the next location. The next state.
 */
static GpPullState verify(GpPull *pull, GError **error)
{
    g_autoptr(GError) failure = NULL;
    if (verify_here(pull, &failure)) {
        g_clear_pointer(&pull->material, gp_verify_material_free);
        return pull->options->bundle ? GP_PULL_LAYERS : GP_PULL_DONE;
    }
    if (try_next_location(pull, failure))
        return GP_PULL_MANIFEST;
    g_propagate_error(error, g_steal_pointer(&failure));
    return GP_PULL_FAILED;
}

/* ---- LAYERS */

/* An image for another machine cannot run here; "" is what images built from nothing have. */
static gboolean check_platform(GpPull *pull, GError **error)
{
    g_auto(GpPlatform) platform = {0};
    if (!gp_platform_parse(pull->options->platform, &platform, error))
        return FALSE;
    const GpImageConfig *config = pull->config;
    gboolean same_os = !config->os || !*config->os || g_str_equal(config->os, platform.os);
    gboolean same_arch =
        !config->architecture || !*config->architecture || g_str_equal(config->architecture, platform.architecture);
    if (same_os && same_arch)
        return TRUE;
    g_autofree char *os = gp_escape(config->os ? config->os : "", -1, 40);
    g_autofree char *architecture = gp_escape(config->architecture ? config->architecture : "", -1, 40);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
        "the image is for %s/%s, not %s/%s\nAsk for it with --platform if that is what you want.", os, architecture,
        platform.os, platform.architecture);
    return FALSE;
}

/* From the store, if this very image is there: that it has the right digest is all that counts. */
static gboolean get_config(GpPull *pull, GError **error)
{
    const GpDescriptor *descriptor = pull->manifest->config;
    pull->config_bytes = gp_store_config_at(pull->options->store, &pull->subject.manifest, &descriptor->digest);
    if (!pull->config_bytes)
        pull->config_bytes =
            gp_source_blob(pull->source, &descriptor->digest, descriptor->size, GP_LIMIT_CONFIG, error);
    if (!pull->config_bytes) {
        g_prefix_error(error, "image configuration: ");
        return FALSE;
    }
    pull->config = gp_image_config_parse(pull->config_bytes, pull->manifest->layers->len, error);
    return pull->config && check_platform(pull, error);
}

static gboolean commit_layers(GpPull *pull, const GpStoredImage *image, GError **error)
{
    g_autoptr(GPtrArray) stagings = g_ptr_array_new();
    for (guint i = 0; i < pull->jobs->len; i++) {
        GpLayerJob *job = pull->jobs->pdata[i];
        if (g_atomic_int_get(&job->state) == GP_LAYER_DONE)
            g_ptr_array_add(stagings, job->staging);
    }
    return gp_store_commit(pull->store, stagings, image, error);
}

/* Layers that were finished before the network or the time gave out are as good as any; a pull that failed for what it
 * was given leaves nothing. */
static void keep_finished_layers(GpPull *pull, const GError *failure)
{
    GpErrorCode code = gp_error_code(failure);
    g_autoptr(GError) ignored = NULL;
    if ((code == GP_ERROR_NETWORK || code == GP_ERROR_CANCELLED) && !commit_layers(pull, NULL, &ignored))
        g_debug("finished layers are not kept: %s", ignored->message);
}

static GArray *layer_digests(const GpPull *pull)
{
    GArray *layers = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    for (guint i = 0; i < pull->manifest->layers->len; i++)
        g_array_append_val(layers, ((GpDescriptor *) pull->manifest->layers->pdata[i])->digest);
    return layers;
}

/* Asked for only by images that need it: a guest without encrypted images has no such configuration. */
static gboolean find_key_providers(GpPull *pull, GError **error)
{
    for (guint i = 0; i < pull->manifest->layers->len && !pull->providers; i++) {
        if (!gp_layer_is_encrypted(pull->manifest->layers->pdata[i]))
            continue;
        pull->providers = gp_key_providers_load(
            pull->options->cdh_socket, pull->options->key_provider_config, pull->options->decryption_key, error);
        if (!pull->providers)
            return FALSE;
    }
    return TRUE;
}

static guint64 missing_bytes(const GpPull *pull)
{
    guint64 bytes = 0;
    for (guint i = 0; i < pull->jobs->len; i++) {
        const GpDescriptor *layer = ((GpLayerJob *) pull->jobs->pdata[i])->descriptor;
        bytes += gp_store_has_layer(pull->store, &layer->digest) ? 0 : layer->size;
    }
    return bytes;
}

static gboolean get_layers(GpPull *pull, GError **error)
{
    const GpPullOptions *options = pull->options;
    if (pull->manifest->layers->len > options->limits.image_layers) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "image_layers: %u, at most %" G_GUINT64_FORMAT " may be",
            pull->manifest->layers->len, options->limits.image_layers);
        return FALSE;
    }
    if (!options->allow_foreign_layers && !gp_manifest_refuse_foreign(pull->manifest, error))
        return FALSE;
    if (!get_config(pull, error) || !find_key_providers(pull, error))
        return FALSE;
    GPtrArray *jobs = gp_layers_plan(pull->manifest, pull->config, error);
    if (!jobs)
        return FALSE;
    g_mutex_lock(&pull->lock);
    pull->jobs = jobs;
    g_mutex_unlock(&pull->lock);
    if (!gp_puller_prepare_storage(options, pull->resources, error))
        return FALSE;
    pull->store = gp_store_open(options->store, GP_STORE_WRITE, options->allow_unencrypted_store, error);
    if (!pull->store)
        return FALSE;
    gp_store_set_cancelled(pull->store, gp_cancelled);
    gp_store_set_runtime_dir(pull->store, options->runtime_dir);
    g_autoptr(GArray) layers = layer_digests(pull);
    if (!gp_store_use_image(pull->store, &pull->subject.manifest, layers, error))
        return FALSE;
    gp_room_make(pull->store, &options->low_water, &options->high_water, options->runtime_dir, missing_bytes(pull));
    g_autoptr(GError) failure = NULL;
    const GpLayersHow how = {
        .providers = pull->providers, .limits = &options->limits, .parallel = options->max_parallel};
    if (gp_layers_pull(pull->source, pull->store, jobs, &how, &failure)) {
        gp_fetch_end(pull->fetch);
        return TRUE;
    }
    keep_finished_layers(pull, failure);
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

/* ---- COMMIT */

static gboolean commit(GpPull *pull, GError **error)
{
    g_autoptr(GpStoredImage) image = g_new0(GpStoredImage, 1);
    image->reference = pull->identity ? gp_reference_to_string(pull->identity) : g_strdup(pull->options->image);
    image->manifest_digest = pull->subject.manifest;
    image->manifest = g_bytes_ref(pull->manifest_bytes);
    image->config = g_bytes_ref(pull->config_bytes);
    image->layers = layer_digests(pull);
    image->pulled = g_get_real_time() / G_USEC_PER_SEC;
    return commit_layers(pull, image, error);
}

/* ---- MEASURE */

/* The image's name as it was asked for, since that is what others can compare with. */
static gboolean measure(GpPull *pull, GError **error)
{
    const GpPullOptions *options = pull->options;
    const char *image = options->image;
    if (g_str_has_prefix(image, "docker://"))
        image += strlen("docker://");
    return gp_measure_image(
        options->measurement, options->agent_socket, image, &pull->subject.manifest, &pull->measurement, error);
}

/* ---- ROOTFS */

static char *format_time(gint64 microseconds)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(microseconds / G_USEC_PER_SEC);
    return g_date_time_format_iso8601(time);
}

static gboolean write_receipt(GpPull *pull, GError **error)
{
    const GpPullOptions *options = pull->options;
    g_autoptr(json_t) receipt = gp_pull_report(pull);
    g_autofree char *started = format_time(pull->started);
    g_autofree char *finished = format_time(g_get_real_time());
    json_object_del(receipt, "timings");
    json_object_del(receipt, "bytes");
    json_object_del(receipt, "receipt");
    json_object_set_new(receipt, "policyDigest", json_string(pull->policy_digest));
    json_object_set_new(receipt, "policy", json_string(options->policy ? options->policy : "(inline)"));
    json_object_set_new(receipt, "asked", json_string(options->image));
    json_object_set_new(receipt, "bundle", json_string(options->bundle));
    json_object_set_new(receipt, "started", json_string(started));
    json_object_set_new(receipt, "finished", json_string(finished));
    if (options->request_id)
        json_object_set_new(receipt, "requestId", json_string(options->request_id));
    pull->receipt = gp_receipt_write(options->runtime_dir, receipt, error);
    return pull->receipt != NULL;
}

static GpMountRequest mount_request(GpPull *pull)
{
    return (GpMountRequest){.store = pull->store,
        .manifest = pull->manifest,
        .manifest_digest = &pull->subject.manifest,
        .config = pull->config,
        .bundle = pull->options->bundle,
        .runtime_dir = pull->options->runtime_dir,
        .rw = &pull->options->rw,
        .rw_total = pull->options->rw_total,
        .mounting = &pull->mounting};
}

static gboolean mount_rootfs(GpPull *pull, GError **error)
{
    GpMountRequest request = mount_request(pull);
    if (!gp_mount_image(&request, error))
        return FALSE;
    pull->rootfs = g_build_filename(pull->options->bundle, "rootfs", NULL);
    /* A deadline that passed while mounting is still a failure: whoever asked has given up and will never unmount. */
    if (write_receipt(pull, error) && !gp_cancelled(error))
        return TRUE;
    gp_pull_undo(pull);
    return FALSE;
}

void gp_pull_keep(GpPull *pull)
{
    GpMountRequest request = mount_request(pull);
    if (pull->mounting >= 0)
        gp_mount_keep(&request);
}

void gp_pull_undo(GpPull *pull)
{
    GpMountRequest request = mount_request(pull);
    if (pull->receipt)
        (void) unlink(pull->receipt);
    if (pull->mounting >= 0)
        gp_mount_undo(&request);
}

/* ---- the machine */

static void enter_state(GpPull *pull, GpPullState state)
{
    gint64 now = g_get_monotonic_time();
    g_mutex_lock(&pull->lock);
    pull->spent[pull->state] += now - pull->entered;
    pull->entered = now;
    pull->state = state;
    g_mutex_unlock(&pull->lock);
}

/* Does the work of the present state; the next one is the result. */
static GpPullState step(GpPull *pull, GError **error)
{
    switch (pull->state) {
    case GP_PULL_RESOLVE:
        return gp_pull_resolve(pull, error) ? GP_PULL_MANIFEST : GP_PULL_FAILED;
    case GP_PULL_MANIFEST:
        return get_manifest(pull, error) ? GP_PULL_VERIFY : GP_PULL_FAILED;
    case GP_PULL_VERIFY:
        return verify(pull, error);
    case GP_PULL_LAYERS:
        return get_layers(pull, error) ? GP_PULL_COMMIT : GP_PULL_FAILED;
    case GP_PULL_COMMIT:
        return commit(pull, error) ? GP_PULL_MEASURE : GP_PULL_FAILED;
    case GP_PULL_MEASURE:
        return measure(pull, error) ? GP_PULL_ROOTFS : GP_PULL_FAILED;
    case GP_PULL_ROOTFS:
        return mount_rootfs(pull, error) ? GP_PULL_DONE : GP_PULL_FAILED;
    case GP_PULL_DONE:
    case GP_PULL_FAILED:
        break;
    }
    g_return_val_if_reached(GP_PULL_FAILED);
}

/* Makes @failure the result; what broke because we ourselves stopped the workers is not the story to tell. */
static gboolean fail(GpPull *pull, GError *failure, GError **error)
{
    if (gp_error_is_integrity(failure))
        gp_puller_distrust_store(pull->options);
    if (failure->code != GP_ERROR_CANCELLED && gp_cancelled(NULL)) {
        g_clear_error(&failure);
        (void) gp_cancelled(&failure);
    }
    g_autofree char *shown = gp_escape(pull->options->image, -1, 300);
    g_prefix_error(&failure, "%s: ", shown);
    g_propagate_error(error, failure);
    return FALSE;
}

gboolean gp_pull_prepare(GpPull *pull, GError **error)
{
    g_autoptr(GError) failure = NULL;
    pull->entered = g_get_monotonic_time();
    pull->name = gp_image_name_parse(pull->options->image, &failure);
    if (pull->name && gp_pull_separate(pull, &failure))
        return TRUE;
    enter_state(pull, GP_PULL_FAILED);
    return fail(pull, g_steal_pointer(&failure), error);
}

gboolean gp_pull_run(GpPull *pull, GError **error)
{
    g_autoptr(GError) failure = NULL;
    while (pull->state != GP_PULL_DONE && pull->state != GP_PULL_FAILED) {
        GpPullState next = gp_cancelled(&failure) ? GP_PULL_FAILED : step(pull, &failure);
        enter_state(pull, next);
    }
    return pull->state == GP_PULL_DONE || fail(pull, g_steal_pointer(&failure), error);
}

void gp_pull_status(GpPull *pull, GpPullStatus *status)
{
    status->layers = g_array_new(FALSE, TRUE, sizeof(GpPullLayerStatus));
    g_mutex_lock(&pull->lock);
    status->state = pull->state;
    for (guint i = 0; pull->jobs && i < pull->jobs->len; i++) {
        GpLayerJob *job = pull->jobs->pdata[i];
        GpPullLayerStatus row = {.state = g_atomic_int_get(&job->state),
            .size = job->descriptor->size,
            .fetched = __atomic_load_n(&job->fetched, __ATOMIC_RELAXED)};
        g_autofree char *hex = gp_digest_to_hex(&job->descriptor->digest);
        g_strlcpy(row.digest, hex, 13);
        g_array_append_val(status->layers, row);
    }
    g_mutex_unlock(&pull->lock);
}
