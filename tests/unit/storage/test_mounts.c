#include <sched.h>
#include <sys/mount.h>

#include "storage/mount_api.h"
#include "storage/mounts.h"
#include "tests/unit/storage/store_fixture.h"

/* "bundles/NAME/rootfs" with an overlay like ours on it. */
static char *mount_bundle(const Fixture *f, const char *name)
{
    char *bundle = g_build_filename(f->directory, "bundles", name, NULL);
    g_autofree char *rootfs = g_build_filename(bundle, "rootfs", NULL);
    g_autofree char *lower = g_build_filename(f->directory, "lower", NULL);
    g_autofree char *lowest = g_build_filename(f->directory, "lowest", NULL);
    g_autofree char *options = g_strdup_printf("lowerdir=%s:%s", lower, lowest);
    g_assert_cmpint(g_mkdir_with_parents(lowest, 0755), ==, 0);
    g_assert_cmpint(g_mkdir_with_parents(rootfs, 0755), ==, 0);
    g_assert_cmpint(g_mkdir_with_parents(lower, 0755), ==, 0);
    g_assert_cmpint(mount(GP_MOUNT_SOURCE, rootfs, "overlay", MS_RDONLY, options), ==, 0);
    return bundle;
}

static void unmount_bundle(const char *bundle)
{
    g_autofree char *rootfs = g_build_filename(bundle, "rootfs", NULL);
    g_assert_cmpint(umount2(rootfs, MNT_DETACH), ==, 0);
}

static char *runtime_of(const Fixture *f)
{
    return g_build_filename(f->directory, "run", NULL);
}

static void record_ok(const Fixture *f, const char *bundle, const char *image)
{
    g_autofree char *runtime = runtime_of(f);
    g_autoptr(GError) error = NULL;
    GpDigest digest = digest_of(image);
    (void) gp_mounts_record(runtime, bundle, (GpMountsOf){gp_store_fd(f->store), &digest}, &error);
    g_assert_no_error(error);
}

/* Base names of the bundles that use @image (NULL: any) of @store (-1: any), sorted. */
static char *using_of(const Fixture *f, int store, const char *image)
{
    g_autofree char *runtime = runtime_of(f);
    g_autoptr(GError) error = NULL;
    GpDigest digest = digest_of(image ? image : "");
    g_autoptr(GPtrArray) bundles = gp_mounts_using(runtime, (GpMountsOf){store, image ? &digest : NULL}, &error);
    g_assert_no_error(error);
    g_ptr_array_sort(bundles, compare_names);
    GString *names = g_string_new(NULL);
    for (guint i = 0; i < bundles->len; i++) {
        g_assert_true(g_path_is_absolute(bundles->pdata[i]));
        g_autofree char *name = g_path_get_basename(bundles->pdata[i]);
        g_string_append_printf(names, "%s%s", i ? " " : "", name);
    }
    return g_string_free(names, FALSE);
}

#define assert_using(f, image, expected) assert_using_of(f, -1, image, expected)
#define assert_using_of(f, store, image, expected)                                                                     \
    do {                                                                                                               \
        g_autofree char *names_ = using_of(f, store, image);                                                           \
        g_assert_cmpstr(names_, ==, expected);                                                                         \
    } while (0)

static guint count_records(const Fixture *f)
{
    g_autofree char *count = shell_output(f->directory, "ls run/mounts | wc -l");
    return (guint) g_ascii_strtoull(count, NULL, 10);
}

static void test_nothing(Fixture *f, gconstpointer data)
{
    assert_using(f, NULL, "");
    g_autofree char *runtime = runtime_of(f);
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_mounts_forget(runtime, "/any", &error));
    g_assert_no_error(error);
    g_assert_cmpint(g_access(runtime, F_OK), !=, 0);
}

