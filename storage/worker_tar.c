#include "storage/worker_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <iconv.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits.h"
#include "storage/worker_acl.h"

/* The byte source behind libarchive; @error keeps what our own stream said. */
typedef struct {
    GpUnpackStream *stream;
    GError *error;
} Source;

static la_ssize_t read_source(struct archive *reader, void *data, const void **buffer)
{
    Source *source = data;
    const guint8 *bytes = NULL;
    gsize length = 0;
    if (!gp_unpack_stream_next(source->stream, &bytes, &length, &source->error)) {
        archive_set_error(reader, EIO, "stream");
        return -1;
    }
    *buffer = bytes;
    return (la_ssize_t) length;
}

/* What the stream said, or what libarchive did not like. */
static gboolean reader_failed(struct archive *reader, Source *source, GError **error)
{
    if (source->error) {
        g_propagate_error(error, g_steal_pointer(&source->error));
        return FALSE;
    }
    const char *text = archive_error_string(reader);
    g_autofree char *shown = gp_escape(text ? text : "malformed", -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer: tar: %s", shown);
    return FALSE;
}

/* "./a//b/" becomes "a/b". What may not be in a path at all is left in for gp_entry_encode() to refuse. */
static char *normalize(const char *path)
{
    GString *out = g_string_sized_new(strlen(path));
    if (*path == '/')
        return g_string_free(g_string_append(out, path), FALSE);
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

static gboolean read_names(struct archive_entry *header, GpEntry *entry, GError **error)
{
    const char *path = archive_entry_pathname(header);
    if (!path || !*path) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer: tar: an entry without a name");
        return FALSE;
    }
    entry->path = normalize(path);
    const char *target = archive_entry_hardlink(header);
    if (target) {
        entry->hardlink = TRUE;
        entry->link_target = normalize(target);
    } else if (archive_entry_filetype(header) == AE_IFLNK) {
        entry->link_target = g_strdup(archive_entry_symlink(header));
    }
    return TRUE;
}

/* libarchive reads "-5.25" as -5 seconds and +0.25: the fraction lacks the sign. (Of "-0.25" nothing is left to tell it
 * by.) */
static struct timespec read_mtime(struct archive_entry *header)
{
    struct timespec time = {.tv_sec = archive_entry_mtime(header), .tv_nsec = archive_entry_mtime_nsec(header)};
    if (time.tv_sec < 0 && time.tv_nsec > 0) {
        time.tv_sec--;
        time.tv_nsec = 1000000000 - time.tv_nsec;
    }
    return time;
}

static gboolean read_owner(struct archive_entry *header, GpEntry *entry, GError **error)
{
    gint64 uid = archive_entry_uid(header), gid = archive_entry_gid(header);
    if (uid < 0 || gid < 0 || uid > G_MAXUINT32 || gid > G_MAXUINT32) {
        g_autofree char *shown = gp_escape(entry->path, -1, 256);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "entry \"%s\": owner out of range", shown);
        return FALSE;
    }
    entry->uid = (guint32) uid;
    entry->gid = (guint32) gid;
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

static gboolean read_entry(struct archive_entry *header, GpEntry *entry, GError **error)
{
    if (!read_names(header, entry, error))
        return FALSE;
    if (entry->hardlink)
        return TRUE;
    mode_t type = archive_entry_filetype(header);
    entry->mode = type | (archive_entry_perm(header) & 07777);
    entry->mtime = read_mtime(header);
    if (type == AE_IFREG)
        entry->size = (guint64) archive_entry_size(header);
    if (type == AE_IFCHR || type == AE_IFBLK) {
        entry->rdev_major = (guint32) archive_entry_rdevmajor(header);
        entry->rdev_minor = (guint32) archive_entry_rdevminor(header);
    }
    return read_owner(header, entry, error) && read_xattrs(header, entry, error);
}

static gboolean send_content(struct archive *reader, Source *source, GpUnpackOutput *output, GError **error)
{
    const void *data;
    size_t length;
    la_int64_t offset;
    for (;;) {
        int status = archive_read_data_block(reader, &data, &length, &offset);
        if (status == ARCHIVE_EOF)
            return TRUE;
        if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
            return reader_failed(reader, source, error);
        if (!gp_unpack_output_data(output, (guint64) offset, data, length, error))
            return FALSE;
    }
}

static gboolean send_entry(
    struct archive *reader, struct archive_entry *header, Source *source, GpUnpackOutput *output, GError **error)
{
    g_autoptr(GpEntry) entry = g_new0(GpEntry, 1);
    if (!read_entry(header, entry, error))
        return FALSE;
    g_autoptr(GBytes) wire = gp_entry_encode(entry, error);
    if (!wire)
        return FALSE;
    gsize size;
    const void *data = g_bytes_get_data(wire, &size);
    if (!gp_unpack_output_frame(output, GP_UNPACK_ENTRY, data, size, error))
        return FALSE;
    return entry->size == 0 || send_content(reader, source, output, error);
}

static gboolean send_end(GpUnpackStream *stream, GpUnpackOutput *output, GError **error)
{
    const guint8 *rest;
    gsize length = 1;
    while (length > 0)
        if (!gp_unpack_stream_next(stream, &rest, &length, error))
            return FALSE;
    GpDigest diff_id;
    guint64 bytes;
    gp_unpack_stream_finish(stream, &diff_id, &bytes);
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
    Source source = {.stream = stream};
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
    return ok && send_end(stream, output, error);
}
