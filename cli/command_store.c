/* images, layers, rm, fsck. */
#include "base/error.h"
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "policy/reference.h"
#include "puller/key_provider.h"
#include "puller/receipt.h"
#include "storage/store.h"

/* The stored manifest was verified when it was pulled; one that does not parse any more is fsck's to tell. */
static json_t *encryption_of(const GpStoredImage *image)
{
    g_autoptr(GpManifest) manifest = NULL;
    g_autoptr(GpIndex) index = NULL;
    gboolean read = gp_manifest_parse(image->manifest, NULL, &manifest, &index, NULL) && manifest;
    return read ? gp_manifest_encryption(manifest) : json_array();
}

static json_t *describe_image(const GpStoredImage *image)
{
    g_autofree char *digest = gp_digest_to_string(&image->manifest_digest);
    json_t *layers = json_array();
    for (guint i = 0; i < image->layers->len; i++) {
        g_autofree char *layer = gp_digest_to_string(&g_array_index(image->layers, GpDigest, i));
        json_array_append_new(layers, json_string(layer));
    }
    return json_pack("{s:s, s:s, s:I, s:o, s:o}", "image", image->reference, "manifestDigest", digest, "pulled",
        (json_int_t) image->pulled, "layers", layers, "encrypted", encryption_of(image));
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static gboolean show_receipts(const GpContext *context, int *status, GError **error)
{
    json_t *receipts = gp_receipts_read(context->pull->runtime_dir, error);
    if (!receipts)
        return FALSE;
    *status = 0;
    size_t i;
    json_t *receipt;
    if (context->json) {
        gp_print_json(json_pack("{s:o}", "receipts", receipts));
        return TRUE;
    }
    json_array_foreach(receipts, i, receipt)
    {
        if (json_object_get(receipt, "error"))
            gp_print("%s: %s\n", text_of(receipt, "file"), text_of(receipt, "error"));
        else
            gp_print("%s  %s  %s\n  by scope %s of policy %s, measurement %s, in %s\n", text_of(receipt, "finished"),
                text_of(receipt, "manifestDigest"), text_of(receipt, "image"),
                text_of(json_object_get(receipt, "verdict"), "scope"), text_of(receipt, "policyDigest"),
                text_of(receipt, "measurement"), text_of(receipt, "bundle"));
    }
    json_decref(receipts);
    return TRUE;
}

static void print_image(const GpStoredImage *image, const char *digest, const char *when)
{
    json_t *encrypted = encryption_of(image);
    gsize n = json_array_size(encrypted);
    g_autofree char *note = n ? g_strdup_printf(" (%" G_GSIZE_FORMAT " encrypted)", n) : g_strdup("");
    gp_print("%s  %s  %3u layers%s  %s\n", digest, when, image->layers->len, note, image->reference);
    json_decref(encrypted);
}

gboolean gp_command_images(GpContext *context, int *status, GError **error)
{
    if (context->receipts)
        return show_receipts(context, status, error);
    g_autoptr(GpStore) store = gp_store_open(context->pull->store, GP_STORE_READ, TRUE, error);
    g_autoptr(GPtrArray) images = store ? gp_store_images(store, error) : NULL;
    if (!images)
        return FALSE;
    *status = 0;
    json_t *list = json_array();
    for (guint i = 0; i < images->len; i++) {
        const GpStoredImage *image = images->pdata[i];
        g_autofree char *digest = gp_digest_to_string(&image->manifest_digest);
        g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(image->pulled);
        g_autofree char *when = time ? g_date_time_format(time, "%Y-%m-%d %H:%M") : g_strdup("-");
        if (context->json)
            json_array_append_new(list, describe_image(image));
        else
            print_image(image, digest, when);
    }
    if (context->json)
        gp_print_json(json_pack("{s:O}", "images", list));
    json_decref(list);
    return TRUE;
}

gboolean gp_command_layers(GpContext *context, int *status, GError **error)
{
    g_autoptr(GpStore) store = gp_store_open(context->pull->store, GP_STORE_READ, TRUE, error);
    g_autoptr(GPtrArray) layers = store ? gp_store_layers(store, error) : NULL;
    if (!layers)
        return FALSE;
    *status = 0;
    json_t *list = json_array();
    for (guint i = 0; i < layers->len; i++) {
        const GpStoredLayer *layer = layers->pdata[i];
        g_autofree char *digest = gp_digest_to_string(&layer->blob);
        g_autofree char *diff_id = gp_digest_to_string(&layer->diff_id);
        g_autofree char *bytes = gp_format_bytes(layer->bytes);
        if (context->json)
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:b}", "digest", digest, "diffId", diff_id, "size",
                          (json_int_t) layer->blob_size, "bytes", (json_int_t) layer->bytes, "entries",
                          (json_int_t) layer->entries, "images", (int) layer->images, "encrypted", layer->encrypted));
        else
            gp_print("%s  %9s  %7" G_GUINT64_FORMAT " entries  %u image%s%s\n", digest, bytes, layer->entries,
                layer->images, layer->images == 1 ? "" : "s", layer->encrypted ? "  encrypted" : "");
    }
    if (context->json)
        gp_print_json(json_pack("{s:O}", "layers", list));
    json_decref(list);
    return TRUE;
}

