/* Root filesystems are really mounted here, in a mount namespace of our own: an early end leaves nothing on the
 * machine. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/entry.h"
#include "storage/overlay.h"
#include "storage/rootfs.h"

static const GpRootfsLimits small = {.rw_bytes = 16 * GP_MIB};
static const guint all_methods[] = {GP_OVERLAY_ONE_PAGE, GP_OVERLAY_ATTACHED, GP_OVERLAY_DETACHED};
static const guint *const each_method = all_methods;
static gsize n_methods;

/* What this kernel must be able to do: by its number, so that no way can fail unnoticed where it has to work. */
static gsize count_methods(void)
{
    struct utsname names;
    g_assert_cmpint(uname(&names), ==, 0);
    g_auto(GStrv) parts = g_strsplit(names.release, ".", 3);
    guint64 version =
        g_ascii_strtoull(parts[0], NULL, 10) * 1000 + g_ascii_strtoull(parts[1] ? parts[1] : "", NULL, 10);
    return version >= 6015 ? 3 : version >= 6008 ? 2 : 1;
}

typedef struct {
    char *top, *bundle, *rootfs;
    GArray *layers; /* int */
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->top = g_dir_make_tmp("gp-rootfs-XXXXXX", NULL);
    f->bundle = g_build_filename(f->top, "bundle", NULL);
    f->rootfs = g_build_filename(f->bundle, "rootfs", NULL);
    f->layers = g_array_new(FALSE, FALSE, sizeof(int));
    g_assert_cmpint(g_mkdir(f->bundle, 0755), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    while (umount2(f->rootfs, MNT_DETACH) == 0)
        ;
    for (guint i = 0; i < f->layers->len; i++)
        close(g_array_index(f->layers, int, i));
    g_array_unref(f->layers);
    g_assert_true(gp_remove_tree(AT_FDCWD, f->top, NULL));
    g_free(f->rootfs);
    g_free(f->bundle);
    g_free(f->top);
}

/* A new layer on top, and its directory (owned by the caller). */
static char *add_layer(Fixture *f)
{
    char *path = g_strdup_printf("%s/layer%u", f->top, f->layers->len);
    g_assert_cmpint(g_mkdir(path, 0755), ==, 0);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_array_append_val(f->layers, fd);
    return path;
}

static void write_file(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* In place, where write_file() puts a new file in the old one's stead. */
static void overwrite(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    GP_AUTOFD int fd = open(path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_true(gp_write_all(fd, text, strlen(text), NULL));
}

static void make_directory(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
}

static void assert_content(const char *directory, const char *name, const char *expected)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *text = NULL;
    if (!expected) {
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        return;
    }
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, expected);
}

static void lstat_in(const char *directory, const char *name, struct stat *st)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_assert_cmpint(lstat(path, st), ==, 0);
}

