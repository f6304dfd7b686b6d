/* Removing beside others that pull. */
#include "storage/store_internal.h"
#include "tests/unit/storage/store_fixture.h"

static GpPruned prune_ok(GpStore *store, const GpPruneOptions *options)
{
    static const GpPruneOptions plain;
    g_autoptr(GError) error = NULL;
    GpPruned pruned;
    g_assert_true(gp_store_prune(store, options ? options : &plain, &pruned, &error) || error);
    g_assert_no_error(error);
    return pruned;
}

static void use(GpStore *store, const GpDigest *image, const GpDigest *layer)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) layers = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    g_array_append_vals(layers, layer, 1);
    g_assert_true(gp_store_use_image(store, image, layers, &error) || error);
    g_assert_no_error(error);
}

static void test_used_layer_stays(Fixture *f, gconstpointer data)
{
    GpDigest used = put_layer(f->store, "used"), unused = put_layer(f->store, "unused"), image = digest_of("image");
    g_autoptr(GpStore) other = open_store(f, GP_STORE_REMOVE);
    use(f->store, &image, &used);
    g_assert_cmpuint(prune_ok(other, NULL).layers, ==, 1);
    g_assert_true(gp_store_has_layer(other, &used));
    g_assert_false(gp_store_has_layer(other, &unused));
    /* Our own use counts too: a pull makes room for itself. */
    g_assert_cmpuint(prune_ok(f->store, NULL).layers, ==, 0);
    close_store(f);
    g_assert_cmpuint(prune_ok(other, NULL).layers, ==, 1);
    g_clear_pointer(&other, gp_store_free);
    assert_clean(f);
}

/* The image is in use for a while; rm waits and then does its work. */
static void test_removal_waits(Fixture *f, gconstpointer data)
{
    GpDigest layer = put_layer(f->store, "layer"), image = put_image(f->store, "example.com/a:1", &layer, 1);
    close_store(f);
    int ready, say;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpStore *store = open_store(f, GP_STORE_READ);
        use(store, &image, &layer);
        say_ready(say);
        g_usleep(400000);
        _exit(0);
    }
    wait_ready(&ready);
    g_autoptr(GpStore) store = open_store(f, GP_STORE_REMOVE);
    g_autoptr(GError) error = NULL;
    GpPruned pruned;
    gint64 start = g_get_monotonic_time();
    g_assert_true(gp_store_remove_image(store, &image, NULL, &pruned, &error));
    g_assert_no_error(error);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 300000);
    g_assert_cmpuint(pruned.layers, ==, 1);
    reap_child(child);
}

static gboolean stop_at_once(GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED, "enough");
    return TRUE;
}

static void test_waiting_ends(Fixture *f, gconstpointer data)
{
    GpDigest layer = put_layer(f->store, "layer"), image = put_image(f->store, "example.com/a:1", &layer, 1);
    use(f->store, &image, &layer);
    g_autoptr(GpStore) store = open_store(f, GP_STORE_REMOVE);
    gp_store_set_cancelled(store, stop_at_once);
    g_autoptr(GError) error = NULL;
    GpPruned pruned;
    g_assert_false(gp_store_remove_image(store, &image, NULL, &pruned, &error));
    assert_refused(error, GP_ERROR_CANCELLED, "enough");
    g_assert_true(gp_store_has_ref(store, "image", &image));
}

