#include "storage/encrypted.h"
#include "storage/store_internal.h"
#include "tests/unit/storage/store_fixture.h"

static void assert_open_fails(const char *path, GpStoreMode mode, gboolean allow, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpStore) store = gp_store_open(path, mode, allow, &error);
    g_assert_null(store);
    assert_refused(error, code, reason);
}

static void test_absent(Fixture *f, gconstpointer data)
{
    g_autofree char *absent = g_build_filename(f->directory, "absent", NULL);
    assert_open_fails(absent, GP_STORE_READ, TRUE, GP_ERROR_NOT_FOUND, "nothing was pulled into it");
    assert_open_fails(absent, GP_STORE_REMOVE, TRUE, GP_ERROR_NOT_FOUND, "nothing was pulled into it");
    g_assert_cmpint(g_access(absent, F_OK), !=, 0);
    g_assert_cmpint(g_mkdir(absent, 0700), ==, 0);
    assert_open_fails(absent, GP_STORE_READ, TRUE, GP_ERROR_NOT_FOUND, "nothing was pulled into it");
    assert_open_fails("/dev/null", GP_STORE_READ, TRUE, GP_ERROR_INTERNAL, "store /dev/null");
}

static void test_plain_disk(Fixture *f, gconstpointer data)
{
    g_autofree char *plain = g_build_filename(f->directory, "plain", NULL);
    assert_open_fails(plain, GP_STORE_WRITE, FALSE, GP_ERROR_UNSUPPORTED, "--allow-unencrypted-store");
    g_assert_cmpuint(rmdir(plain), ==, 0);
    /* Looking is no danger. */
    g_autoptr(GError) error = NULL;
    g_autoptr(GpStore) store = gp_store_open(f->path, GP_STORE_READ, FALSE, &error);
    g_assert_no_error(error);
}

static void test_private(Fixture *f, gconstpointer data)
{
    g_autofree char *modes = shell_output(f->path, "stat -c %%a . repo layers staging locks lock");
    g_assert_cmpstr(modes, ==, "700\n700\n700\n700\n700\n600\n");
    g_assert_cmpuint(count_names(f, "staging"), ==, 0);
    g_autofree char *config = shell_output(f->path, "grep -c ^mode=bare$ repo/config; grep ^min-free repo/config");
    g_assert_cmpstr(config, ==, "1\nmin-free-space-percent=0\n");
}

static void test_others_may_write(Fixture *f, gconstpointer data)
{
    close_store(f);
    shell(f->path, "chmod 0770 .");
    assert_open_fails(f->path, GP_STORE_WRITE, TRUE, GP_ERROR_INVALID, "with mode 0770, so others could change it");
    shell(f->path, "chmod 0700 . && chown 12345 .");
    assert_open_fails(f->path, GP_STORE_WRITE, TRUE, GP_ERROR_INVALID, "belongs to user 12345");
}

/* Somebody was killed while making the repository. */
static void test_half_repository(Fixture *f, gconstpointer data)
{
    close_store(f);
    shell(f->path, "rm -r repo && mkdir -p repo.new/objects/ab repo.new/refs && echo half > repo.new/config");
    g_autoptr(GpStore) store = open_store(f, GP_STORE_WRITE);
    shell(f->path, "test ! -e repo.new && test -d repo/refs/heads && test ! -e repo/objects/ab");
    put_layer(store, "a layer");
}

static void test_damaged_repository(Fixture *f, gconstpointer data)
{
    close_store(f);
    shell(f->path, "rm repo/config");
    assert_open_fails(f->path, GP_STORE_WRITE, TRUE, GP_ERROR_NOT_FOUND, f->path);
    shell(f->path, "echo '[core]' > repo/config");
    assert_open_fails(f->path, GP_STORE_READ, TRUE, GP_ERROR_INTERNAL, f->path);
}

/* Makes @bytes, under their own name, the commit of an image's ref, and loads the image. */
static GpStoredImage *load_commit(Fixture *f, GVariant *commit, GError **error)
{
    g_autoptr(GVariant) owned = g_variant_ref_sink(commit);
    g_autoptr(GBytes) bytes = g_variant_get_data_as_bytes(owned);
    g_autofree char *sum = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, bytes);
    GpDigest manifest = digest_of("manifest");
    g_autofree char *ref = gp_store_ref("image", &manifest);
    g_autofree char *object = g_strdup_printf("%s/repo/objects/%.2s/%s.commit", f->path, sum, sum + 2);
    g_autofree char *line = g_strconcat(sum, "\n", NULL);
    g_autofree char *head = g_strdup_printf("%s/repo/refs/heads/%s", f->path, ref);
    shell(f->path, "mkdir -p repo/objects/%.2s $(dirname repo/refs/heads/%s)", sum, ref);
    g_assert_true(g_file_set_contents(object, g_bytes_get_data(bytes, NULL), (gssize) g_bytes_get_size(bytes), NULL));
    g_assert_true(g_file_set_contents(head, line, -1, NULL));
    return gp_store_load_image(f->store, &manifest, error);
}