static void test_mounted(Fixture *f, gconstpointer data)
{
    g_autofree char *a = mount_bundle(f, "a");
    g_autofree char *b = mount_bundle(f, "b with\nodd \xff name");
    g_autofree char *c = mount_bundle(f, "c");
    record_ok(f, a, "image 1");
    record_ok(f, b, "image 1");
    record_ok(f, c, "image 2");
    assert_using(f, "image 1", "a b with\nodd \xff name");
    assert_using(f, "image 2", "c");
    assert_using(f, "image 3", "");
    assert_using(f, NULL, "a b with\nodd \xff name c");
    g_autofree char *mode = shell_output(f->directory, "stat -c %%a run/mounts");
    g_assert_cmpstr(mode, ==, "700\n");
    /* The agent unmounts and tells nobody. */
    unmount_bundle(b);
    assert_using(f, "image 1", "a");
    g_assert_cmpuint(count_records(f), ==, 2);
    g_autofree char *runtime = runtime_of(f);
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_mounts_forget(runtime, c, &error));
    assert_using(f, NULL, "a");
    unmount_bundle(a);
    unmount_bundle(c);
    assert_using(f, NULL, "");
    g_assert_cmpuint(count_records(f), ==, 0);
}

/* One runtime directory, two stores: what is mounted from one may be removed from the other. */
static void test_two_stores(Fixture *f, gconstpointer data)
{
    g_autofree char *bundle = mount_bundle(f, "a");
    g_autofree char *other_path = g_build_filename(f->directory, "other", NULL);
    g_autofree char *again_path = g_build_filename(f->directory, "link", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpStore) other = gp_store_open(other_path, GP_STORE_WRITE, TRUE, &error);
    g_assert_no_error(error);
    shell(f->directory, "ln -s store link");
    g_autoptr(GpStore) again = gp_store_open(again_path, GP_STORE_WRITE, TRUE, &error);
    g_assert_no_error(error);
    record_ok(f, bundle, "image 1");
    assert_using_of(f, gp_store_fd(f->store), "image 1", "a");
    assert_using_of(f, gp_store_fd(f->store), NULL, "a");
    assert_using_of(f, gp_store_fd(again), "image 1", "a");
    assert_using_of(f, gp_store_fd(other), "image 1", "");
    assert_using_of(f, gp_store_fd(other), NULL, "");
    assert_using(f, "image 1", "a");
    /* What an older program recorded may be of any store. */
    shell(f->directory, "sed -i '1s/2$/1/; 3d' run/mounts/*");
    assert_using_of(f, gp_store_fd(f->store), "image 1", "a");
    assert_using_of(f, gp_store_fd(other), "image 1", "a");
    assert_using_of(f, gp_store_fd(other), "image 2", "");
    unmount_bundle(bundle);
    assert_using(f, NULL, "");
    g_assert_cmpuint(count_records(f), ==, 0);
}

static void test_relative_and_absolute(Fixture *f, gconstpointer data)
{
    g_autofree char *bundle = mount_bundle(f, "a");
    g_autofree char *odd = g_strconcat(bundle, "/../a//", NULL);
    record_ok(f, bundle, "image 1");
    record_ok(f, odd, "image 2");
    g_assert_cmpuint(count_records(f), ==, 1);
    assert_using(f, "image 1", "");
    assert_using(f, "image 2", "a");
    unmount_bundle(bundle);
}

static void test_device_is_used_again(Fixture *f, gconstpointer data)
{
    g_autofree char *a = mount_bundle(f, "a");
    record_ok(f, a, "image 1");
    unmount_bundle(a);
    g_autofree char *b = mount_bundle(f, "b"); /* most likely with a's device number */
    record_ok(f, b, "image 2");
    assert_using(f, "image 1", "");
    assert_using(f, "image 2", "b");
    unmount_bundle(b);
}

/* The bundle is gone, but a container still has its root in a mount namespace of its own. */
static void test_other_namespace(Fixture *f, gconstpointer data)
{
    g_autofree char *bundle = mount_bundle(f, "a");
    int ready, say;
    record_ok(f, bundle, "image 1");
    pid_t child = fork_child(&ready, &say);
    if (child == 0) {
        g_assert_cmpint(unshare(CLONE_NEWNS), ==, 0);
        g_assert_cmpint(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL), ==, 0);
        say_ready(say);
        pause();
    }
    wait_ready(&ready);
    unmount_bundle(bundle);
    assert_using(f, "image 1", "a");
    kill_child(child);
    assert_using(f, "image 1", "");
}

