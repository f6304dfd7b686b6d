#include "storage/layer_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "storage/layer_disk.h"
#include "storage/layer_file.h"
#include "storage/object.h"

#define WHITEOUT_PREFIX ".wh."
#define OPAQUE_NAME ".wh..wh..opq"
#define AUFS_PREFIX ".wh..wh."

typedef enum {
    WANT_READY = 0,
    WANT_ENTRIES,
    ENDED,
} Expectation;

typedef struct {
    const GpLayerTarget *target;
    GpLayerProgress *progress;
    GpDigest *diff_id;
    Expectation expectation;
    guint64 entries, bytes, metadata; /* announced so far, replaced ones too */
    GpLayerDisk disk;
    GpLayerFile file;
    GpHasher *hasher; /* of objects, one after the other */
} Writer;

static gboolean broken_protocol(const char *how, GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the unpack worker broke the protocol: %s", how);
    return FALSE;
}

static gboolean failed(const char *what, const char *path, GError **error)
{
    int err = errno;
    g_autofree char *shown = gp_escape(path, -1, 256);
    gp_set_errno(error, err, "layer directory: %s \"%s\"", what, shown);
    return FALSE;
}

/* Removes what bears @name in the current directory, so that an entry can take its place: the last one wins. */
static gboolean replace(Writer *writer, const char *name, GError **error)
{
    GpNode *node = gp_layer_child(writer->disk.tree, writer->disk.directory, name);
    return !node ||
           (gp_finisher_drain(writer->file.finisher, error) && gp_layer_disk_remove(&writer->disk, node, error));
}

static gboolean put_directory(Writer *writer, const char *name, GpEntry *entry, GError **error)
{
    GpNode *node = gp_layer_child(writer->disk.tree, writer->disk.directory, name);
    if (!node || !S_ISDIR(node->inode->mode)) {
        /* A whiteout, file or link stood there and took lower layers' directories of that name with it. */
        gboolean hides = node != NULL;
        if (!replace(writer, name, error) || !(node = gp_layer_disk_make_directory(&writer->disk, name, error)))
            return FALSE;
        node->inode->opaque = hides;
    }
    gp_layer_fill(writer->disk.tree, node->inode, entry);
    return TRUE;
}

static gboolean put_symlink(Writer *writer, const char *name, GpInode *inode, GError **error)
{
    GpLayerDisk *disk = &writer->disk;
    /* Linux gives every link this mode, whatever the archive says. */
    inode->mode = S_IFLNK | 0777;
    if (symlinkat(inode->symlink, disk->directory_fd, name) < 0)
        return failed("creating link", name, error);
    /* libostree's header has the target as text, and its fsck takes other bytes for damage: the sidecar alone holds
     * such a link, as it does devices. */
    if (!g_utf8_validate(inode->symlink, -1, NULL))
        return gp_layer_disk_apply(disk, disk->directory_fd, name, inode, error);
    GpDigest digest;
    gp_object_hasher_start(writer->hasher, inode->uid, inode->gid, inode->mode, inode->symlink, inode->xattrs);
    gp_hasher_finish(writer->hasher, &digest);
    memcpy(inode->object, digest.bytes, sizeof inode->object);
    inode->has_object = TRUE;
    return gp_layer_disk_apply(disk, disk->directory_fd, name, inode, error) &&
           gp_object_link(writer->target->objects_fd, inode->object, disk->directory_fd, name, error);
}

static gboolean put_special(Writer *writer, const char *name, GpInode *inode, GError **error)
{
    GpLayerDisk *disk = &writer->disk;
    dev_t device = makedev(inode->rdev_major, inode->rdev_minor);
    if (mknodat(disk->directory_fd, name, inode->mode & S_IFMT, device) < 0)
        return failed("creating node", name, error);
    return gp_layer_disk_apply(disk, disk->directory_fd, name, inode, error);
}

/* Files, links, devices, fifos: an inode of their own, whatever was there before. */
static gboolean put_inode(Writer *writer, const char *name, GpEntry *entry, GError **error)
{
    if (!replace(writer, name, error))
        return FALSE;
    GpNode *node = gp_layer_tree_add(writer->disk.tree, writer->disk.directory, name, NULL);
    gp_layer_fill(writer->disk.tree, node->inode, entry);
    switch (node->inode->mode & S_IFMT) {
    case S_IFREG:
        return gp_layer_file_open(&writer->file, &writer->disk, node, error);
    case S_IFLNK:
        return put_symlink(writer, name, node->inode, error);
    default:
        return put_special(writer, name, node->inode, error);
    }
}

