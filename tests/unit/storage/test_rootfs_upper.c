/* The writable layer: its root, its directories, its size and its memory. */
#include "tests/unit/storage/rootfs_fixture.h"

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

static guint64 shmem_kib(void)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents("/proc/meminfo", &text, NULL, NULL));
    const char *line = strstr(text, "\nShmem:");
    g_assert_nonnull(line);
    return g_ascii_strtoull(line + strlen("\nShmem:"), NULL, 10);
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/rootfs-upper/size-is-parsed-strictly", test_parse_size);
    if (!may_mount())
        return g_test_run();
    ADD("/storage/rootfs-upper/root-has-the-topmost-layers-attributes", test_root_attributes);
    ADD("/storage/rootfs-upper/root-takes-no-attributes-of-overlayfs", test_root_without_overlay_attributes);
    ADD("/storage/rootfs-upper/implied-directories-get-their-attributes", test_directories);
    ADD("/storage/rootfs-upper/odd-directory-lists-are-refused", test_bad_directories);
    ADD("/storage/rootfs-upper/plain-umount-returns-the-memory", test_memory_returns);
    ADD("/storage/rootfs-upper/size-and-inode-limits-hold", test_limits_hold);
    ADD("/storage/rootfs-upper/percent-of-memory", test_percent_of_memory);
    return g_test_run();
}