static void test_no_overlay(Fixture *f, gconstpointer data)
{
    g_autofree char *runtime = runtime_of(f);
    g_autofree char *rootfs = g_build_filename(f->directory, "plain", "rootfs", NULL);
    g_autofree char *bundle = g_path_get_dirname(rootfs);
    g_autoptr(GError) error = NULL;
    GpDigest image = digest_of("image");
    const GpMountsOf of = {gp_store_fd(f->store), &image};
    g_assert_false(gp_mounts_record(runtime, bundle, of, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "No such file");
    g_clear_error(&error);
    g_assert_cmpint(g_mkdir_with_parents(rootfs, 0755), ==, 0);
    g_assert_cmpint(mount("tmpfs", rootfs, "tmpfs", 0, NULL), ==, 0);
    g_assert_false(gp_mounts_record(runtime, bundle, of, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "no overlay is mounted there");
    g_assert_cmpint(umount2(rootfs, MNT_DETACH), ==, 0);
    g_assert_cmpint(g_access(runtime, F_OK), !=, 0);
}

static const char *const damages[] = {
    ": > run/mounts/$r",
    "echo nonsense > run/mounts/$r",
    "sed -i '1s/2$/3/' run/mounts/$r",
    "sed -i '1s/2$/1/' run/mounts/$r",
    "sed -i 3d run/mounts/$r",
    "sed -i '2s/sha256/md5/' run/mounts/$r",
    "sed -i '5s/$/x/' run/mounts/$r",
    "mv run/mounts/$r run/mounts/x$r",
    "rm run/mounts/$r; mkdir run/mounts/$r",
    "rm run/mounts/$r; ln -s /dev/null run/mounts/$r",
    "head -c 9000 /dev/zero >> run/mounts/$r",
};

/* Better not to remove an image than to guess. */
static void test_damaged_record(Fixture *f, gconstpointer data)
{
    g_autofree char *bundle = mount_bundle(f, "a");
    for (gsize i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *runtime = runtime_of(f);
        g_autoptr(GError) error = NULL;
        record_ok(f, bundle, "image 1");
        shell(f->directory, "r=$(ls run/mounts); %s", damages[i]);
        g_assert_null(gp_mounts_using(runtime, GP_MOUNTS_ALL, &error));
        assert_refused(error, GP_ERROR_INVALID, "not a record of a mount");
        shell(f->directory, "rm -r run/mounts");
    }
    unmount_bundle(bundle);
}

/* Half-written by a process that was killed. */
static void test_temporary(Fixture *f, gconstpointer data)
{
    g_autofree char *bundle = mount_bundle(f, "a");
    record_ok(f, bundle, "image 1");
    shell(f->directory, "r=$(ls run/mounts); echo guest- > run/mounts/$r.12345678.new");
    assert_using(f, NULL, "a");
    unmount_bundle(bundle);
}

/* The agent unmounts and tells nobody: the records that this leaves are cleared away before they are many. */
static void test_records_do_not_pile_up(Fixture *f, gconstpointer data)
{
    enum { BUNDLES = 40 };
    char *bundles[BUNDLES];
    for (guint i = 0; i < BUNDLES; i++) {
        g_autofree char *name = g_strdup_printf("b%u", i);
        bundles[i] = mount_bundle(f, name);
        record_ok(f, bundles[i], "image");
    }
    g_assert_cmpuint(count_names(f, "../run/mounts"), ==, BUNDLES);
    for (guint i = 0; i < BUNDLES; i++) {
        unmount_bundle(bundles[i]);
        g_free(bundles[i]);
    }
    g_autofree char *last = mount_bundle(f, "last");
    record_ok(f, last, "image");
    g_assert_cmpuint(count_names(f, "../run/mounts"), ==, 1);
    unmount_bundle(last);
}

#define TEST(name, function) g_test_add("/storage/mounts/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* In a namespace of our own, so that nothing stays mounted however this ends. */
    if (!need_root_for_all())
        return 0;
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
        g_print("1..1\nok 1 /storage/mounts # SKIP needs mount namespaces\n");
        return 0;
    }
    TEST("nothing-recorded-is-nothing-mounted", test_nothing);
    TEST("mounted-bundles-are-found-and-gone-ones-forgotten", test_mounted);
    TEST("mounts-belong-to-their-store", test_two_stores);
    TEST("one-bundle-by-two-paths-is-one-record", test_relative_and_absolute);
    TEST("device-number-that-is-used-again", test_device_is_used_again);
    TEST("mount-that-only-a-container-still-sees", test_other_namespace);
    TEST("what-is-no-overlay-is-not-recorded", test_no_overlay);
    TEST("damaged-record-is-an-error", test_damaged_record);
    TEST("half-a-record-is-none", test_temporary);
    TEST("records-do-not-pile-up", test_records_do_not_pile_up);
    return g_test_run();
}