static gboolean refuse_link(const GpEntry *entry, const char *why, GError **error)
{
    g_autofree char *shown = gp_escape(entry->path, -1, 256);
    g_autofree char *target = gp_escape(entry->link_target, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "hard link \"%s\" to \"%s\": %s", shown, target, why);
    return FALSE;
}

static gboolean put_hard_link(Writer *writer, const char *name, const GpEntry *entry, GError **error)
{
    GpLayerDisk *disk = &writer->disk;
    const GpNode *old = gp_layer_child(disk->tree, disk->directory, name);
    const GpNode *source = gp_layer_tree_find(disk->tree, entry->link_target);
    if (source && old && source->inode == old->inode && !old->inode->whiteout)
        return S_ISDIR(old->inode->mode) ? refuse_link(entry, "the target is a directory", error) : TRUE;
    if (!replace(writer, name, error))
        return FALSE;
    /* Looked up again: the target may have lain below what was just replaced. */
    source = gp_layer_tree_find(disk->tree, entry->link_target);
    if (!source || source->inode->whiteout)
        return refuse_link(entry, "the layer has no such target", error);
    if (S_ISDIR(source->inode->mode))
        return refuse_link(entry, "the target is a directory", error);
    if (!gp_finisher_drain(writer->file.finisher, error))
        return FALSE;
    GP_AUTOFD int source_fd = gp_layer_disk_open(disk, source->parent, error);
    if (source_fd < 0)
        return FALSE;
    if (linkat(source_fd, source->name, disk->directory_fd, name, 0) < 0) {
        if (errno != EMLINK)
            return failed("linking", entry->path, error);
        g_autofree char *shown = gp_escape(entry->link_target, -1, 256);
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "\"%s\": more hard links than the filesystem can hold", shown);
        return FALSE;
    }
    gp_layer_tree_add(disk->tree, disk->directory, name, source->inode);
    return TRUE;
}

/* ".wh.NAME" hides NAME in the layers below, nothing in this one (image-spec layer.md, "Whiteouts"): an entry of this
 * layer stays, and a directory that stays hides what it would have been merged with. */
static gboolean put_whiteout(Writer *writer, const char *name, const GpEntry *entry, GError **error)
{
    GpLayerDisk *disk = &writer->disk;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        g_autofree char *shown = gp_escape(entry->path, -1, 256);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "forbidden path \"%s\": a whiteout of no name", shown);
        return FALSE;
    }
    const GpNode *here = gp_layer_child(disk->tree, disk->directory, name);
    if (here) {
        if (S_ISDIR(here->inode->mode)) {
            here->inode->opaque = TRUE;
            here->inode->implied = FALSE; /* not even the attributes of a lower one show through */
        }
        return TRUE;
    }
    if (mknodat(disk->directory_fd, name, S_IFCHR, makedev(0, 0)) < 0)
        return failed("creating whiteout", name, error);
    GpInode *inode = gp_layer_tree_add(disk->tree, disk->directory, name, NULL)->inode;
    inode->mode = S_IFCHR;
    inode->whiteout = TRUE;
    return gp_layer_disk_apply(disk, disk->directory_fd, name, inode, error);
}

/* AUFS's own bookkeeping, in archives of very old builders: no part of the layer. */
static gboolean is_aufs(const char *path)
{
    for (const char *part = path; *part; part += strspn(part, "/")) {
        gsize length = strcspn(part, "/");
        gboolean opaque = length == strlen(OPAQUE_NAME) && strncmp(part, OPAQUE_NAME, length) == 0;
        if (g_str_has_prefix(part, AUFS_PREFIX) && !opaque)
            return TRUE;
        part += length;
    }
    return FALSE;
}