/* Lines of /proc/self/mountinfo that speak of the fixture's directory. */
static GPtrArray *mounts(const Fixture *f)
{
    g_autofree char *text = NULL;
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    g_assert_true(g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *needle = g_strdup_printf(" %s/", f->top);
    for (gsize i = 0; lines[i]; i++)
        if (strstr(lines[i], needle))
            g_ptr_array_add(found, g_strdup(lines[i]));
    return found;
}

static void assert_mounts(const Fixture *f, guint expected)
{
    g_autoptr(GPtrArray) found = mounts(f);
    g_assert_cmpuint(found->len, ==, expected);
}

static gboolean mount_limited(Fixture *f, const GPtrArray *directories, const GpRootfsLimits *limits, GError **error)
{
    return gp_rootfs_mount(
        (const int *) (const void *) f->layers->data, f->layers->len, directories, f->bundle, limits, error);
}

static void mount_by(Fixture *f, guint methods)
{
    g_autoptr(GError) error = NULL;
    GpRootfsLimits limits = small;
    limits.methods = methods;
    mount_limited(f, NULL, &limits, &error);
    g_assert_no_error(error);
    assert_mounts(f, 1);
}

static void assert_refused(Fixture *f, const GPtrArray *directories, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(mount_limited(f, directories, &small, &error));
    g_assert_error(error, GP_ERROR, (int) code);
    if (!strstr(error->message, reason))
        g_error("\"%s\" does not say \"%s\"", error->message, reason);
}

static void umount_ours(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    gp_rootfs_umount(f->bundle, &error);
    g_assert_no_error(error);
    g_assert_false(g_file_test(f->rootfs, G_FILE_TEST_EXISTS));
    assert_mounts(f, 0);
}

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

static const struct timespec long_ago[2] = {{1234567890, 123456789}, {1234567890, 123456789}};

static void test_root_attributes(Fixture *f, gconstpointer data)
{
    struct stat st;
    char value[16] = "";
    g_autofree char *base = add_layer(f), *top = add_layer(f);
    g_assert_cmpint(chmod(base, 0700), ==, 0);
    g_assert_cmpint(chown(top, 12, 34), ==, 0);
    g_assert_cmpint(chmod(top, 03751), ==, 0);
    g_assert_cmpint(setxattr(top, "trusted.note", "hello", 5, 0), ==, 0);
    g_assert_cmpint(setxattr(top, "trusted.overlay.opaque", "y", 1, 0), ==, 0);
    write_file(base, "file", "below");
    g_assert_cmpint(utimensat(AT_FDCWD, top, long_ago, 0), ==, 0);

    for (gsize i = 0; i < n_methods; i++) {
        mount_by(f, each_method[i]);
        g_assert_cmpint(stat(f->rootfs, &st), ==, 0);
        g_assert_cmpuint(st.st_mode, ==, S_IFDIR | 03751);
        g_assert_cmpuint(st.st_uid, ==, 12);
        g_assert_cmpuint(st.st_gid, ==, 34);
        g_assert_cmpint(st.st_mtim.tv_sec, ==, 1234567890);
        g_assert_cmpint(st.st_mtim.tv_nsec, ==, 123456789);
        g_assert_cmpint(getxattr(f->rootfs, "trusted.note", value, sizeof value), ==, 5);
        umount_ours(f);
    }
}

/* An attribute of overlayfs that a layer's root came with must not steer the overlay. */
static void test_root_without_overlay_attributes(Fixture *f, gconstpointer data)
{
    char value[16];
    g_autofree char *top = add_layer(f);
    g_assert_cmpint(setxattr(top, "trusted.overlay.opaque", "y", 1, 0), ==, 0);
    g_assert_cmpint(setxattr(top, "trusted.other", "z", 1, 0), ==, 0);
    g_auto(GpRootfsUpper) upper = GP_ROOTFS_UPPER_INIT;
    g_autoptr(GError) error = NULL;
    gp_rootfs_upper_make(&upper, &small, g_array_index(f->layers, int, 0), NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(fgetxattr(upper.upper_fd, "trusted.other", value, sizeof value), ==, 1);
    g_assert_cmpint(fgetxattr(upper.upper_fd, "trusted.overlay.opaque", value, sizeof value), ==, -1);
    g_assert_cmpint(errno, ==, ENODATA);
}

static void add_directory(GPtrArray *list, const char *path, mode_t mode, guint32 uid, const GArray *xattrs)
{
    GpRootfsDirectory *directory = g_new0(GpRootfsDirectory, 1);
    *directory = (GpRootfsDirectory){
        .path = path, .uid = uid, .gid = uid + 1, .mode = mode, .mtime = long_ago[0], .xattrs = xattrs};
    g_ptr_array_add(list, directory);
}

static void test_directories(Fixture *f, gconstpointer data)
{
    struct stat st;
    char value[16] = "";
    g_autofree char *base = add_layer(f), *top = add_layer(f);
    make_directory(base, "a/b");
    write_file(base, "a/b/below", "base");
    make_directory(top, "a/b");
    write_file(top, "a/b/above", "top");

    GpXattr xattr = {.name = (char *) (guintptr) "trusted.k", .value = (guint8 *) (guintptr) "v", .size = 1};
    g_autoptr(GArray) xattrs = g_array_new(FALSE, FALSE, sizeof xattr);
    g_array_append_val(xattrs, xattr);
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    add_directory(list, "", S_IFDIR | 0711, 1, NULL);
    add_directory(list, "a", S_IFDIR | 01777, 2, NULL);
    add_directory(list, "a/b", S_IFDIR | 02770, 3, xattrs);

    g_autoptr(GError) error = NULL;
    mount_limited(f, list, &small, &error);
    g_assert_no_error(error);
    static const struct {
        const char *path;
        mode_t mode;
        guint uid;
    } expected[] = {{"", 0711, 1}, {"a", 01777, 2}, {"a/b", 02770, 3}};
    for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
        lstat_in(f->rootfs, expected[i].path, &st);
        g_assert_cmpuint(st.st_mode, ==, S_IFDIR | expected[i].mode);
        g_assert_cmpuint(st.st_uid, ==, expected[i].uid);
        g_assert_cmpuint(st.st_gid, ==, expected[i].uid + 1);
        g_assert_cmpint(st.st_mtim.tv_sec, ==, 1234567890);
        g_assert_cmpint(st.st_mtim.tv_nsec, ==, 123456789);
    }
    g_autofree char *b = g_build_filename(f->rootfs, "a/b", NULL);
    g_assert_cmpint(getxattr(b, "trusted.k", value, sizeof value), ==, 1);
    assert_content(f->rootfs, "a/b/below", "base");
    assert_content(f->rootfs, "a/b/above", "top");
    umount_ours(f);
}

static void test_bad_directories(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *first, *second;
        mode_t mode;
        const char *reason;
    } cases[] = {
        {"a", "a", S_IFDIR | 0755, "\"/a\" of the root filesystem is listed twice"},
        {"a/b", "a", S_IFDIR | 0755, "comes before its parent"},
        {"a", "..", S_IFDIR | 0755, "is not a plain relative path"},
        {"a", "a/../../x", S_IFDIR | 0755, "is not a plain relative path"},
        {"a", "/a", S_IFDIR | 0755, "is not a plain relative path"},
        {"a", "a/", S_IFDIR | 0755, "is not a plain relative path"},
        {"a", ".", S_IFDIR | 0755, "is not a plain relative path"},
        {"a", "b", S_IFREG | 0644, "has the mode of something else"},
    };
    g_autofree char *base = add_layer(f);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
        add_directory(list, cases[i].first, S_IFDIR | 0755, 0, NULL);
        add_directory(list, cases[i].second, cases[i].mode, 0, NULL);
        assert_refused(f, list, GP_ERROR_INVALID, cases[i].reason);
        g_assert_false(g_file_test(f->rootfs, G_FILE_TEST_EXISTS));
    }
    GpXattr xattr = {
        .name = (char *) (guintptr) "trusted.overlay.opaque", .value = (guint8 *) (guintptr) "y", .size = 1};
    g_autoptr(GArray) xattrs = g_array_new(FALSE, FALSE, sizeof xattr);
    g_array_append_val(xattrs, xattr);
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    add_directory(list, "a", 0755, 0, xattrs);
    assert_refused(f, list, GP_ERROR_INVALID, "overlayfs's own");
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

