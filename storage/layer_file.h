/* The regular file that is being written: content, hash of its object, attributes, links. Used by the layer writer
 * alone. */
#pragma once

#include <glib.h>

#include "base/digest.h"
#include "storage/layer_disk.h"
#include "storage/layer_finisher.h"
#include "storage/layer_writer.h"

typedef struct {
    int fd; /* -1: none, or content that goes nowhere (see gp_layer_file_discard) */
    gboolean open;
    GpNode *node;
    guint64 size, at; /* announced; there so far */
    guint8 *kept;     /* a small file's content, for the finisher; NULL: it is written and hashed as it comes */
    /* Of all files of the layer; they survive gp_layer_file_clear(). */
    const GpLayerTarget *target;
    GpHasher *hasher; /* SHA-256, borrowed; in use from open to close */
    GpFinisher *finisher;
} GpLayerFile;

/* Creates @node's file, whose inode is filled, in the current directory of @disk. Errors: SPACE, INTERNAL and those of
 * the attributes; then too @file wants gp_layer_file_clear(). */
gboolean gp_layer_file_open(GpLayerFile *file, GpLayerDisk *disk, GpNode *node, GError **error);

/* Content of @size bytes is expected and belongs to an entry that leaves no file, a whiteout say. */
void gp_layer_file_discard(GpLayerFile *file, guint64 size);

/* A piece of content. Errors: SANDBOX when the worker goes back, or beyond what it announced; SPACE, CANCELLED,
 * INTERNAL. */
gboolean gp_layer_file_write(GpLayerFile *file, guint64 offset, const guint8 *data, gsize length, GError **error);

/* Completes the file, if there is one: what was not written is a hole; attributes; object. A small one is left to the
 * finisher. */
gboolean gp_layer_file_close(GpLayerFile *file, GpLayerDisk *disk, int objects_fd, GError **error);

void gp_layer_file_clear(GpLayerFile *file);
