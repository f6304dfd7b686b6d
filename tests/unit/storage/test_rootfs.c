/* The mount: layers, places, undoing it, options. */
#include "tests/unit/storage/rootfs_fixture.h"

static void test_layers(Fixture *f, gconstpointer data)
{
    g_autofree char *base = add_layer(f), *middle = add_layer(f), *top = add_layer(f);
    write_file(base, "kept", "base");
    write_file(base, "replaced", "base");
    write_file(base, "deleted", "base");
    make_directory(base, "opaque");
    write_file(base, "opaque/old", "base");
    make_directory(base, "merged");
    write_file(base, "merged/one", "base");
    write_file(middle, "replaced", "middle");
    g_autofree char *whiteout = g_build_filename(middle, "deleted", NULL);
    g_assert_cmpint(mknod(whiteout, S_IFCHR | 0600, makedev(0, 0)), ==, 0);
    make_directory(top, "opaque");
    write_file(top, "opaque/new", "top");
    g_autofree char *opaque = g_build_filename(top, "opaque", NULL);
    g_assert_cmpint(setxattr(opaque, "trusted.overlay.opaque", "y", 1, 0), ==, 0);
    make_directory(top, "merged");
    write_file(top, "merged/two", "top");

    for (gsize i = 0; i < n_methods; i++) {
        mount_by(f, each_method[i]);
        assert_content(f->rootfs, "kept", "base");
        assert_content(f->rootfs, "replaced", "middle");
        assert_content(f->rootfs, "deleted", NULL);
        assert_content(f->rootfs, "opaque/old", NULL);
        assert_content(f->rootfs, "opaque/new", "top");
        assert_content(f->rootfs, "merged/one", "base");
        assert_content(f->rootfs, "merged/two", "top");
        write_file(f->rootfs, "kept", "container");
        assert_content(base, "kept", "base");
        umount_ours(f);
    }
}

/* A, B, A: the second A brings back what B deleted (the current implementation in guests loses it). */
static void test_repeated_layer(Fixture *f, gconstpointer data)
{
    g_autofree char *a = add_layer(f), *b = add_layer(f);
    write_file(a, "file", "a");
    make_directory(a, "d");
    write_file(a, "d/file", "a");
    g_autofree char *whiteout = g_build_filename(b, "file", NULL);
    g_assert_cmpint(mknod(whiteout, S_IFCHR | 0600, makedev(0, 0)), ==, 0);
    write_file(b, "d", "not a directory");
    int again = open(a, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_array_append_val(f->layers, again);
    mount_by(f, 0);
    assert_content(f->rootfs, "file", "a");
    assert_content(f->rootfs, "d/file", "a");
}

static void test_500_layers(Fixture *f, gconstpointer data)
{
    struct rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &files), ==, 0);
    files.rlim_cur = MIN(files.rlim_max, 2048);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &files), ==, 0);
    for (int i = 0; i < 500; i++) {
        g_autofree char *layer = add_layer(f);
        g_autofree char *name = g_strdup_printf("file%d", i);
        write_file(layer, name, name);
        write_file(layer, "all", name);
    }
    for (gsize i = 0; i < n_methods; i++) {
        mount_by(f, each_method[i]);
        assert_content(f->rootfs, "file0", "file0");
        assert_content(f->rootfs, "file499", "file499");
        assert_content(f->rootfs, "all", "file499");
        umount_ours(f);
    }
    g_autofree char *one_more = add_layer(f);
    assert_refused(f, NULL, GP_ERROR_LIMIT, "501 layers");
    g_assert_false(g_file_test(f->rootfs, G_FILE_TEST_EXISTS));
}

static void test_no_layer(Fixture *f, gconstpointer data)
{
    struct stat st;
    mount_by(f, 0);
    write_file(f->rootfs, "file", "text");
    umount_ours(f);
    mount_by(f, 0);
    g_assert_cmpint(stat(f->rootfs, &st), ==, 0);
    g_assert_cmpuint(st.st_mode, ==, S_IFDIR | 0755);
    g_assert_cmpint(st.st_mtim.tv_sec, ==, 0);
    assert_content(f->rootfs, "file", NULL);
}

static void test_private(Fixture *f, gconstpointer data)
{
    g_autofree char *base = add_layer(f);
    g_assert_cmpint(mount(f->top, f->top, NULL, MS_BIND, NULL), ==, 0);
    g_assert_cmpint(mount(NULL, f->top, NULL, MS_SHARED, NULL), ==, 0);
    /* The layer's descriptor is of the mount below; that is as good as any. */
    for (gsize i = 0; i < n_methods; i++) {
        mount_by(f, each_method[i]);
        g_autoptr(GPtrArray) found = mounts(f);
        g_assert_null(strstr(g_ptr_array_index(found, 0), "shared:"));
        umount_ours(f);
    }
    g_assert_cmpint(umount2(f->top, MNT_DETACH), ==, 0);
}

