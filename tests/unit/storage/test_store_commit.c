#include <sys/mount.h>

#include "storage/store_internal.h"
#include "tests/unit/storage/store_fixture.h"

static const char end_diff_id[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void test_rich_layer(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    GpDigest blob = digest_of("rich"), expected, diff_id;
    g_assert_false(gp_store_has_layer(f->store, &blob));
    g_assert_cmpint(gp_store_open_layer_root(f->store, &blob, &error), ==, -1);
    assert_refused(error, GP_ERROR_NOT_FOUND, "No such file");
    g_clear_error(&error);
    g_assert_false(gp_store_layer_diff_id(f->store, &blob, &diff_id, &error));
    assert_refused(error, GP_ERROR_NOT_FOUND, "store: layer/sha256/");
    g_clear_error(&error);

    put_layer(f->store, NULL);
    g_assert_true(gp_store_has_layer(f->store, &blob));
    g_assert_true(gp_store_layer_diff_id(f->store, &blob, &diff_id, &error));
    g_assert_true(gp_digest_parse(end_diff_id, &expected, NULL));
    g_assert_true(gp_digest_equal(&diff_id, &expected));
    g_assert_cmpuint(count_names(f, "staging"), ==, 0);

    GP_AUTOFD int root = gp_store_open_layer_root(f->store, &blob, &error);
    g_assert_no_error(error);
    struct stat su, also, at;
    g_assert_cmpint(fstatat(root, "bin/su", &su, AT_SYMLINK_NOFOLLOW), ==, 0);
    g_assert_cmpint(fstatat(root, "bin/also-su", &also, AT_SYMLINK_NOFOLLOW), ==, 0);
    g_assert_cmpuint(su.st_ino, ==, also.st_ino);
    g_assert_cmpuint(su.st_mode, ==, S_IFREG | 04755);
    g_assert_cmpint(su.st_mtim.tv_nsec, ==, 123456789);
    g_assert_cmpint(fstatat(root, "", &at, AT_EMPTY_PATH), ==, 0);
    g_assert_cmpuint(at.st_mode, ==, S_IFDIR | 0751);
    assert_clean(f);
}

/* Objects behind names that libostree does not take are in the commit all the same, so no prune takes them. */
static void test_every_object_is_reachable(Fixture *f, gconstpointer data)
{
    put_layer(f->store, NULL);
    guint before = count_objects(f);
    close_store(f);
    shell(f->path, "ostree prune --refs-only --repo=repo >/dev/null");
    g_assert_cmpuint(count_objects(f), ==, before);
    g_autofree char *side =
        shell_output(f->path, "ostree ls -R --repo=repo $(ostree refs --repo=repo) /objects | wc -l");
    g_assert_cmpstr(side, ==, "3\n");
    assert_clean(f);
}

static void assert_paths(GPtrArray *paths, const char *expected)
{
    g_ptr_array_sort(paths, compare_names);
    g_ptr_array_add(paths, NULL);
    g_autofree char *all = g_strjoinv(" ", (char **) paths->pdata);
    g_assert_cmpstr(all, ==, expected);
}

static void test_directories(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) implied = NULL;
    g_autoptr(GPtrArray) whiteouts = NULL;
    GpDigest blob = put_layer(f->store, NULL);
    gp_store_layer_directories(f->store, &blob, &implied, &whiteouts, &error);
    g_assert_no_error(error);
    assert_paths(implied, "etc implied implied/only opt");
    assert_paths(whiteouts, "etc");
}