/* An image's commit whose tree is called @tree, of @size bytes. */
static GVariant *make_commit(const guint8 *tree, gsize size)
{
    const char *const layers[] = {NULL};
    GVariantBuilder metadata;
    g_variant_builder_init(&metadata, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&metadata, "{sv}", GP_META_REFERENCE, g_variant_new_string("example.com/a:1"));
    g_variant_builder_add(&metadata, "{sv}", GP_META_LAYERS, g_variant_new_strv(layers, -1));
    GVariant *sum = g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, tree, size, 1);
    return g_variant_new("(a{sv}@aya(say)sst@ay@ay)", &metadata, g_variant_new_array(G_VARIANT_TYPE_BYTE, NULL, 0),
        NULL, "", "", (guint64) 0, sum, g_variant_new_array(G_VARIANT_TYPE_BYTE, NULL, 0));
}

/* Commits that bear their right names, as somebody could write them who has the disk. */
static void test_made_up_commits(Fixture *f, gconstpointer data)
{
    static const guint8 zeros[32];
    static const struct {
        gsize size;
        GpErrorCode code;
        const char *reason;
    } cases[] = {{31, GP_ERROR_INTERNAL, "a checksum that is none"}, {0, GP_ERROR_INTERNAL, "a checksum that is none"},
        {32, GP_ERROR_NOT_FOUND, "dirtree"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(load_commit(f, make_commit(zeros, cases[i].size), &error));
        assert_refused(error, cases[i].code, cases[i].reason);
    }
    g_autoptr(GError) error = NULL;
    g_assert_null(load_commit(f, g_variant_new("(ss)", "no", "commit"), &error));
    assert_refused(error, GP_ERROR_INTERNAL, "its commit is none");
}

/* ---- locks */

/* A child that holds the store open for @milliseconds. */
static pid_t hold(const Fixture *f, GpStoreMode mode, guint milliseconds)
{
    int ready, say;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpStore *store = open_store(f, mode);
        say_ready(say);
        g_usleep(milliseconds * 1000);
        gp_store_free(store);
        _exit(0);
    }
    wait_ready(&ready);
    return child;
}

static gint64 milliseconds_to_open(const Fixture *f, GpStoreMode mode)
{
    gint64 start = g_get_monotonic_time();
    g_autoptr(GpStore) store = open_store(f, mode);
    return (g_get_monotonic_time() - start) / 1000;
}

static void test_shared(Fixture *f, gconstpointer data)
{
    pid_t child = hold(f, GP_STORE_WRITE, 60000);
    g_autoptr(GpStore) second = open_store(f, GP_STORE_WRITE);
    g_autoptr(GpStore) third = open_store(f, GP_STORE_READ);
    kill_child(child);
}

/* Whoever removes does not wait for others, nor they for him: what they use is what he leaves alone. */
static void test_remover_shares(Fixture *f, gconstpointer data)
{
    pid_t child = hold(f, GP_STORE_WRITE, 60000);
    g_assert_cmpint(milliseconds_to_open(f, GP_STORE_REMOVE), <, 2000);
    kill_child(child);
}

static void test_wait_ends(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->path, "lock", NULL);
    GP_AUTOFD int fd = open(path, O_RDWR | O_CLOEXEC);
    gint64 start = g_get_monotonic_time();
    g_assert_false(gp_store_flock(fd, LOCK_EX, 1));
    g_assert_cmpint(errno, ==, EWOULDBLOCK);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, G_USEC_PER_SEC);
    g_assert_true(gp_store_flock(fd, LOCK_SH, 0));
    errno = 0;
    g_assert_false(gp_store_flock(-1, LOCK_SH, 5));
    g_assert_cmpint(errno, ==, EBADF);
}

/* ---- leftovers */