static guint64 shmem_kib(void)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents("/proc/meminfo", &text, NULL, NULL));
    const char *line = strstr(text, "\nShmem:");
    g_assert_nonnull(line);
    return g_ascii_strtoull(line + strlen("\nShmem:"), NULL, 10);
}

static void fill(const char *directory, const char *name, gsize mib)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *block = g_malloc0(GP_MIB);
    GP_AUTOFD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    g_assert_cmpint(fd, >=, 0);
    for (gsize i = 0; i < mib; i++)
        g_assert_true(gp_write_all(fd, block, GP_MIB, NULL));
}

/* The agent knows nothing of us: one umount2() must give the memory back. */
static void test_memory_returns(Fixture *f, gconstpointer data)
{
    g_autofree char *base = add_layer(f);
    for (gsize i = 0; i < n_methods; i++) {
        GpRootfsLimits limits = {.rw_bytes = 256 * GP_MIB, .methods = each_method[i]};
        g_autoptr(GError) error = NULL;
        mount_limited(f, NULL, &limits, &error);
        g_assert_no_error(error);
        fill(f->rootfs, "big", 200);
        guint64 before = shmem_kib();
        g_assert_cmpuint(before, >=, 200 * 1024);
        g_assert_cmpint(umount2(f->rootfs, MNT_DETACH), ==, 0);
        guint tries = 0;
        while (shmem_kib() + 150 * 1024 > before && tries++ < 50)
            g_usleep(100000);
        g_assert_cmpuint(shmem_kib() + 150 * 1024, <=, before);
        g_assert_cmpint(rmdir(f->rootfs), ==, 0);
    }
}

