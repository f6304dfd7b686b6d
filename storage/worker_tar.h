/* The tar reader of the unpack worker: an archive in, entry frames out. libarchive frames entries and gives out their
 * content, storage/worker_headers.h says exactly whose and what they are; where the two disagree, it is refused. */
#pragma once

#include <glib.h>

#include "storage/worker_output.h"
#include "storage/worker_stream.h"

/* Loads what libarchive would load from files at its first pax header; to be called before the sandbox. */
void gp_unpack_tar_prepare(void);

/* Sends every entry of the tar archive in @stream, in order, reads the stream to its very end and sends END. Paths lose
 * "./", "//" and a trailing slash; an absolute one begins at the layer's root, ".." is refused. Owners are numbers
 * only. Errors: INVALID, LIMIT, UNSUPPORTED blame the archive; INTERNAL is ours. */
gboolean gp_unpack_tar(GpUnpackStream *stream, GpUnpackOutput *output, GError **error);
