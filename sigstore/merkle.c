#include "sigstore/merkle.h"

#include <string.h>

#define HASH_SIZE 32

static void hash_of(
    guint8 prefix, const void *left, gsize left_size, const void *right, gsize right_size, GpDigest *hash)
{
    g_autoptr(GpHasher) hasher = gp_hasher_new(GP_DIGEST_SHA256);
    gp_hasher_update(hasher, &prefix, 1);
    gp_hasher_update(hasher, left, left_size);
    gp_hasher_update(hasher, right, right_size);
    gp_hasher_finish(hasher, hash);
}

void gp_merkle_leaf(GBytes *data, GpDigest *hash)
{
    gsize size;
    const void *bytes = g_bytes_get_data(data, &size);
    hash_of(0x00, bytes, size, "", 0, hash);
}

gboolean gp_merkle_includes(const GpDigest *leaf, guint64 index, guint64 size, const GPtrArray *hashes, GBytes *root)
{
    if (index >= size || g_bytes_get_size(root) != HASH_SIZE)
        return FALSE;
    guint64 at = index, last = size - 1;
    GpDigest hash = *leaf;
    for (guint i = 0; i < hashes->len; i++) {
        const void *other = g_bytes_get_data(hashes->pdata[i], NULL);
        if (last == 0 || g_bytes_get_size(hashes->pdata[i]) != HASH_SIZE)
            return FALSE;
        if ((at & 1) || at == last) {
            hash_of(0x01, other, HASH_SIZE, hash.bytes, HASH_SIZE, &hash);
            for (; !(at & 1) && at != 0; last >>= 1)
                at >>= 1;
        } else {
            hash_of(0x01, hash.bytes, HASH_SIZE, other, HASH_SIZE, &hash);
        }
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && memcmp(hash.bytes, g_bytes_get_data(root, NULL), HASH_SIZE) == 0;
}
