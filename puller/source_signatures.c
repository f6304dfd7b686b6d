/* Finding signatures: lookaside URLs, dir:'s signature-N, cosign's tags. What they are worth is decided elsewhere. */

#include <fcntl.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/manifest.h"
#include "puller/signature_blob.h"
#include "puller/source_kind.h"

#define COSIGN_TYPE "application/vnd.dev.cosign.simplesigning.v1+json"

void gp_found_signature_free(GpFoundSignature *found)
{
    if (!found)
        return;
    g_free(found->source);
    g_clear_pointer(&found->blob, g_bytes_unref);
    g_clear_pointer(&found->annotations, json_decref);
    g_free(found->media_type);
    g_free(found->problem);
    g_free(found);
}

static GPtrArray *new_list(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify) gp_found_signature_free);
}

/* Adds @found to @list, unless all of them together would take too much memory: one alone is within its limit, and
 * whoever serves them would like to send as many of that size as may be looked at. */
static gboolean add(GPtrArray *list, GpFoundSignature *found, gsize *total, GError **error)
{
    *total += g_bytes_get_size(found->blob);
    if (*total <= GP_LIMIT_SIGNATURES_TOTAL) {
        g_ptr_array_add(list, found);
        return TRUE;
    }
    gp_found_signature_free(found);
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "signatures of more than %" G_GUINT64_FORMAT " bytes together",
        GP_LIMIT_SIGNATURES_TOTAL);
    return FALSE;
}

static void set_too_many(GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "more than %d signatures", GP_LIMIT_TAG_SIGNATURES);
}

/* ---- lookaside */

static GBytes *read_lookaside(GpSource *source, const char *url, GError **error)
{
    if (g_ascii_strncasecmp(url, "file:", 5) == 0) {
        g_autofree char *path = g_filename_from_uri(url, NULL, NULL);
        if (path)
            return gp_read_file(AT_FDCWD, path, GP_LIMIT_SIGNATURE, "signature", error);
        g_autofree char *shown = gp_escape(url, -1, 300);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: not of the form file:///PATH", shown);
        return NULL;
    }
    if (source->fetch)
        return gp_fetch_url(source->fetch, url, GP_LIMIT_SIGNATURE, error);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "a local image's signatures are not looked up on the network");
    return NULL;
}

/* N from 1 until the first that is not there; any other answer is an error, since a signature could hide behind it. */
static GPtrArray *lookaside_signatures(
    GpSource *source, const GpReference *reference, const char *base, const GpDigest *digest, GError **error)
{
    g_autoptr(GPtrArray) list = new_list();
    gsize total = 0;
    for (guint i = 1;; i++) {
        g_autofree char *url = gp_lookaside_signature_url(base, reference, digest, i);
        g_autoptr(GError) cause = NULL;
        g_autoptr(GBytes) bytes = read_lookaside(source, url, &cause);
        if (g_error_matches(cause, GP_ERROR, GP_ERROR_NOT_FOUND))
            return g_steal_pointer(&list);
        if (bytes && list->len >= GP_LIMIT_TAG_SIGNATURES) {
            set_too_many(error);
            return NULL;
        }
        GpFoundSignature *found = bytes ? gp_signature_blob_parse(bytes, url, &cause) : NULL;
        if (!found) {
            g_propagate_prefixed_error(error, g_steal_pointer(&cause), "lookaside signature %u: ", i);
            return NULL;
        }
        if (!add(list, found, &total, error))
            return NULL;
    }
}

/* ---- beside the image */

static GPtrArray *stored_signatures(GpSource *source, const GpDigest *digest, GpFoundType type, GError **error)
{
    g_autoptr(GPtrArray) list = new_list();
    gsize total = 0;
    for (guint i = 1;; i++) {
        g_autofree char *where = NULL;
        g_autoptr(GError) cause = NULL;
        g_autoptr(GBytes) bytes = source->kind->stored_signature(source, digest, i, &where, &cause);
        if (!bytes && !cause)
            return g_steal_pointer(&list);
        if (bytes && i > GP_LIMIT_TAG_SIGNATURES) {
            set_too_many(error);
            return NULL;
        }
        GpFoundSignature *found = bytes ? gp_signature_blob_parse(bytes, where, &cause) : NULL;
        if (!found) {
            g_propagate_prefixed_error(error, g_steal_pointer(&cause), "signature-%u: ", i);
            return NULL;
        }
        if (found->type != type)
            gp_found_signature_free(found);
        else if (!add(list, found, &total, error))
            return NULL;
    }
}

GPtrArray *gp_source_simple_signatures(
    GpSource *source, const GpReference *reference, const char *lookaside_base, const GpDigest *digest, GError **error)
{
    if (source->kind->stored_signature)
        return stored_signatures(source, digest, GP_FOUND_SIMPLE, error);
    if (source->kind != &gp_source_registry || !lookaside_base)
        return new_list();
    return lookaside_signatures(source, reference, lookaside_base, digest, error);
}

