/* Trees that we serialize by hand, against GVariant and libostree. */
#include "storage/store_tree.h"

#include <ostree.h>

#include "storage/object.h"
#include "tests/unit/storage/layer_fixture.h"

static void add_file(GpLayerTree *tree, GpNode *directory, const char *name, guint8 mark)
{
    GpInode *inode = gp_layer_tree_add(tree, directory, name, NULL)->inode;
    inode->mode = S_IFREG | 0644;
    inode->has_object = TRUE;
    memset(inode->object, mark, sizeof inode->object);
}

static GpNode *add_directory(GpLayerTree *tree, GpNode *directory, const char *name, mode_t mode)
{
    GpNode *node = gp_layer_tree_add(tree, directory, name, NULL);
    node->inode->mode = S_IFDIR | mode;
    return node;
}

/* Object @checksum as libostree keeps it, which must have that checksum. */
static GVariant *load(const Layer *layer, const char *checksum, const char *suffix, const char *type)
{
    g_autofree char *name = g_strdup_printf("repo/objects/%.2s/%s.%s", checksum, checksum + 2, suffix);
    g_autoptr(GBytes) bytes = slurp(layer->directory, name);
    g_autofree char *actual = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, bytes);
    g_assert_cmpstr(actual, ==, checksum);
    return g_variant_ref_sink(g_variant_new_from_bytes(G_VARIANT_TYPE(type), bytes, FALSE));
}

static char *hex(GVariant *checksum)
{
    return ostree_checksum_from_bytes_v(checksum);
}

/* Is the object, to the byte, what GVariant itself makes of its values? Then all directories below. Returns how many
 * files there are. */