static void test_facts(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    GpDigest used = put_layer(f->store, "1234567890"), unused = put_layer(f->store, "123");
    const GpDigest twice[] = {used, used};
    put_image(f->store, "example.com/a:1", twice, 2);
    put_image(f->store, "example.com/b:1", &used, 1);
    g_autoptr(GPtrArray) layers = gp_store_layers(f->store, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(layers->len, ==, 2);
    for (guint i = 0; i < 2; i++) {
        const GpStoredLayer *layer = layers->pdata[i];
        gboolean is_used = gp_digest_equal(&layer->blob, &used);
        g_assert_true(is_used || gp_digest_equal(&layer->blob, &unused));
        g_assert_cmpuint(layer->images, ==, is_used ? 2 : 0);
        g_assert_cmpuint(layer->bytes, ==, is_used ? 10 : 3);
        g_assert_cmpuint(layer->blob_size, ==, 4711);
        g_assert_cmpuint(layer->entries, ==, 1);
    }
}

/* Paths libostree would take for something else: blobs may be named by sha512. */
static void test_sha512(Fixture *f, gconstpointer data)
{
    GpDigest blob;
    g_autoptr(GError) error = NULL;
    gp_digest_of(GP_DIGEST_SHA512, "x", 1, &blob);
    g_autoptr(GpStaging) staging = stage(f->store, &blob, simple_frames("x"));
    commit_ok(f->store, staging, NULL);
    g_assert_true(gp_store_has_layer(f->store, &blob));
    put_image(f->store, "example.com/a:1", &blob, 1);
    g_autoptr(GPtrArray) images = gp_store_images(f->store, &error);
    g_assert_no_error(error);
    g_assert_true(gp_digest_equal(&g_array_index(((GpStoredImage *) images->pdata[0])->layers, GpDigest, 0), &blob));
    assert_clean(f);
}

static void test_images(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    GpDigest a = digest_of("a"), b = digest_of("b");
    const GpDigest layers[] = {a, b, a};
    g_autoptr(GPtrArray) stagings = g_ptr_array_new_with_free_func((GDestroyNotify) gp_staging_free);
    g_ptr_array_add(stagings, stage(f->store, &a, simple_frames("a")));
    g_ptr_array_add(stagings, stage(f->store, &b, simple_frames("b")));
    g_autoptr(GpStoredImage) first = image_new("example.com/first:1", layers, 3, 100);
    g_autoptr(GpStoredImage) second = image_new("example.com/second:1", NULL, 0, 200);
    g_assert_true(gp_store_commit(f->store, stagings, first, &error));
    g_assert_no_error(error);
    commit_ok(f->store, NULL, second);

    g_autoptr(GPtrArray) images = gp_store_images(f->store, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(images->len, ==, 2);
    const GpStoredImage *newest = images->pdata[0], *oldest = images->pdata[1];
    g_assert_cmpstr(newest->reference, ==, "example.com/second:1");
    g_assert_cmpuint(newest->layers->len, ==, 0);
    g_assert_cmpstr(oldest->reference, ==, "example.com/first:1");
    g_assert_cmpint(oldest->pulled, ==, 100);
    g_assert_true(gp_digest_equal(&oldest->manifest_digest, &first->manifest_digest));
    g_assert_true(g_bytes_equal(oldest->manifest, first->manifest));
    g_assert_true(g_bytes_equal(oldest->config, first->config));
    g_assert_cmpuint(oldest->layers->len, ==, 3);
    for (guint i = 0; i < 3; i++)
        g_assert_true(gp_digest_equal(&g_array_index(oldest->layers, GpDigest, i), &layers[i]));

    /* Pulled again, by another name. */
    g_free(first->reference);
    first->reference = g_strdup("example.com/other:2");
    first->pulled = 300;
    commit_ok(f->store, NULL, first);
    g_autoptr(GPtrArray) again = gp_store_images(f->store, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(again->len, ==, 2);
    g_assert_cmpstr(((GpStoredImage *) again->pdata[0])->reference, ==, "example.com/other:2");
    assert_clean(f);
}

/* ---- failure leaves nothing */

static void assert_empty(const Fixture *f)
{
    g_assert_cmpuint(count_names(f, "layers"), ==, 0);
    g_assert_cmpuint(count_names(f, "staging"), ==, 0);
    g_autofree char *refs = shell_output(f->path, "find repo/refs/heads -type f");
    g_assert_cmpstr(refs, ==, "");
}

static void test_incomplete(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("blob"), other = digest_of("other");
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) stagings = g_ptr_array_new_with_free_func((GDestroyNotify) gp_staging_free);
    g_ptr_array_add(stagings, stage(f->store, &blob, rich_frames()));
    g_ptr_array_add(stagings, begin(f->store, &other));
    g_assert_false(gp_store_commit(f->store, stagings, NULL, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "not complete");
    g_ptr_array_set_size(stagings, 0);
    assert_empty(f);
    close_store(f);
    g_assert_cmpuint(count_objects(f), ==, 0);
}

static void test_image_without_its_layer(Fixture *f, gconstpointer data)
{
    GpDigest layers[] = {digest_of("here"), digest_of("not here")};
    g_autoptr(GError) error = NULL;
    g_autoptr(GpStoredImage) image = image_new("example.com/a:1", layers, 2, 1);
    g_autoptr(GpStaging) staging = stage(f->store, &layers[0], simple_frames("x"));
    g_assert_false(commit(f->store, staging, image, &error));
    g_autofree char *missing = gp_digest_to_string(&layers[1]);
    assert_refused(error, GP_ERROR_INTERNAL, missing);
    /* The staging is as before: it can still be committed. */
    g_assert_cmpuint(count_names(f, "layers"), ==, 0);
    g_assert_cmpuint(count_names(f, "staging"), ==, 1);
    commit_ok(f->store, staging, NULL);
    g_clear_pointer(&staging, gp_staging_free);
    assert_clean(f);
}

static void test_ref_cannot_be_written(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("blob");
    g_autoptr(GError) error = NULL;
    g_autoptr(GpStaging) staging = stage(f->store, &blob, rich_frames());
    shell(f->path, "echo in the way > repo/refs/heads/layer");
    g_assert_false(commit(f->store, staging, NULL, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "commit: ");
    g_clear_pointer(&staging, gp_staging_free);
    shell(f->path, "rm repo/refs/heads/layer");
    assert_empty(f);
    g_assert_false(gp_store_has_layer(f->store, &blob));
    /* The store still works. */
    put_layer(f->store, NULL);
    assert_clean(f);
}

/* A store on a filesystem of @size bytes; NULL if we may not mount. */
static char *small_filesystem(Fixture *f, const char *size)
{
    g_autofree char *path = g_build_filename(f->directory, "small", NULL);
    g_autofree char *options = g_strconcat("mode=0700,size=", size, NULL);
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    if (mount("tmpfs", path, "tmpfs", 0, options) < 0) {
        g_test_skip("cannot mount a tmpfs");
        return NULL;
    }
    return g_steal_pointer(&path);
}

static void test_full_disk(Fixture *f, gconstpointer data)
{
    g_autofree char *path = small_filesystem(f, "2m");
    g_autoptr(GError) error = NULL;
    GpDigest blob = digest_of("blob");
    if (!path)
        return;
    g_autoptr(GpStore) store = gp_store_open(path, GP_STORE_WRITE, TRUE, &error);
    g_assert_no_error(error);
    g_autoptr(GpStaging) staging = stage(store, &blob, simple_frames("x"));
    g_autoptr(GpStoredImage) image = image_new("example.com/a:1", &blob, 1, 1);
    shell(path, "head -c 4000000 /dev/zero > filler || true");
    g_assert_false(commit(store, staging, image, &error));
    assert_refused(error, GP_ERROR_SPACE, "No space left on device");
    g_clear_error(&error);
    g_assert_false(gp_store_has_layer(store, &blob));
    g_clear_pointer(&staging, gp_staging_free);
    shell(path, "rm filler && test -z \"$(ls layers staging | grep -v :)\"");

    /* Full already when the layer is completed, whose empty file needs no space. */
    shell(path, "head -c 4000000 /dev/zero > filler || true");
    staging = stage(store, &blob, simple_frames(""));
    g_assert_false(commit(store, staging, NULL, &error));
    assert_refused(error, GP_ERROR_SPACE, "No space left on device");
    g_clear_error(&error);
    g_clear_pointer(&staging, gp_staging_free);
    shell(path, "rm filler && test -z \"$(ls layers staging | grep -v :)\"");

    staging = stage(store, &blob, simple_frames("x"));
    commit_ok(store, staging, NULL);
    g_assert_true(gp_store_has_layer(store, &blob));
    g_clear_pointer(&staging, gp_staging_free);
    g_clear_pointer(&store, gp_store_free);
    g_assert_cmpint(umount(path), ==, 0);
}

/* ---- several at once */

typedef struct {
    Fixture *f;
    GpDigest blob;
    gint unpacked, reused; /* atomic */
} Race;

static gpointer race_thread(gpointer data)
{
    Race *race = data;
    g_autoptr(GError) error = NULL;
    gboolean already;
    g_autoptr(GpStaging) staging = gp_store_begin_layer(race->f->store, &race->blob, &already, &error);
    g_assert_no_error(error);
    g_assert_true(already == !staging);
    if (staging) {
        g_autoptr(GByteArray) frames = rich_frames();
        fill_staging(race->f->store, staging, frames, &error);
        g_assert_no_error(error);
        commit_ok(race->f->store, staging, NULL);
    }
    g_atomic_int_inc(staging ? &race->unpacked : &race->reused);
    return NULL;
}

static void test_threads(Fixture *f, gconstpointer data)
{
    Race race = {.f = f, .blob = digest_of("blob")};
    GThread *threads[8];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("race", race_thread, &race);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(race.unpacked, ==, 1);
    g_assert_cmpint(race.reused, ==, 7);
    assert_clean(f);
}

static gpointer other_blob_thread(gpointer data)
{
    Race *race = data;
    g_autofree char *text = g_strdup_printf("blob %d", g_atomic_int_add(&race->unpacked, 1));
    put_layer(race->f->store, text);
    return NULL;
}

static void test_threads_on_different_blobs(Fixture *f, gconstpointer data)
{
    Race race = {.f = f};
    GThread *threads[8];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("race", other_blob_thread, &race);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpuint(count_names(f, "layers"), ==, 8);
    assert_clean(f);
}

static void test_two_processes(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("rich");
    int ready, say;
    gboolean already = FALSE;
    g_autoptr(GError) error = NULL;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpStore *store = open_store(f, GP_STORE_WRITE);
        GpStaging *staging = stage(store, &blob, rich_frames());
        say_ready(say);
        g_usleep(300000);
        commit_ok(store, staging, NULL);
        gp_staging_free(staging);
        gp_store_free(store);
        _exit(0);
    }
    wait_ready(&ready);
    g_assert_null(gp_store_begin_layer(f->store, &blob, &already, &error));
    g_assert_no_error(error);
    g_assert_true(already);
    reap_child(child);
    assert_clean(f);
}

static void test_other_process_dies(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("rich");
    int ready, say;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpStore *store = open_store(f, GP_STORE_WRITE);
        (void) stage(store, &blob, rich_frames());
        say_ready(say);
        g_usleep(300000);
        _exit(0);
    }
    wait_ready(&ready);
    put_layer(f->store, NULL);
    reap_child(child);
    g_autoptr(GpStore) sweeper = open_store(f, GP_STORE_WRITE);
    g_assert_cmpuint(count_names(f, "staging"), ==, 0);
    assert_clean(f);
}

/* Adds a completed staging of @text to @stagings, unless another process has committed it. */
static void stage_or_reuse(GpStore *store, const char *text, GPtrArray *stagings)
{
    GpDigest blob = digest_of(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) frames = simple_frames(text);
    gboolean already;
    GpStaging *staging = gp_store_begin_layer(store, &blob, &already, &error);
    g_assert_no_error(error);
    if (already)
        return;
    fill_staging(store, staging, frames, &error);
    g_assert_no_error(error);
    g_ptr_array_add(stagings, staging);
}

/* An image of two layers, begun with @first; @say, if any, in between. */
static void pull_both(GpStore *store, const char *first, const char *second, int ready, int say)
{
    g_autoptr(GPtrArray) stagings = g_ptr_array_new_with_free_func((GDestroyNotify) gp_staging_free);
    g_autoptr(GError) error = NULL;
    const GpDigest layers[] = {digest_of(first), digest_of(second)};
    g_autoptr(GpStoredImage) image = image_new("example.com/a:1", layers, 2, 1);
    stage_or_reuse(store, first, stagings);
    g_assert_cmpuint(stagings->len, ==, 1);
    if (say >= 0)
        say_ready(say);
    else
        wait_ready(&ready);
    stage_or_reuse(store, second, stagings);
    g_assert_true(gp_store_commit(store, stagings, image, &error) || error);
    g_assert_no_error(error);
}

/* Each holds a completed layer that the other waits for. */
static void test_circle(Fixture *f, gconstpointer data)
{
    int ready, say;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpStore *store = open_store(f, GP_STORE_WRITE);
        pull_both(store, "one", "zero", -1, say);
        gp_store_free(store);
        _exit(0);
    }
    gint64 start = g_get_monotonic_time();
    pull_both(f->store, "zero", "one", ready, -1);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 10 * G_USEC_PER_SEC);
    reap_child(child);
    g_assert_cmpuint(count_names(f, "layers"), ==, 2);
    g_assert_cmpuint(count_names(f, "staging"), ==, 0);
    assert_clean(f);
}

