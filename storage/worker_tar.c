#include "storage/worker_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <iconv.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits.h"
#include "storage/worker_acl.h"
#include "storage/worker_headers.h"

/* The bytes, for libarchive and for our own reader of headers; @error keeps what our own stream said. */
typedef struct {
    GpUnpackStream *stream;
    GpUnpackHeaders *headers;
    GpUnpackOutput *output; /* may have better memory to unpack into */
    GError *error;
} Source;

static gboolean next_bytes(Source *source, const guint8 **bytes, gsize *length, GError **error)
{
    guint8 *slot;
    if (!gp_unpack_output_slot(source->output, &slot, error))
        return FALSE;
    if (slot)
        gp_unpack_stream_into(source->stream, slot);
    if (!gp_unpack_stream_next(source->stream, bytes, length, error))
        return FALSE;
    gp_unpack_headers_feed(source->headers, *bytes, *length);
    return TRUE;
}

static gboolean flush(gpointer output, GError **error)
{
    return gp_unpack_output_flush(output, error);
}

static la_ssize_t read_source(struct archive *reader, void *data, const void **buffer)
{
    Source *source = data;
    const guint8 *bytes = NULL;
    gsize length = 0;
    if (!next_bytes(source, &bytes, &length, &source->error)) {
        archive_set_error(reader, EIO, "stream");
        return -1;
    }
    *buffer = bytes;
    return (la_ssize_t) length;
}

/* What the stream said, what our own reader saw there, or what libarchive did not like. */
static gboolean reader_failed(struct archive *reader, Source *source, GError **error)
{
    if (source->error) {
        g_propagate_error(error, g_steal_pointer(&source->error));
        return FALSE;
    }
    if (!gp_unpack_headers_finish(source->headers, error))
        return FALSE;
    const char *text = archive_error_string(reader);
    g_autofree char *shown = gp_escape(text ? text : "malformed", -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer: tar: %s", shown);
    return FALSE;
}

/* "./a//b/" becomes "a/b", and "/a/b" too: an absolute name begins at the layer's root, as GNU tar, umoci, podman and
 * containerd have it. What may not be in a path at all is left in for gp_entry_encode() to refuse. */
static char *normalize(const char *path)
{
    GString *out = g_string_sized_new(strlen(path));
    while (*path) {
        gsize length = strcspn(path, "/");
        if (length > 0 && !(length == 1 && *path == '.')) {
            if (out->len)
                g_string_append_c(out, '/');
            g_string_append_len(out, path, (gssize) length);
        }
        path += length + (path[length] == '/');
    }
    return g_string_free(out, FALSE);
}

static gboolean read_names(struct archive_entry *header, const GpUnpackHeader *exact, GpEntry *entry, GError **error)
{
    entry->path = normalize(exact->path);
    entry->hardlink = archive_entry_hardlink(header) != NULL;
    gboolean symlink = !entry->hardlink && archive_entry_filetype(header) == AE_IFLNK;
    if ((entry->hardlink || symlink) != (exact->link_target != NULL)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer: tar: ambiguous: a link to some readers, not to others");
        return FALSE;
    }
    if (entry->hardlink)
        entry->link_target = normalize(exact->link_target);
    else if (symlink)
        entry->link_target = g_strdup(exact->link_target);
    return TRUE;
}

/* bsdtar writes every attribute twice, as SCHILY.xattr and as LIBARCHIVE.xattr: equal pairs count once, different ones
 * would be read differently by different tools. */
static gboolean drop_doubles(GpEntry *entry, GError **error)
{
    for (guint i = 1; i < entry->xattrs->len;) {
        const GpXattr *a = &g_array_index(entry->xattrs, GpXattr, i - 1);
        const GpXattr *b = &g_array_index(entry->xattrs, GpXattr, i);
        if (strcmp(a->name, b->name) != 0) {
            i++;
            continue;
        }
        if (a->size != b->size || (a->size > 0 && memcmp(a->value, b->value, a->size) != 0)) {
            g_autofree char *shown = gp_escape(entry->path, -1, 256);
            g_autofree char *name = gp_escape(a->name, -1, 256);
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
                "entry \"%s\": extended attribute %s is given twice, with different values", shown, name);
            return FALSE;
        }
        g_array_remove_index(entry->xattrs, i);
    }
    return TRUE;
}

static gboolean read_xattrs(struct archive_entry *header, GpEntry *entry, GError **error)
{
    const char *name;
    const void *value;
    size_t size;
    gboolean acl = archive_entry_acl_types(header) != 0;
    if (archive_entry_xattr_reset(header) == 0 && !acl)
        return TRUE;
    entry->xattrs = gp_xattrs_new();
    while (archive_entry_xattr_next(header, &name, &value, &size) == ARCHIVE_OK)
        gp_xattrs_add(entry->xattrs, name, value, size);
    if (acl && !gp_unpack_add_acls(header, entry, error))
        return FALSE;
    gp_xattrs_sort(entry->xattrs);
    return drop_doubles(entry, error);
}

static gboolean read_entry(struct archive_entry *header, const GpUnpackHeader *exact, GpEntry *entry, GError **error)
{
    if (!read_names(header, exact, entry, error))
        return FALSE;
    if (entry->hardlink)
        return TRUE;
    mode_t type = archive_entry_filetype(header);
    entry->mode = type | (archive_entry_perm(header) & 07777);
    entry->mtime = exact->mtime;
    entry->uid = exact->uid;
    entry->gid = exact->gid;
    if (type == AE_IFREG)
        entry->size = (guint64) archive_entry_size(header);
    if (type == AE_IFCHR || type == AE_IFBLK) {
        entry->rdev_major = (guint32) archive_entry_rdevmajor(header);
        entry->rdev_minor = (guint32) archive_entry_rdevminor(header);
    }
    return read_xattrs(header, entry, error);
}