/* Whoever wants a layer that is just going waits until it is gone, and then finds that out. */
static void test_claim_keeps_users_out(Fixture *f, gconstpointer data)
{
    GpDigest layer = put_layer(f->store, "layer");
    g_autoptr(GpStore) other = open_store(f, GP_STORE_REMOVE);
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_store_claim(other, "layer", &layer, FALSE, NULL));
    gp_store_set_cancelled(f->store, stop_at_once);
    g_assert_false(gp_store_use(f->store, "layer", &layer, &error));
    assert_refused(error, GP_ERROR_CANCELLED, "enough");
    g_clear_error(&error);
    /* The image of the same digest is another matter. */
    g_assert_true(gp_store_use(f->store, "image", &layer, &error));
    gp_store_disclaim(other, "layer", &layer);
    g_assert_true(gp_store_use(f->store, "layer", &layer, &error));
    g_assert_false(gp_store_claim(other, "layer", &layer, FALSE, NULL));
    gp_store_unuse(f->store, "layer", &layer);
    g_assert_true(gp_store_claim(other, "layer", &layer, FALSE, NULL));
    g_assert_no_error(error);
}

/* Objects of a layer in the making have no ref: they may go, and come back with its commit. */
static void test_objects_come_back(Fixture *f, gconstpointer data)
{
    g_autoptr(GpStore) other = open_store(f, GP_STORE_REMOVE);
    GpDigest blob = digest_of("blob"), diff_id;
    g_autoptr(GByteArray) frames = rich_frames();
    g_autoptr(GBytes) bytes = g_bytes_new(frames->data, frames->len);
    g_autoptr(GpStaging) staging = begin(f->store, &blob);
    g_autoptr(GError) error = NULL;
    GP_AUTOFD int fd = memory_fd(bytes);
    GpLayerTarget target = generous;
    target.root_fd = gp_staging_root_fd(staging);
    target.objects_fd = gp_store_objects_fd(f->store);
    GpLayerTree *tree = gp_layer_write(fd, &target, NULL, &diff_id, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(count_objects(f), >, 0);
    prune_ok(other, NULL);
    g_assert_cmpuint(count_objects(f), ==, 0);
    gp_staging_complete(staging, tree, &diff_id, 4711);
    guint complete = count_objects(f);
    g_assert_cmpuint(complete, >, 0);
    prune_ok(other, NULL);
    g_assert_cmpuint(count_objects(f), ==, complete);
    commit_ok(f->store, staging, NULL);
    put_image(f->store, "example.com/a:1", &blob, 1);
    prune_ok(other, NULL);
    g_clear_pointer(&other, gp_store_free);
    g_clear_pointer(&staging, gp_staging_free);
    close_store(f);
    assert_clean(f);
    shell(f->path, "test -z \"$(ls repo/refs/heads/making)\"");
}

/* Killed while it removed objects: whoever had begun before, or begins now, looks for all of its own. */
static void test_half_removal(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("blob");
    const guint64 odd = 7;
    GP_AUTOFD int lock = gp_store_lock_objects(f->store, LOCK_EX, NULL);
    g_assert_cmpint(pwrite(lock, &odd, sizeof odd, 0), ==, sizeof odd);
    gp_close_fd(&lock);
    g_autoptr(GpStaging) staging = begin(f->store, &blob);
    g_autoptr(GByteArray) frames = rich_frames();
    g_autoptr(GError) error = NULL;
    fill_staging(f->store, staging, frames, &error);
    g_assert_no_error(error);
    commit_ok(f->store, staging, NULL);
    put_image(f->store, "example.com/a:1", &blob, 1);
    prune_ok(f->store, NULL);
    g_assert_cmpuint(gp_store_generation(f->store), ==, 8);
    assert_clean(f);
}

/* What a dead process had finished, but not committed, goes with its ref. */
static void test_dead_making(Fixture *f, gconstpointer data)
{
    int ready, say;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpDigest blob = digest_of("blob");
        GpStore *store = open_store(f, GP_STORE_WRITE);
        (void) stage(store, &blob, rich_frames());
        say_ready(say);
        pause();
    }
    wait_ready(&ready);
    prune_ok(f->store, NULL);
    g_assert_cmpuint(count_objects(f), >, 0);
    kill_child(child);
    prune_ok(f->store, NULL);
    g_assert_cmpuint(count_objects(f), ==, 0);
    shell(f->path, "test -z \"$(ls repo/refs/heads/making)\" && test -z \"$(ls staging)\"");
}