static ino_t root_inode(GpStore *store, const GpDigest *blob)
{
    struct stat st;
    GP_AUTOFD int root = gp_store_open_layer_root(store, blob, NULL);
    g_assert_cmpint(fstat(root, &st), ==, 0);
    return st.st_ino;
}

/* A committed layer may be mounted already: the directory of a second one, whose process waited too long for the first,
 * must not take its place. */
static void test_first_commit_wins(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("text");
    g_autoptr(GpStore) other = open_store(f, GP_STORE_WRITE);
    g_autoptr(GpStaging) first = stage(other, &blob, simple_frames("text"));
    gp_close_fd(&first->blob_lock_fd);
    g_autoptr(GpStaging) second = stage(f->store, &blob, simple_frames("text"));
    commit_ok(other, first, NULL);
    ino_t inode = root_inode(other, &blob);
    commit_ok(f->store, second, NULL);
    g_assert_cmpuint(root_inode(f->store, &blob), ==, inode);
    g_clear_pointer(&second, gp_staging_free);
    g_clear_pointer(&first, gp_staging_free);
    g_assert_cmpuint(count_names(f, "staging"), ==, 0);
    g_clear_pointer(&other, gp_store_free);
    assert_clean(f);
}

static gboolean cancel(GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED, "enough");
    return TRUE;
}