static void test_dead_staging(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("blob"), other = digest_of("other");
    g_autoptr(GpStaging) alive = begin(f->store, &other);
    guint objects = count_objects(f);
    int ready, say;
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        GpStore *store = open_store(f, GP_STORE_WRITE);
        (void) stage(store, &blob, rich_frames());
        say_ready(say);
        pause();
    }
    wait_ready(&ready);
    {
        /* Whose processes live is not touched. */
        g_autoptr(GpStore) third = open_store(f, GP_STORE_WRITE);
        g_assert_cmpuint(count_names(f, "staging"), ==, 2);
    }
    kill_child(child);
    {
        g_autoptr(GpStore) reader = open_store(f, GP_STORE_READ);
        g_assert_cmpuint(count_names(f, "staging"), ==, 2);
    }
    g_autoptr(GpStore) third = open_store(f, GP_STORE_WRITE);
    g_assert_cmpuint(count_names(f, "staging"), ==, 1);
    g_assert_cmpint(fcntl(gp_staging_root_fd(alive), F_GETFD), >=, 0);
    g_clear_pointer(&alive, gp_staging_free);
    g_assert_cmpuint(count_names(f, "staging"), ==, 0);
    /* The objects go when the last one closes the store. */
    g_clear_pointer(&third, gp_store_free);
    g_assert_cmpuint(count_objects(f), >, objects);
    close_store(f);
    g_assert_cmpuint(count_objects(f), ==, objects);
    shell(f->path, "test ! -e garbage");
}

/* Who cannot clear away because others have the store open leaves word. */
static void test_garbage_mark(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("blob");
    pid_t child = hold(f, GP_STORE_READ, 60000);
    gp_staging_free(stage(f->store, &blob, rich_frames()));
    close_store(f);
    shell(f->path, "test -e garbage");
    g_assert_cmpuint(count_objects(f), >, 0);
    kill_child(child);
    gp_store_free(open_store(f, GP_STORE_READ));
    g_assert_cmpuint(count_objects(f), >, 0);
    gp_store_free(open_store(f, GP_STORE_WRITE));
    shell(f->path, "test ! -e garbage");
    g_assert_cmpuint(count_objects(f), ==, 0);
}

static void test_orphans(Fixture *f, gconstpointer data)
{
    GpDigest kept = put_layer(f->store, "kept"), orphan = digest_of("orphan");
    g_autofree char *name = gp_store_file_name(&orphan);
    shell(
        f->path, "mkdir -p layers/%s/root/dir && echo x > layers/%s/root/dir/file && mkdir layers/strange", name, name);
    g_assert_false(gp_store_has_layer(f->store, &orphan));
    close_store(f);
    gp_store_free(open_store(f, GP_STORE_WRITE));
    g_assert_cmpuint(count_names(f, "layers"), ==, 3);
    g_autoptr(GpStore) store = open_store(f, GP_STORE_REMOVE);
    g_autoptr(GError) error = NULL;
    const GpPruneOptions options = {0};
    GpPruned pruned;
    put_image(store, "example.com/a:1", &kept, 1);
    g_assert_true(gp_store_prune(store, &options, &pruned, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count_names(f, "layers"), ==, 1);
    g_assert_true(gp_store_has_layer(store, &kept));
    g_clear_pointer(&store, gp_store_free);
    g_assert_cmpuint(count_names(f, "locks"), ==, 0);
}

/* A blob whose layer's process died between directory and ref is staged again and replaces what lies there. */
static void test_orphan_is_replaced(Fixture *f, gconstpointer data)
{
    GpDigest blob = digest_of("text");
    g_autofree char *name = gp_store_file_name(&blob);
    shell(f->path, "mkdir -p layers/%s/root && echo x > layers/%s/root/from-before", name, name);
    put_layer(f->store, "text");
    shell(f->path, "test -e layers/%s/root/name && test ! -e layers/%s/root/from-before", name, name);
    assert_clean(f);
}

#define TEST(name, function) g_test_add("/storage/store/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!need_root_for_all())
        return 0;
    TEST("absent-one-is-not-found-and-not-made", test_absent);
    TEST("plain-disk-is-refused-for-writing", test_plain_disk);
    TEST("all-below-is-private", test_private);
    TEST("directory-that-others-may-write-is-refused", test_others_may_write);
    TEST("half-made-repository-is-made-again", test_half_repository);
    TEST("damaged-repository-is-an-error", test_damaged_repository);
    TEST("commits-that-somebody-made-up", test_made_up_commits);
    TEST("many-may-share-it", test_shared);
    TEST("whoever-removes-shares-it-too", test_remover_shares);
    TEST("waiting-for-a-lock-ends", test_wait_ends);
    TEST("dead-process-leaves-nothing", test_dead_staging);
    TEST("garbage-that-cannot-go-now-goes-later", test_garbage_mark);
    TEST("layers-without-a-ref-go-when-nobody-looks", test_orphans);
    TEST("layer-without-a-ref-is-replaced", test_orphan_is_replaced);
    return g_test_run();
}
