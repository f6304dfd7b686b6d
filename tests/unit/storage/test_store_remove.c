#include "storage/store_internal.h"
#include "tests/unit/storage/store_fixture.h"

/* A store with layers "shared", "only-a" and "only-b", and images a and b over them; open exclusively. */
typedef struct {
    GpDigest shared, only_a, only_b, a, b;
    GpStore *store;
} Shelf;

static void fill_shelf(Fixture *f, Shelf *shelf)
{
    shelf->shared = put_layer(f->store, "shared");
    shelf->only_a = put_layer(f->store, "only-a");
    shelf->only_b = put_layer(f->store, "only-b");
    const GpDigest a[] = {shelf->shared, shelf->only_a, shelf->shared}, b[] = {shelf->shared, shelf->only_b};
    shelf->a = put_image(f->store, "example.com/a:1", a, 3);
    shelf->b = put_image(f->store, "example.com/b:1", b, 2);
    close_store(f);
    shelf->store = open_store(f, GP_STORE_REMOVE);
}

static void shelf_clear(Shelf *shelf)
{
    g_clear_pointer(&shelf->store, gp_store_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Shelf, shelf_clear)

static guint64 remove_ok(Shelf *shelf, const GpDigest *image)
{
    g_autoptr(GError) error = NULL;
    GpPruned pruned = {.layers = 99};
    g_assert_true(gp_store_remove_image(shelf->store, image, NULL, &pruned, &error) || error);
    g_assert_no_error(error);
    g_assert_cmpuint(pruned.images, ==, 1);
    return pruned.layers;
}

static void test_shared_layers_stay(Fixture *f, gconstpointer data)
{
    g_auto(Shelf) shelf = {0};
    fill_shelf(f, &shelf);
    guint objects = count_objects(f);
    g_assert_cmpuint(remove_ok(&shelf, &shelf.a), ==, 1);
    g_assert_true(gp_store_has_layer(shelf.store, &shelf.shared));
    g_assert_true(gp_store_has_layer(shelf.store, &shelf.only_b));
    g_assert_false(gp_store_has_layer(shelf.store, &shelf.only_a));
    g_assert_cmpuint(count_names(f, "layers"), ==, 2);
    g_assert_cmpuint(count_objects(f), <, objects);
    g_clear_pointer(&shelf.store, gp_store_free);
    assert_clean(f);
}

static void test_nothing_stays(Fixture *f, gconstpointer data)
{
    g_auto(Shelf) shelf = {0};
    fill_shelf(f, &shelf);
    g_assert_cmpuint(remove_ok(&shelf, &shelf.b), ==, 1);
    g_assert_cmpuint(remove_ok(&shelf, &shelf.a), ==, 2);
    g_assert_cmpuint(count_names(f, "layers"), ==, 0);
    g_assert_cmpuint(count_objects(f), ==, 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) images = gp_store_images(shelf.store, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(images->len, ==, 0);
}

static void test_unknown(Fixture *f, gconstpointer data)
{
    g_auto(Shelf) shelf = {0};
    g_autoptr(GError) error = NULL;
    GpPruned pruned = {.layers = 99};
    fill_shelf(f, &shelf);
    GpDigest unknown = digest_of("unknown");
    g_assert_false(gp_store_remove_image(shelf.store, &unknown, NULL, &pruned, &error));
    assert_refused(error, GP_ERROR_NOT_FOUND, "no such image in the store");
    g_assert_cmpuint(pruned.layers, ==, 0);
    g_clear_pointer(&shelf.store, gp_store_free);
    assert_clean(f);
}

static void test_reader(Fixture *f, gconstpointer data)
{
    GpDigest image = put_image(f->store, "example.com/a:1", NULL, 0);
    close_store(f);
    g_autoptr(GpStore) store = open_store(f, GP_STORE_READ);
    g_autoptr(GError) error = NULL;
    const GpPruneOptions options = {0};
    GpPruned pruned;
    g_assert_false(gp_store_remove_image(store, &image, NULL, &pruned, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "not open for changes");
    g_clear_error(&error);
    g_assert_false(gp_store_prune(store, &options, &pruned, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "not open for changes");
}

/* An image that nobody can read any more must not stay for ever. */
static void test_damaged(Fixture *f, gconstpointer data)
{
    g_auto(Shelf) shelf = {0};
    fill_shelf(f, &shelf);
    shell(f->path, "rm $(grep -lr '^{.config.:{.digest' repo/objects)");
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) images = gp_store_images(shelf.store, &error);
    g_assert_null(images);
    g_assert_nonnull(error);
    g_assert_cmpuint(remove_ok(&shelf, &shelf.a) + remove_ok(&shelf, &shelf.b), ==, 3);
    g_assert_cmpuint(count_objects(f), ==, 0);
}

/* Killed between dropping the image and dropping its layers. */
static void test_interrupted(Fixture *f, gconstpointer data)
{
    g_auto(Shelf) shelf = {0};
    fill_shelf(f, &shelf);
    g_autofree char *ref = gp_store_ref("image", &shelf.a);
    shell(f->path, "rm repo/refs/heads/%s", ref);
    g_autoptr(GError) error = NULL;
    const GpPruneOptions options = {0};
    GpPruned pruned = {.layers = 99};
    g_assert_true(gp_store_prune(shelf.store, &options, &pruned, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(pruned.layers, ==, 1);
    g_assert_cmpuint(pruned.bytes, ==, strlen("only-a"));
    g_assert_false(gp_store_has_layer(shelf.store, &shelf.only_a));
    g_clear_pointer(&shelf.store, gp_store_free);
    assert_clean(f);
}

/* Two files with the same object: the second layer's is an inode of its own, whose object the first one's removal must
 * not take. */
static void test_same_object_in_two_layers(Fixture *f, gconstpointer data)
{
    GpDigest first = digest_of("first"), second = digest_of("second");
    g_autoptr(GpStaging) one = stage(f->store, &first, simple_frames("the same"));
    g_autoptr(GpStaging) two = stage(f->store, &second, simple_frames("the same"));
    commit_ok(f->store, one, NULL);
    commit_ok(f->store, two, NULL);
    g_clear_pointer(&one, gp_staging_free);
    g_clear_pointer(&two, gp_staging_free);
    Shelf shelf = {.a = put_image(f->store, "example.com/a:1", &first, 1)};
    put_image(f->store, "example.com/b:1", &second, 1);
    close_store(f);
    shelf.store = open_store(f, GP_STORE_REMOVE);
    g_assert_cmpuint(remove_ok(&shelf, &shelf.a), ==, 1);
    shelf_clear(&shelf);
    assert_clean(f);
}

static void test_again(Fixture *f, gconstpointer data)
{
    g_auto(Shelf) shelf = {0};
    fill_shelf(f, &shelf);
    remove_ok(&shelf, &shelf.a);
    g_clear_pointer(&shelf.store, gp_store_free);
    f->store = open_store(f, GP_STORE_WRITE);
    put_layer(f->store, "only-a");
    const GpDigest a[] = {shelf.shared, shelf.only_a, shelf.shared};
    put_image(f->store, "example.com/a:1", a, 3);
    assert_clean(f);
}

#define TEST(name, function) g_test_add("/storage/store-remove/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!need_root_for_all())
        return 0;
    TEST("layers-of-another-image-stay", test_shared_layers_stay);
    TEST("last-image-leaves-nothing", test_nothing_stays);
    TEST("unknown-image-is-not-found", test_unknown);
    TEST("a-reader-removes-nothing", test_reader);
    TEST("damaged-image-can-go", test_damaged);
    TEST("interrupted-removal-is-completed", test_interrupted);
    TEST("same-object-in-two-layers", test_same_object_in_two_layers);
    TEST("removed-layer-can-come-back", test_again);
    return g_test_run();
}