/* A deadline also ends the waiting for another process. */
static void test_cancelled(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("text");
    g_autoptr(GpStore) other = open_store(f, GP_STORE_WRITE);
    g_autoptr(GpStaging) first = begin(other, &blob);
    g_autoptr(GError) error = NULL;
    gboolean already = TRUE;
    gp_store_set_cancelled(f->store, cancel);
    g_assert_null(gp_store_begin_layer(f->store, &blob, &already, &error));
    g_assert_false(already);
    assert_refused(error, GP_ERROR_CANCELLED, "enough");
}

/* Who has finished a layer that another one waits for commits it before its own image. */
static void test_finished_layer_is_given(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("wanted"), mine = digest_of("mine");
    int ready, say;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpStore *store = open_store(f, GP_STORE_WRITE);
        GpStaging *staging = begin(store, &blob);
        say_ready(say);
        g_usleep(300000);
        g_autoptr(GByteArray) frames = simple_frames("wanted");
        fill_staging(store, staging, frames, NULL);
        pause();
    }
    wait_ready(&ready);
    g_autoptr(GError) error = NULL;
    gboolean already = FALSE;
    g_autoptr(GpStaging) held = stage(f->store, &mine, simple_frames("mine"));
    g_assert_null(gp_store_begin_layer(f->store, &blob, &already, &error));
    g_assert_no_error(error);
    g_assert_true(already);
    g_assert_false(gp_store_has_layer(f->store, &mine));
    kill_child(child);
    g_clear_pointer(&held, gp_staging_free);
    assert_clean(f);
}

