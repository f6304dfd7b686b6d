/* Checkpoints of transparency logs: a signed note (c2sp.org/signed-note) whose text names the log, the size and the
 * root of its tree (c2sp.org/tlog-checkpoint). */
#pragma once

#include <glib.h>

#include "sigstore/trusted_root.h"

typedef struct {
    char *origin;
    guint64 size;
    GBytes *root; /* 32 bytes */
} GpCheckpoint;
void gp_checkpoint_free(GpCheckpoint *checkpoint);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpCheckpoint, gp_checkpoint_free)

/* Reads @note and verifies that @log signed it; other signatures (witnesses) are passed over. @exact_origin: the log's
 * host must be origin and signer (Rekor v2); else the signer must be the origin up to its first " - ". Errors:
 * SIGNATURE "checkpoint-format: ", "checkpoint-origin: ", "checkpoint-signature: ". */
GpCheckpoint *gp_checkpoint_verify(const char *note, const GpTrustedLog *log, gboolean exact_origin, GError **error);