/* ---- which images go */

static GpDigest put_dated(GpStore *store, const char *name, gint64 age)
{
    GpDigest layer = put_layer(store, name);
    g_autoptr(GpStoredImage) image = image_new(name, &layer, 1, g_get_real_time() / G_USEC_PER_SEC - age);
    commit_ok(store, NULL, image);
    return image->manifest_digest;
}

static void test_by_age(Fixture *f, gconstpointer data)
{
    GpDigest old = put_dated(f->store, "old", 1000), exact = put_dated(f->store, "exact", 500),
             young = put_dated(f->store, "young", 100), future = put_dated(f->store, "future", -5000);
    const GpPruneOptions options = {.by_age = TRUE, .older_than = 500};
    GpPruned pruned = prune_ok(f->store, &options);
    g_assert_cmpuint(pruned.images, ==, 2);
    g_assert_cmpuint(pruned.layers, ==, 2);
    g_assert_cmpuint(pruned.bytes, ==, strlen("old") + strlen("exact"));
    g_assert_false(gp_store_has_ref(f->store, "image", &old));
    g_assert_false(gp_store_has_ref(f->store, "image", &exact));
    g_assert_true(gp_store_has_ref(f->store, "image", &young));
    g_assert_true(gp_store_has_ref(f->store, "image", &future));
    close_store(f);
    assert_clean(f);
}

/* On a filesystem of its own: the machine's disk is others' too. */
static void test_by_room(Fixture *f, gconstpointer data)
{
    g_autofree char *big = g_strnfill(200000, 'x'), *bigger = g_strnfill(240000, 'y');
    close_store(f);
    shell(f->directory, "mkdir small && mount -t tmpfs -o size=8m none small");
    g_free(f->path);
    f->path = g_build_filename(f->directory, "small", "store", NULL);
    f->store = open_store(f, GP_STORE_WRITE);
    GpDigest oldest = put_dated(f->store, big, 1000), newer = put_dated(f->store, bigger, 500),
             newest = put_dated(f->store, "newest", 100), bigger_layer = digest_of(bigger);
    prune_ok(f->store, NULL); /* its own lock file takes a page */
    GpPruneOptions options = {.free_bytes = gp_store_free_bytes(f->store)};
    g_assert_cmpuint(prune_ok(f->store, &options).images, ==, 0);
    options.free_bytes += 150000;
    GpPruned pruned = prune_ok(f->store, &options);
    g_assert_cmpuint(pruned.images, ==, 1);
    g_assert_cmpuint(pruned.bytes, ==, 200000);
    g_assert_cmpuint(gp_store_free_bytes(f->store), >=, options.free_bytes);
    g_assert_false(gp_store_has_ref(f->store, "image", &oldest));
    /* More than there is: all goes but what is in use. */
    options.free_bytes = G_MAXUINT64;
    use(f->store, &newer, &bigger_layer);
    g_assert_cmpuint(prune_ok(f->store, &options).images, ==, 1);
    g_assert_true(gp_store_has_ref(f->store, "image", &newer));
    g_assert_false(gp_store_has_ref(f->store, "image", &newest));
    close_store(f);
    assert_clean(f);
}

#define TEST(name, function) g_test_add("/storage/store-use/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!need_root_for_all())
        return 0;
    TEST("used-layer-stays", test_used_layer_stays);
    TEST("removal-waits-for-users", test_removal_waits);
    TEST("waiting-can-be-cancelled", test_waiting_ends);
    TEST("claim-keeps-users-out", test_claim_keeps_users_out);
    TEST("objects-of-a-layer-in-the-making-come-back", test_objects_come_back);
    TEST("half-a-removal-is-noticed", test_half_removal);
    TEST("dead-layer-in-the-making-goes", test_dead_making);
    TEST("images-go-by-age", test_by_age);
    TEST("images-go-for-room", test_by_room);
    return g_test_run();
}