/* Killed at any moment: the next one finds a store that is whole, and can do the same again. */
static void test_killed_anywhere(Fixture *f, gconstpointer data)
{
    close_store(f);
    for (guint i = 0; i < 25; i++) {
        int ready, say;
        g_autofree char *text = g_strdup_printf("layer %u", i);
        GpDigest blob = digest_of(text);
        pid_t child = fork_child(&ready, &say);
        if (child == 0) {
            GpStore *store = open_store(f, GP_STORE_WRITE);
            say_ready(say);
            put_layer(store, NULL);
            GpDigest rich = digest_of("rich");
            (void) put_image(store, "example.com/a:1", &rich, 1);
            g_autoptr(GpStaging) staging = stage(store, &blob, rich_frames());
            commit_ok(store, staging, NULL);
            pause();
        }
        wait_ready(&ready);
        g_usleep(i * 1500);
        kill_child(child);
        gp_store_free(open_store(f, GP_STORE_REMOVE));
        g_assert_cmpuint(count_names(f, "staging"), ==, 0);
        g_autoptr(GpStore) store = open_store(f, GP_STORE_READ);
        g_autofree char *lines = findings(store);
        g_assert_cmpstr(lines, ==, "");
        g_clear_pointer(&store, gp_store_free);
        store = open_store(f, GP_STORE_WRITE);
        GpDigest rich = digest_of("rich");
        if (!gp_store_has_layer(store, &rich))
            put_layer(store, NULL);
        g_clear_pointer(&store, gp_store_free);
        shell(f->path, "rm -r layers repo && mkdir layers");
    }
}

