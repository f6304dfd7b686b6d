/* Inclusion proofs of every leaf in every tree of up to 33 leaves, each good as made (RFC 6962 §2.1.1, recursively) and
 * bad after any one change. */
#include "sigstore/merkle.h"

#include <string.h>

#define MAX_LEAVES 33

static void leaf_at(guint i, GpDigest *hash)
{
    g_autofree char *text = g_strdup_printf("leaf %u", i);
    g_autoptr(GBytes) data = g_bytes_new(text, strlen(text));
    gp_merkle_leaf(data, hash);
}

static void join(const GpDigest *left, const GpDigest *right, GpDigest *hash)
{
    guint8 text[65] = {0x01};
    memcpy(text + 1, left->bytes, 32);
    memcpy(text + 33, right->bytes, 32);
    gp_digest_of(GP_DIGEST_SHA256, text, sizeof text, hash);
}

/* The largest power of two below @n. */
static guint split(guint n)
{
    guint k = 1;
    while (2 * k < n)
        k *= 2;
    return k;
}

static void root_of(guint first, guint n, GpDigest *hash)
{
    GpDigest left, right;
    if (n == 1) {
        leaf_at(first, hash);
        return;
    }
    root_of(first, split(n), &left);
    root_of(first + split(n), n - split(n), &right);
    join(&left, &right, hash);
}

static void add(GPtrArray *path, guint first, guint n)
{
    GpDigest hash;
    root_of(first, n, &hash);
    g_ptr_array_add(path, g_bytes_new(hash.bytes, 32));
}

static void path_of(guint index, guint first, guint n, GPtrArray *path)
{
    if (n == 1)
        return;
    guint k = split(n);
    if (index < k) {
        path_of(index, first, k, path);
        add(path, first + k, n - k);
    } else {
        path_of(index - k, first + k, n - k, path);
        add(path, first, k);
    }
}

static void check_changes(const GpDigest *leaf, guint index, guint n, GPtrArray *path, GBytes *root)
{
    GpDigest other;
    leaf_at(MAX_LEAVES + 1, &other);
    g_assert_false(gp_merkle_includes(&other, index, n, path, root));
    g_assert_false(gp_merkle_includes(leaf, n, n, path, root));
    if (n > 1)
        g_assert_false(gp_merkle_includes(leaf, (index + 1) % n, n, path, root));
    g_ptr_array_add(path, g_bytes_ref(root));
    g_assert_false(gp_merkle_includes(leaf, index, n, path, root));
    g_ptr_array_remove_index(path, path->len - 1);
    for (guint i = 0; i < path->len; i++) {
        g_autoptr(GBytes) kept = g_bytes_ref(path->pdata[i]);
        g_bytes_unref(path->pdata[i]);
        path->pdata[i] = g_bytes_new(other.bytes, 32);
        g_assert_false(gp_merkle_includes(leaf, index, n, path, root));
        g_bytes_unref(path->pdata[i]);
        path->pdata[i] = g_bytes_ref(kept);
    }
    if (path->len == 0)
        return;
    g_ptr_array_remove_index(path, 0);
    g_assert_false(gp_merkle_includes(leaf, index, n, path, root));
}

static void test_all_trees(void)
{
    for (guint n = 1; n <= MAX_LEAVES; n++) {
        GpDigest root_hash;
        root_of(0, n, &root_hash);
        g_autoptr(GBytes) root = g_bytes_new(root_hash.bytes, 32);
        for (guint index = 0; index < n; index++) {
            g_autoptr(GPtrArray) path = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
            GpDigest leaf;
            leaf_at(index, &leaf);
            path_of(index, 0, n, path);
            g_assert_true(gp_merkle_includes(&leaf, index, n, path, root));
            check_changes(&leaf, index, n, path, root);
        }
    }
}

/* A size that fits no proof must not make the loop run on. */
static void test_huge_tree(void)
{
    g_autoptr(GPtrArray) path = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    GpDigest leaf;
    leaf_at(0, &leaf);
    g_autoptr(GBytes) root = g_bytes_new(leaf.bytes, 32);
    g_assert_false(gp_merkle_includes(&leaf, 0, G_MAXUINT64, path, root));
    g_assert_false(gp_merkle_includes(&leaf, G_MAXUINT64 - 1, G_MAXUINT64, path, root));
    g_assert_false(gp_merkle_includes(&leaf, 0, 0, path, root));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/merkle/all-trees", test_all_trees);
    g_test_add_func("/merkle/huge-tree", test_huge_tree);
    return g_test_run();
}
