#include "puller/source.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "puller/source_elsewhere.h"
#include "puller/source_kind.h"

struct _GpSourceStream {
    int fd;               /* a local file, or -1 */
    GpFetchBlob *blob;    /* or a transfer */
    GpSharedBlob *shared; /* or a file that the host shares */
};

/* ---- names */

const char *gp_source_type_name(GpSourceType type)
{
    switch (type) {
    case GP_SOURCE_DOCKER:
        return "docker";
    case GP_SOURCE_OCI:
        return "oci";
    case GP_SOURCE_DIR:
        return "dir";
    }
    return "docker";
}

static gboolean parse_local(GpImageName *name, const char *rest, GError **error)
{
    const char *colon = name->type == GP_SOURCE_OCI ? strchr(rest, ':') : NULL;
    g_autofree char *directory = colon ? g_strndup(rest, (gsize) (colon - rest)) : g_strdup(rest);
    if (directory[0] == '\0' || (colon && colon[1] == '\0')) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s:%s: the %s is missing", gp_source_type_name(name->type),
            directory[0] ? "…" : "", directory[0] ? "tag" : "directory");
        return FALSE;
    }
    name->directory = g_canonicalize_filename(directory, NULL);
    name->tag = colon ? g_strdup(colon + 1) : NULL;
    return TRUE;
}

GpImageName *gp_image_name_parse(const char *text, GError **error)
{
    /* They would read as repositories of docker.io, with the path as tag. */
    static const char *const others[] = {
        "docker-archive:", "docker-daemon:", "oci-archive:", "containers-storage:", "http://", "https://"};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
        if (g_str_has_prefix(text, others[i])) {
            g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
                "\"%s\" images are not supported\nUse a registry reference, oci:DIR[:TAG] or dir:DIR.", others[i]);
            return NULL;
        }
    g_autoptr(GpImageName) name = g_new0(GpImageName, 1);
    gboolean ok;
    if (g_str_has_prefix(text, "oci:")) {
        name->type = GP_SOURCE_OCI;
        ok = parse_local(name, text + 4, error);
    } else if (g_str_has_prefix(text, "dir:")) {
        name->type = GP_SOURCE_DIR;
        ok = parse_local(name, text + 4, error);
    } else {
        name->type = GP_SOURCE_DOCKER;
        name->reference = gp_reference_parse(text, error);
        ok = name->reference != NULL;
    }
    return ok ? g_steal_pointer(&name) : NULL;
}

void gp_image_name_free(GpImageName *name)
{
    if (!name)
        return;
    g_free(name->directory);
    g_free(name->tag);
    gp_reference_free(name->reference);
    g_free(name);
}

char *gp_image_name_scope(const GpImageName *name)
{
    return name->tag ? g_strconcat(name->directory, ":", name->tag, NULL) : g_strdup(name->directory);
}

/* ---- opening */

static gboolean open_registry(GpSource *source, const GpReference *reference, GError **error)
{
    source->kind = &gp_source_registry;
    if (!source->fetch || !source->location) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "a registry's image needs the fetch worker");
        return FALSE;
    }
    source->has_digest = reference->has_digest;
    source->digest = reference->digest;
    source->selector = reference->has_digest ? gp_digest_to_string(&reference->digest) : g_strdup(reference->tag);
    return TRUE;
}

static gboolean open_local(GpSource *source, const GpImageName *name, GError **error)
{
    source->kind = name->type == GP_SOURCE_OCI ? &gp_source_oci : &gp_source_dir;
    source->selector = g_strdup(name->tag);
    source->path = g_strdup(name->directory);
    source->directory = open(name->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (source->directory < 0) {
        int err = errno;
        g_autofree char *shown = gp_escape(name->directory, -1, 500);
        if (err == ENOENT)
            g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "%s: no such directory", shown);
        else if (err == ENOTDIR)
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: not a directory", shown);
        else
            gp_set_errno(error, err, "%s", shown);
        return FALSE;
    }
    if (name->type == GP_SOURCE_OCI && !gp_source_oci_check(source, error)) {
        g_prefix_error(error, "%s: ", source->path);
        return FALSE;
    }
    return TRUE;
}

GpSource *gp_source_open(const GpImageName *name, GpFetch *fetch, const GpLocation *location, GError **error)
{
    g_autoptr(GpSource) source = g_new0(GpSource, 1);
    source->directory = -1;
    source->fetch = fetch;
    source->location = location;
    gboolean ok = name->type == GP_SOURCE_DOCKER ? open_registry(source, name->reference, error)
                                                 : open_local(source, name, error);
    return ok ? g_steal_pointer(&source) : NULL;
}

void gp_source_free(GpSource *source)
{
    if (!source)
        return;
    gp_close_fd(&source->directory);
    g_free(source->selector);
    g_free(source->path);
    g_free(source);
}

/* ---- documents */

GBytes *gp_source_top(GpSource *source, GpDigest *digest, char **content_type, GError **error)
{
    GpDigest named = {0};
    gboolean expected = FALSE;
    g_autofree char *type = NULL;
    g_autoptr(GBytes) bytes = source->kind->top(source, &named, &expected, &type, error);
    if (!bytes || (expected && !gp_digest_check_bytes(&named, bytes, "the manifest", error)))
        return NULL;
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);
    gp_digest_of(expected ? named.algorithm : GP_DIGEST_SHA256, data, length, digest);
    if (content_type)
        *content_type = g_steal_pointer(&type);
    return g_steal_pointer(&bytes);
}

