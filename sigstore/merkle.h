/* Merkle trees of transparency logs (RFC 6962 §2.1, RFC 9162 §2.1.3.2). */
#pragma once

#include <glib.h>

#include "base/digest.h"

/* The hash of a leaf: SHA-256 of 0x00 and @data. */
void gp_merkle_leaf(GBytes *data, GpDigest *hash);

/* TRUE if @hashes (GBytes* of 32 bytes, from the leaf up) lead from @leaf at @index in a tree of @size leaves to @root
 * (32 bytes), all of them used. */
gboolean gp_merkle_includes(const GpDigest *leaf, guint64 index, guint64 size, const GPtrArray *hashes, GBytes *root);