static void test_limits_hold(Fixture *f, gconstpointer data)
{
    g_autofree char *base = add_layer(f);
    GpRootfsLimits limits = {.rw_bytes = 2 * GP_MIB, .rw_inodes = 20};
    g_autoptr(GError) error = NULL;
    mount_limited(f, NULL, &limits, &error);
    g_assert_no_error(error);

    g_autofree char *block = g_malloc0(3 * GP_MIB);
    g_autofree char *path = g_build_filename(f->rootfs, "big", NULL);
    GP_AUTOFD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    g_autoptr(GError) full = NULL;
    g_assert_false(gp_write_all(fd, block, 3 * GP_MIB, &full));
    g_assert_error(full, GP_ERROR, GP_ERROR_SPACE);
    gp_close_fd(&fd);
    g_assert_cmpint(unlink(path), ==, 0);

    int made = 0;
    for (; made < 30; made++) {
        g_autofree char *name = g_strdup_printf("%s/file%d", f->rootfs, made);
        GP_AUTOFD int file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0)
            break;
    }
    g_assert_cmpint(made, <, 20);
    g_assert_cmpint(errno, ==, ENOSPC);
}

static void test_percent_of_memory(Fixture *f, gconstpointer data)
{
    struct statvfs fs;
    g_autoptr(GError) error = NULL;
    GpRootfsLimits limits = {.rw_percent = 10};
    mount_limited(f, NULL, &limits, &error);
    g_assert_no_error(error);
    g_assert_cmpint(statvfs(f->rootfs, &fs), ==, 0);
    guint64 memory = (guint64) sysconf(_SC_PHYS_PAGES) * (guint64) sysconf(_SC_PAGESIZE);
    guint64 size = (guint64) fs.f_blocks * fs.f_frsize;
    g_assert_cmpuint(size, <=, memory / 10 + 4096);
    g_assert_cmpuint(size, >=, memory / 10 - 8192);
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

    for (gsize i = 0; i < n_methods; i++) {
        mount_by(f, each_method[i]);
        g_autofree char *from = g_build_filename(f->rootfs, "directory", NULL);
        g_autofree char *to = g_build_filename(f->rootfs, "renamed", NULL);
        g_assert_cmpint(rename(from, to), ==, 0); /* redirect_dir */
        assert_content(f->rootfs, "directory", NULL);
        g_autofree char *sub = g_build_filename(to, "sub", NULL);
        g_assert_true(g_file_test(sub, G_FILE_TEST_IS_DIR));

        overwrite(f->rootfs, "one", "changed"); /* index: equal files that the store keeps once stay two files */
        assert_content(f->rootfs, "one", "changedntent");
        assert_content(f->rootfs, "other", "same content");

        g_autofree char *big = g_build_filename(f->rootfs, "big", NULL);
        g_assert_cmpint(statvfs(f->rootfs, &before), ==, 0);
        g_assert_cmpint(chown(big, 5, 6), ==, 0); /* metacopy */
        g_assert_cmpint(statvfs(f->rootfs, &after), ==, 0);
        g_assert_cmpuint((before.f_bfree - after.f_bfree) * before.f_frsize, <, GP_MIB);

        struct stat st;
        lstat_in(f->rootfs, "other", &st); /* xino */
        g_assert_cmpuint(st.st_ino >> 63, ==, 0);
        umount_ours(f);
    }
}