/* A sparse map can say anything; libarchive gives out what it says. */
static gboolean bad_map(const GpEntry *entry, GError **error)
{
    g_autofree char *shown = gp_escape(entry->path, -1, 256);
    g_set_error(
        error, GP_ERROR, GP_ERROR_INVALID, "entry \"%s\": content out of order, beyond its size or not there", shown);
    return FALSE;
}

/* All that the map of a sparse file says is stored; of any other file libarchive itself misses what is not there. */
static guint64 mapped(struct archive_entry *header)
{
    la_int64_t offset, length;
    guint64 total = 0;
    /* Counting frees a map that says "all of it", and libarchive 3.6 would go on reading the freed one if the reset,
     * which counts too, came first. */
    if (archive_entry_sparse_count(header) == 0)
        return 0;
    (void) archive_entry_sparse_reset(header);
    while (archive_entry_sparse_next(header, &offset, &length) == ARCHIVE_OK)
        total += (guint64) length;
    return total;
}

static gboolean send_content(struct archive *reader, struct archive_entry *header, Source *source, const GpEntry *entry,
    GpUnpackOutput *output, GError **error)
{
    const void *data;
    size_t length;
    la_int64_t offset;
    guint64 at = 0, sent = 0, expected = mapped(header);
    for (;;) {
        int status = archive_read_data_block(reader, &data, &length, &offset);
        if (status == ARCHIVE_EOF)
            return sent < expected ? bad_map(entry, error) : TRUE;
        if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
            return reader_failed(reader, source, error);
        if (length == 0)
            continue;
        if (offset < 0 || (guint64) offset < at || (guint64) offset > entry->size ||
            length > entry->size - (guint64) offset)
            return bad_map(entry, error);
        if (!gp_unpack_output_data(output, (guint64) offset, data, length, error))
            return FALSE;
        at = (guint64) offset + length;
        sent += length;
    }
}

static gboolean send_entry(
    struct archive *reader, struct archive_entry *header, Source *source, GpUnpackOutput *output, GError **error)
{
    g_autoptr(GpUnpackHeader) exact =
        gp_unpack_headers_next(source->headers, (guint64) archive_read_header_position(reader), error);
    if (!exact)
        return FALSE;
    g_autoptr(GpEntry) entry = g_new0(GpEntry, 1);
    if (!read_entry(header, exact, entry, error))
        return FALSE;
    g_autoptr(GBytes) wire = gp_entry_encode(entry, error);
    if (!wire)
        return FALSE;
    gsize size;
    const void *data = g_bytes_get_data(wire, &size);
    if (!gp_unpack_output_frame(output, GP_UNPACK_ENTRY, data, size, error))
        return FALSE;
    return !S_ISREG(entry->mode) || send_content(reader, header, source, entry, output, error);
}

static gboolean send_end(Source *source, GpUnpackOutput *output, GError **error)
{
    const guint8 *rest;
    gsize length = 1;
    while (length > 0)
        if (!next_bytes(source, &rest, &length, error))
            return FALSE;
    if (!gp_unpack_headers_finish(source->headers, error))
        return FALSE;
    GpDigest diff_id;
    guint64 bytes;
    gp_unpack_stream_finish(source->stream, &diff_id, &bytes);
    g_autofree char *text = gp_digest_to_string(&diff_id);
    g_autoptr(GByteArray) end = g_byte_array_new();
    g_byte_array_append(end, (const guint8 *) text, (guint) strlen(text));
    guint64 little = GUINT64_TO_LE(bytes);
    g_byte_array_append(end, (const guint8 *) &little, sizeof little);
    return gp_unpack_output_frame(output, GP_UNPACK_END, end->data, end->len, error) &&
           gp_unpack_output_flush(output, error);
}

void gp_unpack_tar_prepare(void)
{
    /* The worker stays in the C locale. Under UTF-8 libarchive 3.6 turns decomposed letters of pax names into composed
     * ones, which is another name; under C the conversion fails, it warns, and keeps the bytes that the archive has. */
    iconv_t converter = iconv_open("ANSI_X3.4-1968", "UTF-8");
    if (converter != (iconv_t) -1)
        iconv_close(converter);
}

gboolean gp_unpack_tar(GpUnpackStream *stream, GpUnpackOutput *output, GError **error)
{
    g_autoptr(GpUnpackHeaders) headers = gp_unpack_headers_new();
    Source source = {.stream = stream, .headers = headers, .output = output};
    gp_unpack_stream_on_wait(stream, flush, output);
    struct archive *reader = archive_read_new();
    archive_read_support_filter_none(reader);
    archive_read_support_format_tar(reader);
    archive_read_support_format_empty(reader);
    gboolean ok = archive_read_open(reader, &source, NULL, read_source, NULL) == ARCHIVE_OK;
    if (!ok)
        (void) reader_failed(reader, &source, error);
    while (ok) {
        struct archive_entry *header;
        int status = archive_read_next_header(reader, &header);
        if (status == ARCHIVE_EOF)
            break;
        /* A warning is about one attribute's text form (see above), never the end. */
        if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
            ok = reader_failed(reader, &source, error);
        else
            ok = send_entry(reader, header, &source, output, error);
    }
    archive_read_free(reader);
    g_clear_error(&source.error);
    return ok && send_end(&source, output, error);
}
