/* Finding Sigstore bundles: an image's referrers (distribution-spec 1.1, "Listing Referrers"; image-spec manifest.md,
 * "subject"), opened one by one. What they are worth is decided elsewhere. */

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/manifest.h"
#include "puller/parallel.h"
#include "puller/source_kind.h"

#define BUNDLE_TYPE "application/vnd.dev.sigstore.bundle"
#define EMPTY_TYPE "application/vnd.oci.empty.v1+json"
#define OPENED_AT_ONCE 8

/* One referrer on its way. */
typedef struct {
    const GpDescriptor *entry;
    GPtrArray *found; /* GpFoundSignature* */
    GError *error;    /* ends the search: the registry could not be asked */
} Referrer;

typedef struct {
    GpSource *source;
    const GpDigest *digest;
    gint total; /* KiB of bundles, atomic: GP_LIMIT_SIGNATURES_TOTAL holds for all of them together */
} Search;

static gboolean is_bundle_type(const char *type)
{
    return type && g_str_has_prefix(type, BUNDLE_TYPE);
}

gboolean gp_source_may_be_bundle(const GpDescriptor *entry)
{
    const char *type = entry->artifact_type;
    return !type || is_bundle_type(type) || strcmp(type, EMPTY_TYPE) == 0 ||
           g_str_has_prefix(type, "application/vnd.oci.image.config.");
}

void gp_source_set_many_referrers(GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "more than %d referrers\nRemove old signatures.", GP_LIMIT_REFERRERS);
}

/* ---- one referrer */

static GpFoundSignature *new_found(const GpDescriptor *entry)
{
    g_autofree char *name = gp_digest_to_string(&entry->digest);
    GpFoundSignature *found = g_new0(GpFoundSignature, 1);
    found->type = GP_FOUND_BUNDLE;
    found->source = g_strdup_printf("bundle %s", name);
    return found;
}

/* Only what may be better the next time, or is our own trouble, ends the search. What is wrong with one referrer, which
 * anybody may have attached, is told of that one. */
static gboolean ends_search(const GError *error)
{
    GpErrorCode code = gp_error_code(error);
    return code == GP_ERROR_NETWORK || code == GP_ERROR_AUTH || code == GP_ERROR_SANDBOX ||
           code == GP_ERROR_CANCELLED || code == GP_ERROR_INTERNAL;
}

static void take_problem(Referrer *referrer, const char *word, GError *problem)
{
    if (ends_search(problem)) {
        g_prefix_error(&problem, "referrer: ");
        referrer->error = problem;
        return;
    }
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(problem, &message, &hint);
    GpFoundSignature *found = new_found(referrer->entry);
    found->problem = g_strdup_printf("%s: %s", word, message);
    g_ptr_array_add(referrer->found, found);
    g_error_free(problem);
}

static gboolean has_room(Search *search, guint64 size, GError **error)
{
    gint more = (gint) (size / GP_KIB + 1);
    if (size <= GP_LIMIT_BUNDLE &&
        (guint64) g_atomic_int_add(&search->total, more) + (guint64) more <= GP_LIMIT_SIGNATURES_TOTAL / GP_KIB)
        return TRUE;
    g_set_error(
        error, GP_ERROR, GP_ERROR_LIMIT, "%" G_GUINT64_FORMAT " bytes, or too much together with the others", size);
    return FALSE;
}

static void take_layers(Search *search, Referrer *referrer, const GpManifest *manifest)
{
    for (guint i = 0; i < manifest->layers->len && !referrer->error; i++) {
        const GpDescriptor *layer = manifest->layers->pdata[i];
        if (!is_bundle_type(layer->media_type))
            continue;
        GError *problem = NULL;
        GBytes *bundle = has_room(search, layer->size, &problem)
                             ? gp_source_blob(search->source, &layer->digest, layer->size, GP_LIMIT_BUNDLE, &problem)
                             : NULL;
        if (!bundle) {
            take_problem(referrer, "bundle-unreadable", problem);
            continue;
        }
        GpFoundSignature *found = new_found(referrer->entry);
        found->blob = bundle;
        g_ptr_array_add(referrer->found, found);
    }
}

