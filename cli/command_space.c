/* df, prune: what the store and the writable layers take, and getting some of it back. */
#include <unistd.h>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "storage/mounts.h"
#include "storage/store_usage.h"
#include "storage/uppers.h"

/* ---- df */

/* {"mounts":[…],"limit","used"}; a mount that another mount namespace alone can see has no figures. */
static json_t *describe_uppers(const char *runtime_dir, GError **error)
{
    g_autoptr(GPtrArray) bundles = gp_mounts_using(runtime_dir, GP_MOUNTS_ALL, error);
    if (!bundles)
        return NULL;
    json_t *list = json_array();
    GpUpperUsage sum = {0};
    for (guint i = 0; i < bundles->len; i++) {
        GpUpperUsage upper = {0};
        g_autofree char *shown = gp_escape(bundles->pdata[i], -1, 4096);
        json_t *mount = json_pack("{s:s}", "bundle", shown);
        if (gp_upper_usage(bundles->pdata[i], &upper))
            json_object_update_new(mount,
                json_pack("{s:I, s:I, s:I, s:I}", "limit", (json_int_t) upper.limit, "used", (json_int_t) upper.used,
                    "inodes", (json_int_t) upper.inodes, "usedInodes", (json_int_t) upper.used_inodes));
        sum.limit += upper.limit;
        sum.used += upper.used;
        json_array_append_new(list, mount);
    }
    return json_pack("{s:o, s:I, s:I}", "mounts", list, "limit", (json_int_t) sum.limit, "used", (json_int_t) sum.used);
}

static json_t *describe_memory(void)
{
    g_autofree char *text = NULL;
    json_t *memory = json_object();
    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL))
        return memory;
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    for (char **line = lines; *line; line++) {
        const char *key = g_str_has_prefix(*line, "MemTotal:")       ? "total"
                          : g_str_has_prefix(*line, "MemAvailable:") ? "available"
                                                                     : NULL;
        guint64 kib = key ? g_ascii_strtoull(strchr(*line, ':') + 1, NULL, 10) : 0;
        if (key)
            json_object_set_new(memory, key, json_integer((json_int_t) kib * 1024));
    }
    return memory;
}

static json_t *describe_images(const GpStoreUsage *usage)
{
    json_t *list = json_array();
    for (guint i = 0; i < usage->per_image->len; i++) {
        const GpImageUsage *image = &g_array_index(usage->per_image, GpImageUsage, i);
        g_autofree char *digest = gp_digest_to_string(&image->manifest);
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "manifestDigest", digest, "bytes",
                                        (json_int_t) image->bytes, "own", (json_int_t) image->own));
    }
    return list;
}

static json_t *describe_store(const GpContext *context, const GpStoreUsage *usage)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "path", context->pull->store, "bytes",
        (json_int_t) usage->disk_bytes, "staging", (json_int_t) usage->staging_bytes, "quarantine",
        (json_int_t) usage->quarantine_bytes, "layers", (json_int_t) usage->layers, "layerBytes",
        (json_int_t) usage->layer_bytes, "unusedLayers", (json_int_t) usage->unused_layers, "unusedBytes",
        (json_int_t) usage->unused_bytes, "imageCount", (json_int_t) usage->images, "images", describe_images(usage));
}

static json_t *describe_filesystem(const GpStoreUsage *usage)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "bytes", (json_int_t) usage->fs_bytes, "free", (json_int_t) usage->fs_free,
        "inodes", (json_int_t) usage->fs_inodes, "freeInodes", (json_int_t) usage->fs_free_inodes);
}

static guint64 number(json_t *report, const char *object, const char *key)
{
    return (guint64) json_integer_value(json_object_get(json_object_get(report, object), key));
}

static void print_line(json_t *report, const char *label, const char *object, const char *key, const char *more)
{
    g_autofree char *bytes = gp_format_bytes(number(report, object, key));
    gp_print("%-22s %10s%s%s\n", label, bytes, *more ? "  " : "", more);
}