static gboolean check_size(GBytes *bytes, guint64 size, const char *what, GError **error)
{
    if (g_bytes_get_size(bytes) == size)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "%s has %" G_GSIZE_FORMAT " bytes, its descriptor says %" G_GUINT64_FORMAT, what, g_bytes_get_size(bytes),
        size);
    return FALSE;
}

GBytes *gp_source_manifest(GpSource *source, const GpDigest *digest, guint64 size, char **content_type, GError **error)
{
    if (size > GP_LIMIT_MANIFEST) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "a manifest of %" G_GUINT64_FORMAT " bytes, at most %" G_GUINT64_FORMAT " allowed", size,
            GP_LIMIT_MANIFEST);
        return NULL;
    }
    g_autofree char *type = NULL;
    g_autoptr(GBytes) bytes = source->kind->manifest(source, digest, GP_LIMIT_MANIFEST, &type, error);
    if (!bytes || !gp_digest_check_bytes(digest, bytes, "the manifest", error) ||
        !check_size(bytes, size, "the manifest", error))
        return NULL;
    if (content_type)
        *content_type = g_steal_pointer(&type);
    return g_steal_pointer(&bytes);
}

/* One try at one place. */
static GBytes *read_blob(GpSource *source, guint *place, const GpDescriptor *blob, GError **error)
{
    guint64 size = blob->size;
    g_autoptr(GpSourceStream) stream = gp_source_stream_open_at(source, place, blob, error);
    if (!stream)
        return NULL;
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) bytes = gp_read_all(gp_source_stream_fd(stream), (gsize) size, "blob", &cause);
    if (!bytes && cause->code == GP_ERROR_LIMIT) {
        g_set_error(error, GP_ERROR, GP_ERROR_DIGEST,
            "the blob has more than the %" G_GUINT64_FORMAT " bytes that its descriptor says", size);
        return NULL;
    }
    if (!bytes) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    /* The digest first: only of the right bytes can it be said that the descriptor is wrong. */
    if (!gp_source_stream_finish(stream, error) || !gp_digest_check_bytes(&blob->digest, bytes, "the blob", error) ||
        !check_size(bytes, size, "the blob", error))
        return NULL;
    return g_steal_pointer(&bytes);
}

GBytes *gp_source_blob(GpSource *source, const GpDigest *digest, guint64 size, gsize max, GError **error)
{
    if (size > max) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "a blob of %" G_GUINT64_FORMAT " bytes, at most %" G_GSIZE_FORMAT " allowed", size, max);
        return NULL;
    }
    const GpDescriptor blob = {.digest = *digest, .size = size};
    for (guint place = 0;; place++) {
        g_autoptr(GError) cause = NULL;
        GBytes *bytes = read_blob(source, &place, &blob, &cause);
        if (bytes)
            return bytes;
        if (!gp_source_place_failed(source, place, &blob, cause)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
    }
}

/* ---- streams */

GpSourceStream *gp_source_stream_open(GpSource *source, const GpDigest *digest, guint64 size, GError **error)
{
    guint place = 0;
    const GpDescriptor blob = {.digest = *digest, .size = size};
    return gp_source_stream_open_at(source, &place, &blob, error);
}

static gboolean open_stream(
    GpSource *source, guint place, const GpDescriptor *blob, GpSourceStream *stream, GError **error)
{
    const GpLocation *location = gp_source_place_location(source, place);
    const char *url = gp_source_place_url(source, place, blob);
    if (gp_source_place_is_local(source, place)) {
        stream->shared = gp_source_open_shared(source, place, &blob->digest, blob->size, error);
        return stream->shared != NULL;
    }
    if (!location && !url)
        return source->kind->blob(source, &blob->digest, blob->size, &stream->fd, &stream->blob, error);
    stream->blob = url ? gp_fetch_blob_url_open(source->fetch, url, blob->size, error)
                       : gp_fetch_blob_open(source->fetch, location, &blob->digest, blob->size, error);
    return stream->blob != NULL;
}

GpSourceStream *gp_source_stream_open_at(GpSource *source, guint *place, const GpDescriptor *blob, GError **error)
{
    g_autoptr(GpSourceStream) stream = g_new0(GpSourceStream, 1);
    stream->fd = -1;
    for (;; (*place)++) {
        g_autoptr(GError) cause = NULL;
        if (open_stream(source, *place, blob, stream, &cause))
            return g_steal_pointer(&stream);
        if (!gp_source_place_failed(source, *place, blob, cause)) {
            g_autofree char *text = gp_digest_to_string(&blob->digest);
            g_propagate_prefixed_error(error, g_steal_pointer(&cause), "blob %s: ", text);
            return NULL;
        }
    }
}

int gp_source_stream_fd(const GpSourceStream *stream)
{
    return stream->blob     ? gp_fetch_blob_fd(stream->blob)
           : stream->shared ? gp_shared_blob_fd(stream->shared)
                            : stream->fd;
}

gboolean gp_source_stream_finish(GpSourceStream *stream, GError **error)
{
    return stream->blob     ? gp_fetch_blob_finish(stream->blob, error)
           : stream->shared ? gp_shared_blob_finish(stream->shared, error)
                            : TRUE;
}

void gp_source_stream_free(GpSourceStream *stream)
{
    if (!stream)
        return;
    gp_close_fd(&stream->fd);
    gp_fetch_blob_free(stream->blob);
    gp_shared_blob_free(stream->shared);
    g_free(stream);
}