static gboolean put_entry(Writer *writer, GpEntry *entry, GError **error)
{
    GpLayerDisk *disk = &writer->disk;
    const char *name;
    if (!*entry->path) {
        gp_layer_fill(disk->tree, disk->tree->root->inode, entry);
        return TRUE;
    }
    /* Put first, so that content of entries without a file has a place to go; gp_layer_file_open() replaces it. */
    if (S_ISREG(entry->mode) && !entry->hardlink)
        gp_layer_file_discard(&writer->file, entry->size);
    if (is_aufs(entry->path))
        return TRUE;
    if (!gp_layer_disk_enter(disk, entry->path, &name, error))
        return FALSE;
    if (strcmp(name, OPAQUE_NAME) == 0) {
        disk->directory->inode->opaque = TRUE;
        return TRUE;
    }
    if (g_str_has_prefix(name, WHITEOUT_PREFIX))
        return put_whiteout(writer, name + strlen(WHITEOUT_PREFIX), entry, error);
    if (entry->hardlink)
        return put_hard_link(writer, name, entry, error);
    return S_ISDIR(entry->mode) ? put_directory(writer, name, entry, error) : put_inode(writer, name, entry, error);
}

static gboolean over_limit(const char *what, guint64 limit, GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "layer: more than %" G_GUINT64_FORMAT " %s", limit, what);
    return FALSE;
}

/* What the tree keeps of an entry besides its name. */
static guint64 metadata_size(const GpEntry *entry)
{
    guint64 size = entry->link_target && !entry->hardlink ? strlen(entry->link_target) : 0;
    for (guint i = 0; entry->xattrs && i < entry->xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(entry->xattrs, GpXattr, i);
        size += strlen(xattr->name) + xattr->size;
    }
    return size;
}

static gboolean take_entry(Writer *writer, const guint8 *payload, gsize length, GError **error)
{
    g_autoptr(GpEntry) entry = gp_entry_decode(payload, length, error);
    if (!entry)
        return FALSE;
    const GpLayerLimits *limits = writer->target->limits;
    if (limits && !gp_layer_limits_check_entry(limits, entry, error))
        return FALSE;
    guint64 size = entry->hardlink ? 0 : entry->size;
    guint64 max_metadata = limits ? limits->layer_metadata : GP_LIMIT_LAYER_METADATA;
    if (++writer->entries > writer->target->max_entries)
        return over_limit("entries", writer->target->max_entries, error);
    if (size > writer->target->max_bytes - writer->bytes)
        return over_limit("bytes of content", writer->target->max_bytes, error);
    writer->bytes += size;
    writer->metadata += metadata_size(entry);
    if (writer->metadata > max_metadata)
        return over_limit("bytes of link targets and extended attributes", max_metadata, error);
    if (!put_entry(writer, entry, error))
        return FALSE;
    if (writer->disk.tree->entries > writer->target->max_entries)
        return over_limit("entries", writer->target->max_entries, error);
    if (writer->progress)
        __atomic_store_n(&writer->progress->entries, writer->entries, __ATOMIC_RELAXED);
    return TRUE;
}

static guint64 read_integer(const guint8 *bytes, guint size)
{
    guint64 value = 0;
    for (guint i = 0; i < size; i++)
        value |= (guint64) bytes[i] << (8 * i);
    return value;
}

static gboolean take_content(Writer *writer, guint64 offset, const guint8 *data, gsize length, GError **error)
{
    if (!gp_layer_file_write(&writer->file, offset, data, length, error))
        return FALSE;
    if (writer->progress)
        __atomic_fetch_add(&writer->progress->bytes, length, __ATOMIC_RELAXED);
    return TRUE;
}

static gboolean take_data(Writer *writer, const guint8 *payload, gsize length, GError **error)
{
    if (length < 8)
        return broken_protocol("content without an offset", error);
    return take_content(writer, read_integer(payload, 8), payload + 8, length - 8, error);
}

static gboolean take_shared(Writer *writer, const guint8 *payload, gsize length, GError **error)
{
    if (length != 16 || !writer->target->shared)
        return broken_protocol("content in no shared memory", error);
    guint64 size = read_integer(payload + 12, 4);
    const guint8 *data = gp_shared_memory_take(writer->target->shared, read_integer(payload + 8, 4), size, error);
    return data && take_content(writer, read_integer(payload, 8), data, (gsize) size, error);
}