static void print_report(json_t *report)
{
    json_t *mounts = json_object_get(json_object_get(report, "uppers"), "mounts");
    g_autofree char *layers = g_strdup_printf("%" G_GUINT64_FORMAT " layers of %" G_GUINT64_FORMAT " images",
        number(report, "store", "layers"), number(report, "store", "imageCount"));
    g_autofree char *unused = g_strdup_printf(
        "%" G_GUINT64_FORMAT " layers that no image uses: prune", number(report, "store", "unusedLayers"));
    g_autofree char *uppers = g_strdup_printf("%zu mounts, written to so far", json_array_size(mounts));
    print_line(report, "store", "store", "bytes", "on the disk, each file once");
    print_line(report, "  content", "store", "layerBytes", layers);
    print_line(report, "  unused", "store", "unusedBytes", unused);
    print_line(report, "  being pulled", "store", "staging", "");
    print_line(report, "  quarantine", "store", "quarantine", "");
    print_line(report, "filesystem", "filesystem", "bytes", "");
    print_line(report, "  free", "filesystem", "free", "");
    print_line(report, "writable layers", "uppers", "used", uppers);
    print_line(report, "  may grow to", "uppers", "limit", "in memory");
    print_line(report, "  of a new container", "writable", "bytes", "at most");
    print_line(report, "memory", "memory", "total", "");
    print_line(report, "  available", "memory", "available", "");
}

gboolean gp_command_df(GpContext *context, int *status, GError **error)
{
    g_autoptr(GpStore) store = gp_store_open(context->pull->store, GP_STORE_READ, TRUE, error);
    g_autoptr(GpStoreUsage) usage = store ? gp_store_usage(store, error) : NULL;
    json_t *uppers = usage ? describe_uppers(context->pull->runtime_dir, error) : NULL;
    if (!uppers)
        return FALSE;
    json_t *report = json_pack("{s:o, s:o, s:o, s:o, s:o}", "store", describe_store(context, usage), "filesystem",
        describe_filesystem(usage), "uppers", uppers, "writable",
        json_pack("{s:I}", "bytes", (json_int_t) gp_rootfs_size(&context->pull->rw)), "memory", describe_memory());
    if (context->json) {
        gp_print_json(report);
    } else {
        print_report(report);
        json_decref(report);
    }
    *status = 0;
    return TRUE;
}

/* ---- prune */

static gboolean read_options(GpContext *context, GpStore *store, GpPruneOptions *options, GError **error)
{
    GpSpace space = {0};
    options->runtime_dir = context->pull->runtime_dir;
    options->by_age = context->older_than != NULL;
    if (context->older_than && !gp_age_parse(context->older_than, "--older-than", &options->older_than, error))
        return FALSE;
    if (context->until_free && !gp_space_parse(context->until_free, "--until-free", &space, error))
        return FALSE;
    options->free_bytes = gp_space_bytes(&space, gp_store_size(store));
    return TRUE;
}

gboolean gp_command_prune(GpContext *context, int *status, GError **error)
{
    GpPruned pruned;
    GpPruneOptions options = {0};
    g_autoptr(GpStore) store = gp_store_open(context->pull->store, GP_STORE_REMOVE, TRUE, error);
    if (!store || !read_options(context, store, &options, error) || !gp_store_prune(store, &options, &pruned, error))
        return FALSE;
    g_autofree char *bytes = gp_format_bytes(pruned.bytes);
    guint64 free_bytes = gp_store_free_bytes(store);
    if (context->json)
        gp_print_json(json_pack("{s:I, s:I, s:I, s:I}", "images", (json_int_t) pruned.images, "layers",
            (json_int_t) pruned.layers, "bytes", (json_int_t) pruned.bytes, "free", (json_int_t) free_bytes));
    else
        gp_print("removed %" G_GUINT64_FORMAT " image%s and %" G_GUINT64_FORMAT " layer%s, %s\n", pruned.images,
            pruned.images == 1 ? "" : "s", pruned.layers, pruned.layers == 1 ? "" : "s", bytes);
    *status = 0;
    return TRUE;
}
