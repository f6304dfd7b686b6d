#include "storage/layer_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/object.h"

static gboolean failed(const char *what, const char *name, GError **error)
{
    int err = errno;
    g_autofree char *shown = gp_escape(name, -1, 256);
    gp_set_errno(error, err, "layer directory: %s \"%s\"", what, shown);
    return FALSE;
}

/* In place, not O_TMPFILE: until the layer is complete nobody looks here, and ext4 keeps nameless inodes on one global
 * list. */
gboolean gp_layer_file_open(GpLayerFile *file, GpLayerDisk *disk, GpNode *node, GError **error)
{
    GpInode *inode = node->inode;
    gp_layer_file_clear(file);
    file->open = TRUE;
    file->node = node;
    file->size = inode->size;
    file->fd = openat(disk->directory_fd, node->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
        gp_layer_disk_creation_mode(disk, inode));
    if (file->fd < 0)
        return failed("creating", node->name, error);
    if (gp_layer_has_acl(inode) && !gp_layer_disk_settle(disk, disk->directory_fd, node->name, inode, error))
        return FALSE;
    if (inode->size > 0 && inode->size <= GP_FINISHER_SIZE && !inode->xattrs)
        file->kept = g_malloc(inode->size);
    else
        gp_object_hasher_start(file->hasher, inode->uid, inode->gid, inode->mode, NULL, inode->xattrs);
    return TRUE;
}

void gp_layer_file_discard(GpLayerFile *file, guint64 size)
{
    gp_layer_file_clear(file);
    file->open = TRUE;
    file->size = size;
}

/* A few bytes of archive make a hole of terabytes, and hashing one takes minutes: nobody may have to wait for that. */
static gboolean hash_hole(GpLayerFile *file, guint64 end, GError **error)
{
    static const guint8 zeros[64 * 1024];
    const GpLayerTarget *target = file->target;
    while (file->at < end) {
        if (target->stopped && target->stopped(target->stopped_data)) {
            g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED, "given up inside a hole of a file");
            return FALSE;
        }
        gsize part = (gsize) MIN(end - file->at, sizeof zeros);
        gp_hasher_update(file->hasher, zeros, part);
        file->at += part;
    }
    return TRUE;
}

/* A small file with a hole in it is no matter for the finisher. */
static gboolean spill(GpLayerFile *file, GError **error)
{
    const GpInode *inode = file->node->inode;
    gp_object_hasher_start(file->hasher, inode->uid, inode->gid, inode->mode, NULL, inode->xattrs);
    gp_hasher_update(file->hasher, file->kept, (gsize) file->at);
    if (!gp_write_all(file->fd, file->kept, (gsize) file->at, error)) {
        g_autofree char *shown = gp_escape(file->node->name, -1, 256);
        g_prefix_error(error, "layer directory: writing \"%s\": ", shown);
        return FALSE;
    }
    g_clear_pointer(&file->kept, g_free);
    return TRUE;
}

gboolean gp_layer_file_write(GpLayerFile *file, guint64 offset, const guint8 *data, gsize length, GError **error)
{
    if (!file->open || length == 0 || offset < file->at || offset > file->size || length > file->size - offset) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the unpack worker broke the protocol: content %s",
            file->open ? "outside of what its entry announced" : "without a file");
        return FALSE;
    }
    if (file->fd < 0) {
        file->at = offset + length;
        return TRUE;
    }
    if (file->kept && offset == file->at) {
        memcpy(file->kept + offset, data, length);
        file->at += length;
        return TRUE;
    }
    if ((file->kept && !spill(file, error)) || !hash_hole(file, offset, error))
        return FALSE;
    gp_hasher_update(file->hasher, data, length);
    while (length > 0) {
        ssize_t done = pwrite(file->fd, data, length, (off_t) file->at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return failed("writing", file->node->name, error);
        data += done;
        file->at += (guint64) done;
        length -= (gsize) done;
    }
    return TRUE;
}

gboolean gp_layer_file_close(GpLayerFile *file, GpLayerDisk *disk, int objects_fd, GError **error)
{
    gboolean ok = TRUE;
    if (file->open && file->fd >= 0) {
        GpInode *inode = file->node->inode;
        const char *name = file->node->name;
        if (file->kept && file->at == file->size) {
            ok = gp_finisher_put(file->finisher, &file->fd, file->node, &file->kept, (gsize) file->size, error);
            gp_layer_file_clear(file);
            return ok;
        }
        if (file->kept && !spill(file, error))
            return FALSE;
        if (file->at < file->size && ftruncate(file->fd, (off_t) file->size) < 0)
            return failed("extending", name, error);
        if (!hash_hole(file, file->size, error))
            return FALSE;
        GpDigest digest;
        gp_hasher_finish(file->hasher, &digest);
        memcpy(inode->object, digest.bytes, sizeof inode->object);
        inode->has_object = TRUE;
        ok = gp_layer_disk_apply_open(disk, file->fd, name, inode, error) &&
             gp_object_link(objects_fd, inode->object, disk->directory_fd, name, error);
    }
    gp_layer_file_clear(file);
    return ok;
}

void gp_layer_file_clear(GpLayerFile *file)
{
    gp_close_fd(&file->fd);
    g_clear_pointer(&file->kept, g_free);
    file->open = FALSE;
    file->node = NULL;
    file->size = file->at = 0;
}