/* Opens the manifest. One that is an artifact of another image, or of no image, is nobody's signature here. */
static void open_referrer(gpointer data, gpointer user_data)
{
    Referrer *referrer = data;
    Search *search = user_data;
    const GpDescriptor *entry = referrer->entry;
    GError *problem = NULL;
    g_autofree char *type = NULL;
    if (entry->size > GP_LIMIT_REFERRER)
        g_set_error(&problem, GP_ERROR, GP_ERROR_LIMIT,
            "a manifest of %" G_GUINT64_FORMAT " bytes, at most %" G_GUINT64_FORMAT " allowed", entry->size,
            GP_LIMIT_REFERRER);
    g_autoptr(GBytes) bytes =
        problem ? NULL : gp_source_manifest(search->source, &entry->digest, entry->size, &type, &problem);
    g_autoptr(GpManifest) manifest = bytes ? gp_manifest_parse_artifact(bytes, type, &problem) : NULL;
    if (!manifest)
        take_problem(referrer, "referrer-unreadable", problem);
    else if (manifest->subject && gp_digest_equal(&manifest->subject->digest, search->digest))
        take_layers(search, referrer, manifest);
}

/* ---- all of them */

static void referrer_free(gpointer data)
{
    Referrer *referrer = data;
    g_ptr_array_unref(referrer->found);
    g_clear_error(&referrer->error);
    g_free(referrer);
}

/* The entries to open, those that say that they are bundles first; the rest of a list that is too long are left out
 * only if they say that they are something else. */
static GPtrArray *choose(GPtrArray *entries, GError **error)
{
    g_autoptr(GPtrArray) chosen = g_ptr_array_new_with_free_func(referrer_free);
    for (int pass = 0; pass < 3; pass++)
        for (guint i = 0; i < entries->len; i++) {
            const GpDescriptor *entry = entries->pdata[i];
            int rank = is_bundle_type(entry->artifact_type) ? 0 : gp_source_may_be_bundle(entry) ? 1 : 2;
            if (rank != pass || strcmp(entry->media_type, GP_TYPE_OCI_MANIFEST) != 0)
                continue;
            if (chosen->len >= GP_LIMIT_REFERRERS) {
                if (pass == 2)
                    return g_steal_pointer(&chosen);
                gp_source_set_many_referrers(error);
                return NULL;
            }
            Referrer *referrer = g_new0(Referrer, 1);
            referrer->entry = entry;
            referrer->found = g_ptr_array_new();
            g_ptr_array_add(chosen, referrer);
        }
    return g_steal_pointer(&chosen);
}

/* Their bundles in the order of the list, or the first error. */
static GPtrArray *collect(GPtrArray *referrers, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify) gp_found_signature_free);
    GError *first = NULL;
    for (guint i = 0; i < referrers->len; i++) {
        Referrer *referrer = referrers->pdata[i];
        for (guint k = 0; k < referrer->found->len; k++)
            g_ptr_array_add(list, referrer->found->pdata[k]);
        if (referrer->error && !first)
            first = g_steal_pointer(&referrer->error);
    }
    if (!first)
        return g_steal_pointer(&list);
    g_propagate_error(error, first);
    return NULL;
}

GPtrArray *gp_source_bundles(GpSource *source, const GpDigest *digest, GPtrArray *referrers, GError **error)
{
    g_autoptr(GPtrArray) chosen = choose(referrers, error);
    if (!chosen)
        return NULL;
    Search search = {.source = source, .digest = digest};
    if (!gp_parallel_run(open_referrer, chosen, &search, OPENED_AT_ONCE, NULL, error))
        return NULL;
    return collect(chosen, error);
}

static GPtrArray *told(GPtrArray *list, GError **error)
{
    if (!list)
        g_prefix_error(error, "looking for referrers: ");
    return list;
}

GPtrArray *gp_source_referrers(GpSource *source, const GpDigest *digest, gboolean *elsewhere, GError **error)
{
    *elsewhere = FALSE;
    if (!source->kind->referrers)
        return g_ptr_array_new_with_free_func((GDestroyNotify) gp_descriptor_free);
    return told(source->kind->referrers(source, digest, elsewhere, error), error);
}

GPtrArray *gp_source_fallback_referrers(GpSource *source, const GpDigest *digest, GError **error)
{
    return told(source->kind->fallback_referrers(source, digest, error), error);
}