#define TEST(name, function) g_test_add("/storage/store-commit/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!need_root_for_all())
        return 0;
    TEST("rich-layer-is-in-place-and-clean", test_rich_layer);
    TEST("no-object-can-be-pruned", test_every_object_is_reachable);
    TEST("implied-directories-and-those-with-whiteouts-are-listed", test_directories);
    TEST("layers-are-listed-with-their-facts", test_facts);
    TEST("blobs-named-by-sha512", test_sha512);
    TEST("images-keep-bytes-order-and-repeats", test_images);
    TEST("incomplete-layer-is-refused-and-all-taken-back", test_incomplete);
    TEST("image-without-its-layer-is-refused", test_image_without_its_layer);
    TEST("failed-transaction-leaves-nothing", test_ref_cannot_be_written);
    TEST("full-disk-is-space-and-leaves-nothing", test_full_disk);
    TEST("threads-unpack-a-blob-once", test_threads);
    TEST("threads-unpack-different-blobs", test_threads_on_different_blobs);
    TEST("second-process-waits-and-reuses", test_two_processes);
    TEST("second-process-takes-over-from-a-dead-one", test_other_process_dies);
    TEST("two-that-wait-for-each-other-both-finish", test_circle);
    TEST("first-commit-of-a-blob-wins", test_first_commit_wins);
    TEST("cancelling-ends-the-wait", test_cancelled);
    TEST("finished-layer-is-given-to-who-waits", test_finished_layer_is_given);
    TEST("killed-at-any-moment-the-store-is-whole", test_killed_anywhere);
    return g_test_run();
}