/* ---- cosign */

static json_t *annotations_of(const GpDescriptor *layer)
{
    json_t *object = json_object();
    GHashTableIter iter;
    gpointer key, value;
    if (layer->annotations) {
        g_hash_table_iter_init(&iter, layer->annotations);
        while (g_hash_table_iter_next(&iter, &key, &value))
            json_object_set_new(object, key, json_string(value));
    }
    return object;
}

/* Where an image's tag is read, and for whom. */
typedef struct {
    GpSource *source;
    const char *tag;
    GBytes *expected; /* the payload that cosign writes when it is told nothing more, or NULL */
} TagSearch;

/* cosign's payload has no choices left as long as nobody annotates it: one that is guessed right, to the byte that the
 * descriptor's digest demands, need not be asked for, which saves a round trip. */
static GBytes *expected_payload(const GpReference *identity, const GpDigest *digest)
{
    if (!identity)
        return NULL;
    const char *host = strcmp(identity->domain, "docker.io") == 0 ? "index.docker.io" : identity->domain;
    g_autofree char *image = gp_digest_to_string(digest);
    char *text = g_strdup_printf("{\"critical\":{\"identity\":{\"docker-reference\":\"%s/%s\"},\"image\":"
                                 "{\"docker-manifest-digest\":\"%s\"},\"type\":\"cosign container image signature\"},"
                                 "\"optional\":null}",
        host, identity->path, image);
    return g_bytes_new_take(text, strlen(text));
}

static GBytes *read_payload(const TagSearch *search, const GpDescriptor *layer, GError **error)
{
    if (search->expected && g_bytes_get_size(search->expected) == layer->size &&
        gp_digest_check_bytes(&layer->digest, search->expected, "payload", NULL))
        return g_bytes_ref(search->expected);
    return gp_source_blob(search->source, &layer->digest, layer->size, GP_LIMIT_SIGNATURE, error);
}

/* One layer as a signature; the payload is fetched and checked. */
static GpFoundSignature *take_layer(const TagSearch *search, const GpDescriptor *layer, guint number, GError **error)
{
    const char *tag = search->tag;
    g_autoptr(GBytes) payload = read_payload(search, layer, error);
    if (!payload) {
        g_prefix_error(error, "%s, layer %u: ", tag, number);
        return NULL;
    }
    GpFoundSignature *found = g_new0(GpFoundSignature, 1);
    found->type = GP_FOUND_COSIGN;
    found->source = g_strdup_printf("tag %s, layer %u", tag, number);
    found->blob = g_steal_pointer(&payload);
    found->annotations = annotations_of(layer);
    found->media_type = g_strdup(layer->media_type);
    return found;
}

static GPtrArray *attached_signatures(const TagSearch *search, GError **error)
{
    GpSource *source = search->source;
    const char *tag = search->tag;
    g_autofree char *content_type = NULL;
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) bytes = source->kind->cosign_manifest(source, tag, &content_type, &cause);
    if (!bytes && !cause)
        return new_list();
    g_autoptr(GpManifest) manifest = bytes ? gp_manifest_parse_artifact(bytes, content_type, &cause) : NULL;
    if (!manifest) {
        g_propagate_prefixed_error(error, g_steal_pointer(&cause), "tag %s: ", tag);
        return NULL;
    }
    g_autoptr(GPtrArray) list = new_list();
    gsize total = 0;
    for (guint i = 0; i < manifest->layers->len; i++) {
        const GpDescriptor *layer = manifest->layers->pdata[i];
        /* Attachments of another kind are nobody's signature: they neither help nor harm. */
        if (strcmp(layer->media_type, COSIGN_TYPE) != 0)
            continue;
        if (list->len >= GP_LIMIT_TAG_SIGNATURES) {
            set_too_many(error);
            return NULL;
        }
        GpFoundSignature *found = take_layer(search, layer, i, error);
        if (!found || !add(list, found, &total, error))
            return NULL;
    }
    return g_steal_pointer(&list);
}

GPtrArray *gp_source_cosign_signatures(
    GpSource *source, const GpReference *identity, const GpDigest *digest, GError **error)
{
    if (source->kind->stored_signature)
        return stored_signatures(source, digest, GP_FOUND_COSIGN, error);
    g_autofree char *hex = gp_digest_to_hex(digest);
    g_autofree char *tag = g_strdup_printf("%s-%s.sig", gp_digest_algorithm_name(digest->algorithm), hex);
    /* A sha512 digest does not fit into a tag of 128 characters, so nothing can be attached there. */
    if (strlen(tag) > 128)
        return new_list();
    g_autoptr(GBytes) expected = expected_payload(identity, digest);
    const TagSearch search = {source, tag, expected};
    return attached_signatures(&search, error);
}