static guint check_tree(const Layer *layer, const char *contents, const char *metadata)
{
    g_autoptr(GVariant) tree = load(layer, contents, "dirtree", "(a(say)a(sayay))");
    g_autoptr(GVariant) attributes = load(layer, metadata, "dirmeta", "(uuua(ayay))");
    g_autoptr(GError) error = NULL;
    g_assert_true(g_variant_is_normal_form(tree) && g_variant_is_normal_form(attributes));
    g_assert_true(
        ostree_validate_structureof_dirtree(tree, &error) && ostree_validate_structureof_dirmeta(attributes, &error));
    g_autofree char *text = g_variant_print(tree, TRUE);
    g_autoptr(GVariant) again = g_variant_parse(G_VARIANT_TYPE("(a(say)a(sayay))"), text, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(
        g_variant_get_data(tree), g_variant_get_size(tree), g_variant_get_data(again), g_variant_get_size(again));

    g_autoptr(GVariant) files = g_variant_get_child_value(tree, 0);
    g_autoptr(GVariant) directories = g_variant_get_child_value(tree, 1);
    guint count = (guint) g_variant_n_children(files);
    for (gsize i = 0; i < g_variant_n_children(directories); i++) {
        g_autoptr(GVariant) below = NULL;
        g_autoptr(GVariant) below_metadata = NULL;
        g_variant_get_child(directories, i, "(&s@ay@ay)", NULL, &below, &below_metadata);
        g_autofree char *below_hex = hex(below), *metadata_hex = hex(below_metadata);
        count += check_tree(layer, below_hex, metadata_hex);
    }
    return count;
}

static guint write_and_check(const Layer *layer, GpLayerTree *tree)
{
    g_autoptr(GError) error = NULL;
    GpTreeName name;
    GP_AUTOFD int scratch = open(layer->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_true(gp_tree_write(layer->objects_fd, scratch, tree, "entries", &name, &error));
    g_assert_no_error(error);
    shell(layer->directory, "test ! -e object -a ! -e tree -a ! -e sidecar");
    return check_tree(layer, name.contents, name.metadata);
}

static void test_empty(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    g_assert_cmpuint(write_and_check(&layer, tree), ==, 1);
    g_assert_cmpuint(write_and_check(&layer, tree), ==, 1);
}

/* Names and lists around the sizes at which an offset takes 1, 2 and 4 bytes. */
static void test_sizes_of_offsets(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    guint files = 1;
    for (gsize length = 180; length <= GP_LIMIT_NAME; length++) {
        g_autofree char *name = g_strnfill(length, 'n');
        GpNode *alone = add_directory(tree, tree->root, name, 0755);
        add_file(tree, alone, name, (guint8) length);
        add_directory(tree, alone, "empty", 0700);
        files++;
    }
    for (guint count = 1; count <= 8; count++) {
        g_autofree char *name = g_strdup_printf("few%u", count);
        GpNode *few = add_directory(tree, tree->root, name, 0755);
        for (guint i = 0; i < count; i++, files++)
            add_file(tree, few, (char[]){(char) ('a' + i), '\0'}, (guint8) i);
    }
    GpNode *many = add_directory(tree, tree->root, "many", 0755);
    for (guint i = 0; i < 3000; i++, files++) {
        g_autofree char *name = g_strdup_printf("%u", i);
        add_file(tree, many, name, (guint8) i);
    }
    g_assert_cmpuint(write_and_check(&layer, tree), ==, files);
    /* "many" is more than is kept in memory: there already, and half there. */
    g_assert_cmpuint(write_and_check(&layer, tree), ==, files);
    shell(layer.directory, "for file in $(find repo -name '*.dirtree' -size +100k); do truncate -s 70000 $file; done");
    g_assert_cmpuint(write_and_check(&layer, tree), ==, files);
}

/* Attributes, twice the same and others; what has no object; names that are no UTF-8, once for two files alike. */
static void test_attributes_and_odd_names(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    GpNode *owned = add_directory(tree, tree->root, "owned", 01777);
    owned->inode->uid = 4000000000;
    owned->inode->gid = 5;
    owned->inode->xattrs = gp_xattrs_new();
    gp_xattrs_add(owned->inode->xattrs, "user.a", "1", 1);
    gp_xattrs_add(owned->inode->xattrs, "user.b", "", 0);
    gp_layer_tree_add(tree, tree->root, "fifo", NULL)->inode->mode = S_IFIFO | 0600;
    GpNode *raw = add_directory(tree, tree->root, "\xff", 0755);
    add_file(tree, raw, "plain", 1);
    add_file(tree, add_directory(tree, raw, "deep", 0755), "same", 1);
    add_file(tree, tree->root, "\xfe", 2);
    add_file(tree, tree->root, "plain", 3);
    g_assert_cmpuint(write_and_check(&layer, tree), ==, 1 + 2 + 1);
}

/* What a process left that was killed while it wrote, or what somebody damaged: made anew. */
static void test_half_objects(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    add_file(tree, add_directory(tree, tree->root, "directory", 0755), "file", 1);
    g_assert_cmpuint(write_and_check(&layer, tree), ==, 2);
    shell(layer.directory, "for file in $(find repo -type f); do truncate -s 5 $file; done");
    g_assert_cmpuint(write_and_check(&layer, tree), ==, 2);
    shell(layer.directory,
        "for file in $(find repo -name '*.dir*'); do printf x | dd of=$file conv=notrunc status=none; done");
    g_assert_cmpuint(write_and_check(&layer, tree), ==, 2);
}

static void test_disk_that_refuses(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    g_autoptr(GError) error = NULL;
    GpTreeName name;
    g_assert_false(gp_tree_write(-1, -1, tree, "entries", &name, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "store: a tree's object: creating");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/tree/empty", test_empty);
    g_test_add_func("/storage/tree/sizes-of-offsets", test_sizes_of_offsets);
    g_test_add_func("/storage/tree/attributes-and-odd-names", test_attributes_and_odd_names);
    g_test_add_func("/storage/tree/half-objects", test_half_objects);
    g_test_add_func("/storage/tree/disk-that-refuses", test_disk_that_refuses);
    return g_test_run();
}
