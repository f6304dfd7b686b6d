/* A thread that finishes a layer's small files while the writer goes on with the next ones: content, the object's name,
 * attributes, the link as an object. Where a layer is tens of thousands of small files, one thread alone could not keep
 * up with the unpack worker. Used by the layer writer alone. */
#pragma once

#include <glib.h>

#include "storage/layer_disk.h"

/* Content up to this size goes with the file. */
#define GP_FINISHER_SIZE (64 * 1024)

typedef struct _GpFinisher GpFinisher;

/* @disk must outlive it; @objects_fd stays the caller's. */
GpFinisher *gp_finisher_new(const GpLayerDisk *disk, int objects_fd);
/* What was not finished is not waited for, and stays as it is. */
void gp_finisher_free(GpFinisher *finisher);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpFinisher, gp_finisher_free)

/* The file of @node in the current directory of the disk, open as *@fd and still empty, with its content *@data of
 * @size bytes: takes both over and leaves -1 and NULL. Until gp_finisher_drain() nobody else may look at the file's
 * name or inode. Errors: what went wrong with this or an earlier file, as with gp_layer_disk_apply_open() and
 * gp_object_link().
 */
gboolean gp_finisher_put(GpFinisher *finisher, int *fd, GpNode *node, guint8 **data, gsize size, GError **error);

/* Closes *@directory_fd when the files that were put before are finished, and leaves -1. */
void gp_finisher_close(GpFinisher *finisher, int *directory_fd);

/* Waits until all files are finished. Errors: as above, once. */
gboolean gp_finisher_drain(GpFinisher *finisher, GError **error);