static gboolean take_end(Writer *writer, const guint8 *payload, gsize length, GError **error)
{
    if (length < 8)
        return broken_protocol("a short end", error);
    g_autofree char *text = g_strndup((const char *) payload, length - 8);
    if (strlen(text) != length - 8 || !gp_digest_parse(text, writer->diff_id, NULL))
        return broken_protocol("an end without a digest", error);
    writer->expectation = ENDED;
    return gp_finisher_drain(writer->file.finisher, error) && gp_layer_disk_finish(&writer->disk, error);
}

/* The worker blames the archive: its words, our code only if it is one that an archive can cause. */
static gboolean take_error(const guint8 *payload, gsize length, GError **error)
{
    json_t *code_text = NULL, *message = NULL;
    const GpJsonField fields[] = {
        {"code", GP_JSON_STRING, GP_JSON_MANDATORY, &code_text},
        {"message", GP_JSON_STRING, GP_JSON_MANDATORY, &message},
        {NULL, GP_JSON_ANY, GP_JSON_OPTIONAL, NULL},
    };
    g_autoptr(json_t) report = gp_json_parse(payload, length, GP_LIMIT_FRAME_ENTRY, "report", NULL);
    GpErrorCode code = GP_ERROR_INTERNAL;
    if (!report || !gp_json_fields(report, "$", fields, TRUE, NULL) ||
        !gp_error_code_from_name(json_string_value(code_text), &code) ||
        (code != GP_ERROR_INVALID && code != GP_ERROR_LIMIT && code != GP_ERROR_UNSUPPORTED))
        return broken_protocol("an error report that is none", error);
    g_autofree char *shown = gp_escape(json_string_value(message), -1, 1024);
    g_set_error_literal(error, GP_ERROR, (gint) code, shown);
    return FALSE;
}

static gboolean take_frame(Writer *writer, guint32 type, const guint8 *payload, gsize length, GError **error)
{
    if (type == GP_UNPACK_ERROR)
        return take_error(payload, length, error);
    if (writer->expectation == WANT_READY) {
        if (type != GP_UNPACK_READY || length > 0)
            return broken_protocol("it did not say that it is confined", error);
        writer->expectation = WANT_ENTRIES;
        return TRUE;
    }
    if (writer->expectation == ENDED)
        return broken_protocol("something behind the end", error);
    if (type == GP_UNPACK_DATA)
        return take_data(writer, payload, length, error);
    if (type == GP_UNPACK_SHARED)
        return take_shared(writer, payload, length, error);
    if (!gp_layer_file_close(&writer->file, &writer->disk, writer->target->objects_fd, error))
        return FALSE;
    if (type == GP_UNPACK_ENTRY)
        return take_entry(writer, payload, length, error);
    if (type == GP_UNPACK_END)
        return take_end(writer, payload, length, error);
    return broken_protocol("an unknown frame", error);
}

static gboolean take_frames(Writer *writer, int frames_fd, GError **error)
{
    gsize largest = MAX(GP_LIMIT_FRAME_DATA, GP_LIMIT_FRAME_ENTRY);
    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(frames_fd, largest);
    for (;;) {
        guint32 type;
        const guint8 *payload;
        gsize length;
        if (!gp_frame_reader_next(reader, &type, &payload, &length, error))
            return FALSE;
        if (type == 0)
            return writer->expectation == ENDED ? TRUE : broken_protocol("it ended in the middle", error);
        if (!take_frame(writer, type, payload, length, error))
            return FALSE;
    }
}

GpLayerTree *gp_layer_write(
    int frames_fd, const GpLayerTarget *target, GpLayerProgress *progress, GpDigest *diff_id, GError **error)
{
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(target->root_fd);
    g_autoptr(GpHasher) hasher = gp_hasher_new(GP_DIGEST_SHA256);
    Writer writer = {.target = target,
        .progress = progress,
        .diff_id = diff_id,
        .file = {.fd = -1, .target = target, .hasher = hasher},
        .hasher = hasher};
    g_autoptr(GpFinisher) finisher = gp_finisher_new(&writer.disk, target->objects_fd);
    writer.file.finisher = finisher;
    gboolean ok = gp_layer_disk_init(&writer.disk, target->root_fd, tree, error);
    writer.disk.finisher = finisher;
    ok = ok && take_frames(&writer, frames_fd, error);
    gp_layer_file_clear(&writer.file);
    gp_layer_disk_clear(&writer.disk);
    return ok ? g_steal_pointer(&tree) : NULL;
}
