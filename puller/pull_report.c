/* What a pull says about itself when it is over. */
#include "base/json.h"
#include "puller/decrypt.h"
#include "puller/locations.h"
#include "puller/pull_state.h"

static GpLayerJob *job_for(const GpPull *pull, const GpDigest *digest)
{
    for (guint i = 0; i < pull->jobs->len; i++)
        if (gp_digest_equal(&((GpLayerJob *) pull->jobs->pdata[i])->descriptor->digest, digest))
            return pull->jobs->pdata[i];
    return NULL;
}

/* Bytes of blobs by where they came from, and of what was in them. */
typedef struct {
    guint64 downloaded, local, reused, unpacked;
} Bytes;

static void count(const GpPull *pull, const GpLayerJob *job, Bytes *bytes)
{
    guint64 *kind = job->state == GP_LAYER_REUSED                        ? &bytes->reused
                    : gp_source_place_is_local(pull->source, job->place) ? &bytes->local
                                                                         : &bytes->downloaded;
    *kind += job->descriptor->size;
    bytes->unpacked += job->unpacked;
}

static json_t *report_layers(const GpPull *pull, Bytes *bytes)
{
    json_t *layers = json_array();
    for (guint i = 0; pull->jobs && i < pull->manifest->layers->len; i++) {
        const GpDescriptor *layer = pull->manifest->layers->pdata[i];
        const GpLayerJob *job = job_for(pull, &layer->digest);
        if (!job)
            continue;
        g_autofree char *digest = gp_digest_to_string(&layer->digest);
        g_autofree char *diff_id = gp_digest_to_string(&job->diff_id);
        json_t *row = json_pack("{s:s, s:s, s:I, s:b}", "digest", digest, "diffId", diff_id, "size",
            (json_int_t) layer->size, "reused", job->state == GP_LAYER_REUSED);
        if (job->state == GP_LAYER_DONE) {
            g_autofree char *from = gp_source_place_describe(pull->source, job->place, job->descriptor);
            json_object_set_new(row, "from", json_string(from));
        }
        if (job->damage)
            json_object_set_new(row, "damage", json_string(job->damage));
        json_array_append_new(layers, row);
    }
    for (guint i = 0; pull->jobs && i < pull->jobs->len; i++)
        count(pull, pull->jobs->pdata[i], bytes);
    return layers;
}

json_t *gp_pull_timings(const GpPull *pull)
{
    json_t *timings = json_object();
    gint64 total = 0;
    for (int state = GP_PULL_RESOLVE; state < GP_PULL_DONE; state++) {
        if (pull->spent[state])
            json_object_set_new(
                timings, gp_pull_state_name((GpPullState) state), json_real((double) pull->spent[state] / 1e6));
        total += pull->spent[state];
    }
    json_object_set_new(timings, "total", json_real((double) total / 1e6));
    if (pull->fetch)
        gp_fetch_report(pull->fetch, timings);
    return timings;
}

json_t *gp_pull_report(const GpPull *pull)
{
    json_t *report = json_object();
    g_autofree char *canonical =
        pull->identity ? gp_reference_to_string(pull->identity) : g_strdup(pull->options->image);
    json_object_set_new(report, "image", json_string(canonical));
    if (pull->subject.manifest.algorithm) {
        g_autofree char *digest = gp_digest_to_string(&pull->subject.manifest);
        json_object_set_new(report, "manifestDigest", json_string(digest));
    }
    if (pull->subject.has_index) {
        g_autofree char *digest = gp_digest_to_string(&pull->subject.index);
        json_object_set_new(report, "indexDigest", json_string(digest));
    }
    if (pull->manifest) {
        g_autofree char *digest = gp_digest_to_string(&pull->manifest->config->digest);
        json_object_set_new(report, "configDigest", json_string(digest));
        json_object_set_new(report, "encrypted", gp_manifest_encryption(pull->manifest));
    }
    Bytes bytes = {0};
    json_object_set_new(report, "layers", report_layers(pull, &bytes));
    json_object_set_new(report, "verdict", pull->verdict ? gp_verdict_to_json(pull->verdict) : json_null());
    if (pull->locations) {
        g_autofree char *where = gp_location_describe(pull->locations->pdata[pull->location]);
        json_object_set_new(report, "location", json_string(where));
    }
    json_object_set_new(report, "warnings", gp_notes_to_json(pull->notes));
    json_object_set_new(report, "rootfs", pull->rootfs ? json_string(pull->rootfs) : json_null());
    if (pull->measurement)
        json_object_set_new(report, "measurement", json_string(pull->measurement));
    if (pull->receipt)
        json_object_set_new(report, "receipt", json_string(pull->receipt));
    json_object_set_new(report, "timings", gp_pull_timings(pull));
    json_object_set_new(report, "bytes",
        json_pack("{s:I, s:I, s:I, s:I}", "downloaded", (json_int_t) bytes.downloaded, "local",
            (json_int_t) bytes.local, "reused", (json_int_t) bytes.reused, "unpacked", (json_int_t) bytes.unpacked));
    return report;
}

json_t *gp_pull_warnings(const GpPull *pull)
{
    return gp_notes_to_json(pull->notes);
}
