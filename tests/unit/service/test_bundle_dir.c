#include <glib/gstdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "service/bundle_dir.h"

/* A root with the bundle "c1" in it. */
typedef struct {
    char *root, *bundle;
    const char *roots[2];
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data)
{
    fixture->root = g_dir_make_tmp("gp-bundle-XXXXXX", NULL);
    fixture->bundle = g_build_filename(fixture->root, "c1", NULL);
    fixture->roots[0] = fixture->root;
    g_assert_cmpint(g_mkdir(fixture->bundle, 0755), ==, 0);
}

static char *inside(const Fixture *fixture, const char *name)
{
    return g_build_filename(fixture->bundle, name, NULL);
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    static const char *const names[] = {"rootfs", "config.json", "link"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = inside(fixture, names[i]);
        while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
            ;
        (void) g_remove(path);
    }
    (void) g_rmdir(fixture->bundle);
    g_assert_cmpint(g_rmdir(fixture->root), ==, 0);
    g_free(fixture->root);
    g_free(fixture->bundle);
}

static void refused(const char *path, const char *const *roots, GpErrorCode code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_bundle_dir_open(path, roots, &error));
    g_assert_error(error, GP_ERROR, (int) code);
    if (!strstr(error->message, words))
        g_error("\"%s\" is not in \"%s\"", words, error->message);
}

static void test_open(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpBundleDir) dir = gp_bundle_dir_open(fixture->bundle, fixture->roots, &error);
    g_assert_no_error(error);
    g_autoptr(GpBundleDir) again = gp_bundle_dir_open(fixture->bundle, fixture->roots, &error);
    g_assert_true(gp_bundle_dir_same(dir, again));
    g_assert_cmpstr(gp_bundle_dir_path(dir), ==, fixture->bundle);
}

static void test_refused(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *format; /* %s is the root */
        GpErrorCode code;
        const char *words;
    } rows[] = {
        {"c1", GP_ERROR_INVALID, "is not absolute"},
        {"%s/c1/", GP_ERROR_INVALID, "has an empty component"},
        {"%s//c1", GP_ERROR_INVALID, "has an empty component"},
        {"%s/./c1", GP_ERROR_INVALID, "has a \".\" or \"..\" component"},
        {"%s/c1/../c1", GP_ERROR_INVALID, "has a \".\" or \"..\" component"},
        {"%s/c1\n", GP_ERROR_INVALID, "has characters that no bundle path has"},
        {"%s/c1\\", GP_ERROR_INVALID, "has characters that no bundle path has"},
        {"%s", GP_ERROR_INVALID, "is not below an allowed directory"},
        {"%s2/c1", GP_ERROR_INVALID, "is not below an allowed directory"},
        {"/etc", GP_ERROR_INVALID, "is not below an allowed directory"},
        {"%s/c2", GP_ERROR_NOT_FOUND, "does not exist"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(GStrv) parts = g_strsplit(rows[i].format, "%s", -1);
        g_autofree char *path = g_strjoinv(fixture->root, parts);
        refused(path, fixture->roots, rows[i].code, rows[i].words);
    }
}

static void test_link(Fixture *fixture, gconstpointer data)
{
    g_autofree char *link = inside(fixture, "link");
    g_assert_cmpint(symlink(fixture->root, link), ==, 0);
    refused(link, fixture->roots, GP_ERROR_INVALID, "goes through a symbolic link");
    /* not as the allowed directory either */
    const char *const roots[] = {link, NULL};
    g_autofree char *below = g_build_filename(link, "c1", NULL);
    refused(below, roots, GP_ERROR_INVALID, "goes through a symbolic link");
}

static void test_in_use(Fixture *fixture, gconstpointer data)
{
    g_autofree char *rootfs = inside(fixture, "rootfs");
    g_assert_cmpint(symlink("/nonexistent", rootfs), ==, 0);
    refused(fixture->bundle, fixture->roots, GP_ERROR_INVALID, "rootfs is there already: the bundle is in use");
}

static void test_undo(Fixture *fixture, gconstpointer data)
{
    g_autofree char *rootfs = inside(fixture, "rootfs");
    g_autofree char *config = inside(fixture, "config.json");
    for (int had_config = 0; had_config < 2; had_config++) {
        g_autoptr(GError) error = NULL;
        if (had_config)
            g_assert_true(g_file_set_contents(config, "x", 1, NULL));
        g_autoptr(GpBundleDir) dir = gp_bundle_dir_open(fixture->bundle, fixture->roots, &error);
        g_assert_no_error(error);
        g_assert_cmpint(g_mkdir(rootfs, 0755), ==, 0);
        g_assert_true(g_file_set_contents(config, "{}", 2, NULL));
        g_assert_true(gp_bundle_dir_undo(dir, &error));
        g_assert_no_error(error);
        g_assert_false(g_file_test(rootfs, G_FILE_TEST_EXISTS));
        g_assert_cmpint(g_file_test(config, G_FILE_TEST_EXISTS), ==, had_config);
        g_assert_true(gp_bundle_dir_undo(dir, &error)); /* nothing to do is success */
    }
}

static void test_mounts(Fixture *fixture, gconstpointer data)
{
    g_autofree char *rootfs = inside(fixture, "rootfs");
    g_autoptr(GError) error = NULL;
    g_autoptr(GpBundleDir) dir = gp_bundle_dir_open(fixture->bundle, fixture->roots, &error);
    g_assert_cmpint(g_mkdir(rootfs, 0755), ==, 0);
    g_assert_false(gp_bundle_dir_check_mounted(dir, &error));
    g_assert_nonnull(strstr(error->message, "0 mounts on "));
    g_clear_error(&error);
    if (mount("none", rootfs, "tmpfs", 0, "size=64k") < 0) {
        g_test_skip("mounting needs root");
        return;
    }
    g_assert_true(gp_bundle_dir_check_mounted(dir, &error));
    g_assert_cmpint(mount("none", rootfs, "tmpfs", 0, "size=64k"), ==, 0);
    g_assert_false(gp_bundle_dir_check_mounted(dir, &error));
    g_assert_nonnull(strstr(error->message, "2 mounts on "));
    g_clear_error(&error);
    g_assert_true(gp_bundle_dir_undo(dir, &error));
    g_assert_false(g_file_test(rootfs, G_FILE_TEST_EXISTS));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const struct {
        const char *name;
        void (*run)(Fixture *, gconstpointer);
    } tests[] = {
        {"/service/bundle-dir/open", test_open},
        {"/service/bundle-dir/bad-paths-are-refused", test_refused},
        {"/service/bundle-dir/links-are-refused", test_link},
        {"/service/bundle-dir/a-bundle-with-a-rootfs-is-in-use", test_in_use},
        {"/service/bundle-dir/undo-leaves-what-was-there", test_undo},
        {"/service/bundle-dir/exactly-one-mount", test_mounts},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