/* The stored image that @name means: a manifest digest, or the reference that it was pulled as. */
static gboolean find_image(GpStore *store, const char *name, GpDigest *digest, GError **error)
{
    if (gp_digest_parse(name, digest, NULL))
        return TRUE;
    g_autoptr(GpReference) reference = gp_reference_parse(name, NULL);
    g_autofree char *canonical = reference ? gp_reference_to_string(reference) : g_strdup(name);
    g_autoptr(GPtrArray) images = gp_store_images(store, error);
    if (!images)
        return FALSE;
    for (guint i = 0; i < images->len; i++) {
        const GpStoredImage *image = images->pdata[i];
        if (g_str_equal(image->reference, canonical) || g_str_equal(image->reference, name)) {
            *digest = image->manifest_digest;
            return TRUE;
        }
    }
    g_autofree char *shown = gp_escape(name, -1, 300);
    g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "%s: no such image in the store\nSee guest-pull images.", shown);
    return FALSE;
}

gboolean gp_command_rm(GpContext *context, int *status, GError **error)
{
    GpDigest digest;
    GpPruned pruned;
    g_autoptr(GpStore) store = gp_store_open(context->pull->store, GP_STORE_REMOVE, TRUE, error);
    if (!store || !find_image(store, context->words[0], &digest, error) ||
        !gp_store_remove_image(store, &digest, context->pull->runtime_dir, &pruned, error))
        return FALSE;
    g_autofree char *text = gp_digest_to_string(&digest);
    if (context->json)
        gp_print_json(json_pack("{s:s, s:I, s:I}", "removed", text, "layers", (json_int_t) pruned.layers, "bytes",
            (json_int_t) pruned.bytes));
    else
        gp_print("removed %s and %" G_GUINT64_FORMAT " layer%s\n", text, pruned.layers, pruned.layers == 1 ? "" : "s");
    *status = 0;
    return TRUE;
}

/* A word is a digest, of an image or a layer, or an image's name. */
static gboolean check(GpContext *context, GpStore *store, GpFsckReport *report, GError **error)
{
    GpDigest digest;
    if (context->n_words == 0)
        return gp_store_fsck(store, report, error);
    return find_image(store, context->words[0], &digest, error) && gp_store_fsck_one(store, &digest, report, error);
}

static json_t *describe_digests(const GArray *digests)
{
    json_t *list = json_array();
    for (guint i = 0; i < digests->len; i++) {
        g_autofree char *text = gp_digest_to_string(&g_array_index(digests, GpDigest, i));
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static void print_fsck(const GpContext *context, const GpFsckReport *report)
{
    json_t *list = json_array();
    gboolean damaged = report->layers->len + report->images->len > 0;
    for (guint i = 0; i < report->problems->len; i++) {
        g_autofree char *shown = gp_escape(report->problems->pdata[i], -1, 2000);
        json_array_append_new(list, json_string(shown));
        if (!context->json)
            gp_print("%s\n", shown);
    }
    if (context->json)
        gp_print_json(json_pack("{s:b, s:I, s:O, s:o, s:o, s:b}", "clean", report->problems->len == 0, "checked",
            (json_int_t) report->checked, "problems", list, "damagedLayers", describe_digests(report->layers),
            "damagedImages", describe_digests(report->images), "quarantined", damaged && context->quarantine));
    else if (!damaged)
        gp_print("%" G_GUINT64_FORMAT " files checked, all as they came\n", report->checked);
    else
        gp_print("%u layer%s and %u image%s %s\n", report->layers->len, report->layers->len == 1 ? "" : "s",
            report->images->len, report->images->len == 1 ? "" : "s",
            context->quarantine ? "taken out of use: the next pull fetches them again"
                                : "damaged: guest-pull fsck --quarantine takes them out of use");
    json_decref(list);
}

gboolean gp_command_fsck(GpContext *context, int *status, GError **error)
{
    g_autoptr(GpFsckReport) report = gp_fsck_report_new();
    GpStoreMode mode = context->quarantine ? GP_STORE_REMOVE : GP_STORE_READ;
    g_autoptr(GpStore) store = gp_store_open(context->pull->store, mode, TRUE, error);
    if (!store || !check(context, store, report, error))
        return FALSE;
    if (context->quarantine && report->problems->len > 0 &&
        !gp_store_quarantine(store, report->layers, report->images, context->pull->runtime_dir, error))
        return FALSE;
    print_fsck(context, report);
    *status = report->problems->len == 0 ? 0 : gp_error_info(GP_ERROR_DIGEST)->exit_status;
    return TRUE;
}
