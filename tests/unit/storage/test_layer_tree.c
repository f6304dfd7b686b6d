#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/limits.h"
#include "storage/layer_tree.h"

static GpNode *add_directory(GpLayerTree *tree, GpNode *parent, const char *name)
{
    GpNode *node = gp_layer_tree_add(tree, parent, name, NULL);
    node->inode->mode = S_IFDIR | 0755;
    return node;
}

static void test_new(void)
{
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    g_assert_true(gp_layer_tree_find(tree, "") == tree->root);
    g_assert_cmpuint(tree->root->inode->mode, ==, S_IFDIR | 0755);
    g_assert_true(tree->root->inode->implied);
    g_assert_cmpuint(tree->entries, ==, 0);
    g_assert_null(gp_layer_tree_find(tree, "a"));
}

static void test_find(void)
{
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    GpNode *a = add_directory(tree, tree->root, "a");
    GpNode *b = add_directory(tree, a, "b");
    GpNode *c = gp_layer_tree_add(tree, b, "c\xff", NULL);
    g_assert_true(gp_layer_tree_find(tree, "a") == a);
    g_assert_true(gp_layer_tree_find(tree, "a/b") == b);
    g_assert_true(gp_layer_tree_find(tree, "a/b/c\xff") == c);
    g_assert_true(c->parent == b);
    static const char *const absent[] = {"b", "a/c", "a/b/c", "a/b/c\xff/d", "/a", "a//b", ".", "a/.."};
    for (gsize i = 0; i < G_N_ELEMENTS(absent); i++)
        g_assert_null(gp_layer_tree_find(tree, absent[i]));
    g_autofree char *longest = g_strnfill(GP_LIMIT_NAME, 'x');
    g_autofree char *longer = g_strnfill(GP_LIMIT_NAME + 1, 'x');
    GpNode *node = gp_layer_tree_add(tree, tree->root, longest, NULL);
    g_assert_true(gp_layer_tree_find(tree, longest) == node);
    g_assert_null(gp_layer_tree_find(tree, longer));
}

static void test_remove_counts_all_below(void)
{
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    GpNode *a = add_directory(tree, tree->root, "a");
    GpNode *b = add_directory(tree, a, "b");
    gp_layer_tree_add(tree, b, "c", NULL);
    gp_layer_tree_add(tree, tree->root, "stays", NULL);
    g_assert_cmpuint(tree->entries, ==, 4);
    gp_layer_tree_remove(tree, a);
    g_assert_cmpuint(tree->entries, ==, 1);
    g_assert_null(gp_layer_tree_find(tree, "a/b/c"));
    g_assert_nonnull(gp_layer_tree_find(tree, "stays"));
    g_assert_nonnull(add_directory(tree, tree->root, "a"));
}

static void test_hard_links_share(void)
{
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    GpNode *first = gp_layer_tree_add(tree, tree->root, "first", NULL);
    first->inode->symlink = gp_layer_tree_text(tree, "shared");
    GpNode *second = gp_layer_tree_add(tree, tree->root, "second", first->inode);
    g_assert_cmpuint(first->inode->references, ==, 2);
    GpInode *inode = first->inode;
    gp_layer_tree_remove(tree, first);
    g_assert_true(second->inode == inode);
    g_assert_cmpuint(inode->references, ==, 1);
    g_assert_cmpstr(inode->symlink, ==, "shared");
    gp_layer_tree_remove(tree, second);
    g_assert_cmpuint(tree->entries, ==, 0);
}

/* The names of @tree's root in their order. */
static void assert_sorted(const GpLayerTree *tree, guint count)
{
    const GpNode *previous = NULL;
    guint seen = 0;
    for (const GpNode *child = tree->root->first; child; previous = child, child = child->next, seen++) {
        g_assert_true(child->previous == previous);
        g_assert_true(!previous || strcmp(previous->name, child->name) < 0);
    }
    g_assert_true(tree->root->last == previous);
    g_assert_cmpuint(seen, ==, count);
}

static void test_sort(void)
{
    static const char *const names[] = {"ab\xff", "ab", "abcdefghijk", "abcdefghij", "ab-", "ab\x01", "abcdefghia"};
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        gp_layer_tree_add(tree, tree->root, names[i], NULL);
    gp_layer_tree_sort(tree);
    assert_sorted(tree, G_N_ELEMENTS(names));
    gp_layer_tree_remove(tree, gp_layer_child(tree, tree->root, "ab"));
    gp_layer_tree_remove(tree, gp_layer_child(tree, tree->root, "ab\xff"));
    gp_layer_tree_add(tree, tree->root, "aa", NULL);
    gp_layer_tree_sort(tree);
    assert_sorted(tree, G_N_ELEMENTS(names) - 1);
    g_assert_true(gp_layer_child(tree, tree->root, "aa") == tree->root->first);
}

/* Several runs that are merged, most of it in a file, names that are found however many tables there are. */
static void test_many_names(void)
{
    enum { COUNT = 70001 };
    g_autofree char *directory = g_dir_make_tmp("gp-tree-XXXXXX", NULL);
    GP_AUTOFD int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(fd);
    for (guint i = 0; i < COUNT; i++) {
        g_autofree char *name =
            g_strdup_printf("a-common-beginning-%u", (guint) (i * G_GUINT64_CONSTANT(7919) % COUNT));
        gp_layer_tree_add(tree, tree->root, name, NULL)->inode->size = i;
    }
    gp_layer_tree_remove(tree, gp_layer_tree_find(tree, "a-common-beginning-7919"));
    g_assert_null(gp_layer_tree_find(tree, "a-common-beginning-7919"));
    g_assert_cmpuint(gp_layer_tree_find(tree, "a-common-beginning-15838")->inode->size, ==, 2);
    gp_layer_tree_settle(tree);
    g_assert_null(gp_layer_tree_find(tree, "a-common-beginning-7919"));
    g_assert_cmpuint(gp_layer_tree_find(tree, "a-common-beginning-15838")->inode->size, ==, 2);
    gp_layer_tree_sort(tree);
    assert_sorted(tree, COUNT - 1);
    g_assert_cmpint(g_rmdir(directory), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/layer-tree/a-new-one-is-an-implied-root", test_new);
    g_test_add_func("/storage/layer-tree/find-takes-plain-relative-paths", test_find);
    g_test_add_func("/storage/layer-tree/removal-counts-all-below", test_remove_counts_all_below);
    g_test_add_func("/storage/layer-tree/hard-links-share-an-inode", test_hard_links_share);
    g_test_add_func("/storage/layer-tree/sorting-is-by-the-names-bytes", test_sort);
    g_test_add_func("/storage/layer-tree/many-names", test_many_names);
    return g_test_run();
}