static void test_parse_size(void)
{
    static const struct {
        const char *text;
        guint64 bytes;
        guint percent;
    } good[] = {
        {"512M", 512 * GP_MIB, 0},
        {"512m", 512 * GP_MIB, 0},
        {"1073741824", GP_GIB, 0},
        {"1048576", GP_MIB, 0},
        {"2048K", 2 * GP_MIB, 0},
        {"3G", 3 * GP_GIB, 0},
        {"1T", 1024 * GP_GIB, 0},
        {"25%", 0, 25},
        {"100%", 0, 100},
        {"1%", 0, 1},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        GpRootfsLimits limits = {.rw_bytes = 7, .rw_percent = 7, .rw_inodes = 9};
        g_autoptr(GError) error = NULL;
        gp_rootfs_parse_size(good[i].text, &limits, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(limits.rw_bytes, ==, good[i].bytes);
        g_assert_cmpuint(limits.rw_percent, ==, good[i].percent);
        g_assert_cmpuint(limits.rw_inodes, ==, 9);
    }
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "write bytes"},
        {"M", "write bytes"},
        {" 5M", "write bytes"},
        {"-5M", "write bytes"},
        {"+5M", "write bytes"},
        {"5X", "write bytes"},
        {"5MB", "write bytes"},
        {"5M ", "write bytes"},
        {"0x100000", "write bytes"},
        {"5%%", "write bytes"},
        {"99999999999999999999", "write bytes"},
        {"9999999999T", "write bytes"},
        {"0", "out of range"},
        {"0G", "out of range"},
        {"1048575", "out of range"},
        {"0%", "out of range"},
        {"101%", "out of range"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        GpRootfsLimits limits = {.rw_bytes = 7};
        g_autoptr(GError) error = NULL;
        g_assert_false(gp_rootfs_parse_size(bad[i].text, &limits, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
        g_assert_nonnull(strstr(error->message, bad[i].reason));
        g_assert_cmpuint(limits.rw_bytes, ==, 7);
    }
}

static void skip_mounting(void)
{
    g_test_skip("no mount namespace of our own: this needs root");
}

#define ADD(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    n_methods = count_methods();
    g_test_add_func("/storage/rootfs/size-is-parsed-strictly", test_parse_size);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        g_test_add_func("/storage/rootfs/mounting", skip_mounting);
        return g_test_run();
    }
    ADD("/storage/rootfs/layers-whiteouts-and-opaque-directories-by-every-method", test_layers);
    ADD("/storage/rootfs/layer-that-occurs-twice", test_repeated_layer);
    ADD("/storage/rootfs/500-layers-by-every-method", test_500_layers);
    ADD("/storage/rootfs/no-layer", test_no_layer);
    ADD("/storage/rootfs/root-has-the-topmost-layers-attributes", test_root_attributes);
    ADD("/storage/rootfs/root-takes-no-attributes-of-overlayfs", test_root_without_overlay_attributes);
    ADD("/storage/rootfs/implied-directories-get-their-attributes", test_directories);
    ADD("/storage/rootfs/odd-directory-lists-are-refused", test_bad_directories);
    ADD("/storage/rootfs/mount-is-one-and-private-below-a-shared-one", test_private);
    ADD("/storage/rootfs/occupied-places-are-refused", test_refused_places);
    ADD("/storage/rootfs/bundle-that-is-absent-or-a-link-is-refused", test_refused_bundles);
    ADD("/storage/rootfs/failure-leaves-nothing", test_failure_leaves_nothing);
    ADD("/storage/rootfs/umount-refuses-what-is-not-ours", test_umount_refuses);
    ADD("/storage/rootfs/plain-umount-returns-the-memory", test_memory_returns);
    ADD("/storage/rootfs/size-and-inode-limits-hold", test_limits_hold);
    ADD("/storage/rootfs/percent-of-memory", test_percent_of_memory);
    ADD("/storage/rootfs/nothing-is-switched-off", test_mount_flags);
    ADD("/storage/rootfs/overlay-options-do-what-they-are-for", test_options);
    return g_test_run();
}