static void test_refused_places(Fixture *f, gconstpointer data)
{
    g_autofree char *base = add_layer(f);
    g_autofree char *inside = g_build_filename(f->rootfs, "file", NULL);

    g_assert_true(g_file_set_contents(f->rootfs, "a file", -1, NULL));
    assert_refused(f, NULL, GP_ERROR_INVALID, "is not a directory");
    g_assert_cmpint(unlink(f->rootfs), ==, 0);

    g_assert_cmpint(symlink("/", f->rootfs), ==, 0);
    assert_refused(f, NULL, GP_ERROR_INVALID, "is not a directory");
    g_assert_cmpint(unlink(f->rootfs), ==, 0);

    g_assert_cmpint(g_mkdir(f->rootfs, 0755), ==, 0);
    g_assert_true(g_file_set_contents(inside, "x", -1, NULL));
    assert_refused(f, NULL, GP_ERROR_INVALID, "is not empty");
    g_assert_cmpint(unlink(inside), ==, 0);

    g_assert_cmpint(mount("none", f->rootfs, "tmpfs", 0, NULL), ==, 0);
    assert_refused(f, NULL, GP_ERROR_INVALID, "has something mounted on it");
    assert_mounts(f, 1);
    g_assert_cmpint(umount(f->rootfs), ==, 0);

    mount_by(f, 0); /* the empty directory is taken */
    assert_refused(f, NULL, GP_ERROR_INVALID, "has something mounted on it");
    assert_mounts(f, 1);
    umount_ours(f);
}

static void test_refused_bundles(Fixture *f, gconstpointer data)
{
    g_autofree char *moved = g_build_filename(f->top, "moved", NULL);
    g_assert_cmpint(rename(f->bundle, moved), ==, 0);
    assert_refused(f, NULL, GP_ERROR_NOT_FOUND, "no such directory");
    g_assert_cmpint(symlink(moved, f->bundle), ==, 0);
    assert_refused(f, NULL, GP_ERROR_INVALID, "links are not followed");
    g_assert_cmpint(unlink(f->bundle), ==, 0);
}

static void test_failure_leaves_nothing(Fixture *f, gconstpointer data)
{
    g_autofree char *file = g_build_filename(f->top, "file", NULL);
    g_assert_true(g_file_set_contents(file, "not a directory", -1, NULL));
    int fd = open(file, O_PATH | O_CLOEXEC);
    g_array_append_val(f->layers, fd);
    for (gsize i = 0; i <= n_methods; i++) {
        GpRootfsLimits limits = small;
        g_autoptr(GError) error = NULL;
        limits.methods = i < n_methods ? each_method[i] : 0;
        g_assert_false(mount_limited(f, NULL, &limits, &error));
        g_assert_nonnull(strstr(error->message, "overlay of 1 layers"));
        g_assert_false(g_file_test(f->rootfs, G_FILE_TEST_EXISTS));
        assert_mounts(f, 0);
    }
}

static void test_umount_refuses(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) absent = NULL, plain = NULL, other = NULL;
    g_assert_false(gp_rootfs_umount(f->bundle, &absent));
    g_assert_error(absent, GP_ERROR, GP_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(absent->message, "no root filesystem of ours"));
    g_assert_cmpint(g_mkdir(f->rootfs, 0755), ==, 0);
    g_assert_false(gp_rootfs_umount(f->bundle, &plain));
    g_assert_error(plain, GP_ERROR, GP_ERROR_NOT_FOUND);
    g_assert_cmpint(mount("none", f->rootfs, "tmpfs", 0, NULL), ==, 0);
    g_assert_false(gp_rootfs_umount(f->bundle, &other));
    g_assert_error(other, GP_ERROR, GP_ERROR_NOT_FOUND);
    assert_mounts(f, 1);
}

/* setuid programs, devices and programs at all: nothing is switched off. */
static void test_mount_flags(Fixture *f, gconstpointer data)
{
    struct statvfs fs;
    g_autofree char *base = add_layer(f);
    g_autofree char *node = g_build_filename(base, "null", NULL);
    g_assert_cmpint(mknod(node, S_IFCHR | 0666, makedev(1, 3)), ==, 0);
    mount_by(f, 0);
    g_assert_cmpint(statvfs(f->rootfs, &fs), ==, 0);
    g_assert_cmpuint(fs.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY), ==, 0);
    g_autofree char *seen = g_build_filename(f->rootfs, "null", NULL);
    GP_AUTOFD int fd = open(seen, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
}

/* What the overlay options are there for. */
static void test_options(Fixture *f, gconstpointer data)
{
    struct statvfs before, after;
    g_autofree char *base = add_layer(f);
    make_directory(base, "directory/sub");
    write_file(base, "one", "same content");
    g_autofree char *one = g_build_filename(base, "one", NULL);
    g_autofree char *other = g_build_filename(base, "other", NULL);
    g_assert_cmpint(link(one, other), ==, 0);
    fill(base, "big", 8);
    /* The store's object is a further name of the file, out of the container's reach. */
    g_autofree char *content = g_build_filename(base, "big", NULL);
    g_autofree char *object = g_build_filename(f->top, "object", NULL);
    g_assert_cmpint(link(content, object), ==, 0);
    g_autofree char *lowest = g_build_filename(base, "plain", NULL);
    make_directory(base, "plain");
    write_file(lowest, "below", "below");
    g_autofree char *above = add_layer(f);
    g_autofree char *plain = g_build_filename(above, "plain", NULL);
    make_directory(above, "plain");
    g_assert_cmpint(setxattr(plain, "user.overlay.opaque", "y", 1, 0), ==, 0);

    for (gsize i = 0; i < n_methods; i++) {
        mount_by(f, each_method[i]);
        g_autofree char *from = g_build_filename(f->rootfs, "directory", NULL);
        g_autofree char *to = g_build_filename(f->rootfs, "renamed", NULL);
        g_assert_cmpint(rename(from, to), ==, 0); /* redirect_dir */
        assert_content(f->rootfs, "directory", NULL);
        g_autofree char *sub = g_build_filename(to, "sub", NULL);
        g_assert_true(g_file_test(sub, G_FILE_TEST_IS_DIR));

        overwrite(f->rootfs, "one", "changed"); /* index: a hard link of the image ends at the first write */
        assert_content(f->rootfs, "one", "changedntent");
        assert_content(f->rootfs, "other", "same content");

        g_autofree char *big = g_build_filename(f->rootfs, "big", NULL);
        g_assert_cmpint(statvfs(f->rootfs, &before), ==, 0);
        g_assert_cmpint(chown(big, 5, 6), ==, 0); /* metacopy */
        g_assert_cmpint(statvfs(f->rootfs, &after), ==, 0);
        g_assert_cmpuint((before.f_bfree - after.f_bfree) * before.f_frsize, <, GP_MIB);

        overwrite(f->rootfs, "big", "copied up"); /* index: what is deleted frees its memory, though the object stays */
        g_assert_cmpint(unlink(big), ==, 0);
        g_assert_cmpint(statvfs(f->rootfs, &after), ==, 0);
        g_assert_cmpuint((before.f_bfree - MIN(after.f_bfree, before.f_bfree)) * before.f_frsize, <, GP_MIB);

        assert_content(f->rootfs, "plain/below", "below"); /* userxattr: what a container may write steers nothing */
        g_autofree char *text = NULL;
        g_assert_true(g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL));
        g_assert_null(strstr(text, "volatile"));
        g_assert_null(strstr(text, "userxattr"));

        struct stat st;
        lstat_in(f->rootfs, "other", &st); /* xino */
        g_assert_cmpuint(st.st_ino >> 63, ==, 0);
        umount_ours(f);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!may_mount())
        return g_test_run();
    ADD("/storage/rootfs/layers-whiteouts-and-opaque-directories-by-every-method", test_layers);
    ADD("/storage/rootfs/layer-that-occurs-twice", test_repeated_layer);
    ADD("/storage/rootfs/500-layers-by-every-method", test_500_layers);
    ADD("/storage/rootfs/no-layer", test_no_layer);
    ADD("/storage/rootfs/mount-is-one-and-private-below-a-shared-one", test_private);
    ADD("/storage/rootfs/occupied-places-are-refused", test_refused_places);
    ADD("/storage/rootfs/bundle-that-is-absent-or-a-link-is-refused", test_refused_bundles);
    ADD("/storage/rootfs/failure-leaves-nothing", test_failure_leaves_nothing);
    ADD("/storage/rootfs/umount-refuses-what-is-not-ours", test_umount_refuses);
    ADD("/storage/rootfs/nothing-is-switched-off", test_mount_flags);
    ADD("/storage/rootfs/overlay-options-do-what-they-are-for", test_options);
    return g_test_run();
}
