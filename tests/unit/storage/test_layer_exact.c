/* A layer comes out exactly as its tar says: GNU tar and ostree are the oracles. */
#include "tests/unit/storage/layer_fixture.h"

/* One of everything, made by the shell in "src". */
static const char source[] =
    "mkdir -p src/dir/sub src/sticky src/empty src/opt; cd src\n"
    "printf hello > dir/file; printf hello > dir/twin; head -c 700000 /dev/urandom > opt/big; : > empty/nothing\n"
    "printf x > suid; chown 12:34 suid; chmod 6755 suid; chmod 1777 sticky; printf z > dir/unreadable; chmod 0 "
    "dir/unreadable\n"
    "ln dir/file dir/sub/hard1; ln dir/file hard2; ln -s /etc/passwd abs; ln -s ../nowhere dir/dangling; ln "
    "dir/dangling linked-link\n"
    "ln -s \"$(printf 'a%.0s' $(seq 200))\" longlink; chown -h 7:8 longlink\n"
    "mknod null c 1 3; mknod blk b 7 300; mkfifo dir/fifo; chmod 640 null; chown 1:2 dir/fifo\n"
    "setfattr -n user.note -v hello dir/twin; setfattr -n user.empty dir/twin; setfattr -n user.dir -v d dir/sub\n"
    "setfattr -n trusted.thing -v t abs; printf c > cap; setcap cap_net_bind_service+eip cap\n"
    "printf a > acl; setfacl -m u:54001:r,g:54321:rw acl; setfacl -d -m u:54002:rwx dir; printf m > "
    "dir/sub/made-under-acl\n"
    "p=$(printf 'd%.0s' $(seq 120)); mkdir -p $p/$p; echo deep > $p/$p/f\n"
    "printf r > \"$(printf 'raw-\\377\\376')\"; printf n > \"$(printf 'nfd-e\\314\\201')\"; printf n > \"$(printf "
    "'nfc-\\303\\251')\"\n"
    "printf nl > \"$(printf 'new\\nline')\"; printf sp > ' blank '\n"
    "truncate -s 3000000 sparse; printf mid | dd of=sparse bs=1 seek=1500000 conv=notrunc status=none; truncate -s "
    "65536 hole\n"
    "touch -d @946684800.123456789 suid; touch -h -d @1.5 abs; touch -d @-12345.25 acl; touch -d @0 dir/twin\n"
    "touch -d @1234567890.000000001 dir/sub; chown 99:98 dir/sub; chmod 2750 dir/sub\n"
    "chown 3:4 .; chmod 0711 .; touch -d @55.5 .\n";

/* Makes a tar with the options @create, extracts it with GNU tar and with ours, and compares with @reference ("tarred"
 * or "src"). */
static void check_against(const char *reference, const char *create, const char *compress, GpCompression compression)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "%s", source);
    shell(layer.directory,
        "tar -C src %s --xattrs --xattrs-include='*' --numeric-owner -cf layer.tar .\n"
        "mkdir tarred; tar -C tarred --xattrs --xattrs-include='*' --acls --numeric-owner --same-owner -xpf layer.tar\n"
        "%s < layer.tar > blob",
        create, compress);
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, compression);
    g_assert_no_error(layer.error);
    g_autofree char *expected = g_build_filename(layer.directory, reference, NULL);
    assert_same_trees(expected, layer.root);

    g_autoptr(GBytes) tar = slurp(layer.directory, "layer.tar");
    GpDigest diff_id;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(tar, NULL), g_bytes_get_size(tar), &diff_id);
    g_assert_true(gp_digest_equal(&diff_id, &layer.diff_id));
}

static void test_pax_gzip(void)
{
    check_against("tarred", "--format=pax --acls", "gzip", GP_COMPRESSION_GZIP);
}

static void test_pax_zstd(void)
{
    check_against("tarred", "--format=pax --acls", "zstd -q", GP_COMPRESSION_ZSTD);
}

static void test_pax_sparse(void)
{
    check_against("tarred", "--format=pax --acls --sparse", "cat", GP_COMPRESSION_NONE);
}

/* GNU tar itself loses such ACLs when it extracts. */
static void test_acl_as_xattr(void)
{
    check_against("src", "--format=pax", "cat", GP_COMPRESSION_NONE);
}

/* The same in GNU's own format: no xattrs, no fractions of a second, base-256 numbers, long names by extra entries. */
static void test_gnu_format(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "%s", source);
    shell(layer.directory,
        "tar -C src --format=gnu --sparse --numeric-owner -cf layer.tar .\n"
        "mkdir tarred; tar -C tarred --numeric-owner --same-owner -xpf layer.tar; gzip < layer.tar > blob");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_GZIP);
    g_assert_no_error(layer.error);
    g_autofree char *reference = g_build_filename(layer.directory, "tarred", NULL);
    assert_same_trees(reference, layer.root);
}

static void test_tree_tells_what_the_disk_has(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "%s", source);
    shell(layer.directory, "tar -C src --format=pax --xattrs --xattrs-include='*' --acls -cf layer.tar .");
    g_autoptr(GBytes) blob = slurp(layer.directory, "layer.tar");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);

    const char *const names[] = {
        "suid", "abs", "acl", "dir", "dir/sub", "dir/fifo", "null", "blk", "sparse", "dir/twin", ""};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        const GpNode *node = gp_layer_tree_find(layer.tree, names[i]);
        struct stat st;
        g_assert_nonnull(node);
        g_assert_cmpint(fstatat(layer.root_fd, names[i], &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), ==, 0);
        g_assert_cmpuint(node->inode->mode, ==, st.st_mode);
        g_assert_cmpuint(node->inode->uid, ==, st.st_uid);
        g_assert_cmpuint(node->inode->gid, ==, st.st_gid);
        g_assert_cmpint(node->inode->mtime.tv_sec, ==, st.st_mtim.tv_sec);
        g_assert_cmpint(node->inode->mtime.tv_nsec, ==, st.st_mtim.tv_nsec);
        g_assert_cmpint(node->inode->has_object, ==, S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
        if (S_ISREG(st.st_mode))
            g_assert_cmpuint(node->inode->size, ==, (guint64) st.st_size);
    }
    g_assert_true(gp_layer_tree_find(layer.tree, "hard2")->inode == gp_layer_tree_find(layer.tree, "dir/file")->inode);
    g_assert_true(
        gp_layer_tree_find(layer.tree, "dir/twin")->inode != gp_layer_tree_find(layer.tree, "dir/file")->inode);
    g_autofree char *bytes =
        shell_output(layer.directory, "find root -type f -printf '%%i %%s\\n' | sort -u | awk '{s+=$2} END {print s}'");
    g_assert_cmpuint(layer.tree->bytes, ==, g_ascii_strtoull(bytes, NULL, 10));
}

static void test_objects_are_libostrees(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "%s", source);
    shell(layer.directory,
        "rm -r repo; ostree --repo=repo init --mode=bare; rm src/null src/blk src/dir/fifo src/raw-*\n"
        "tar -C src --format=pax --xattrs --xattrs-include='*' --acls --sparse -cf layer.tar .");
    gp_close_fd(&layer.objects_fd);
    g_autofree char *objects = g_build_filename(layer.directory, "repo", "objects", NULL);
    layer.objects_fd = open(objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GBytes) blob = slurp(layer.directory, "layer.tar");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);

    /* ostree hashes the layer's directory by itself: it must find every file there already, and nothing left over. */
    g_autofree char *ours = shell_output(layer.directory, "find repo/objects -name '*.file' | sort");
    shell(layer.directory, "ostree --repo=repo commit --branch=test --tree=dir=root --disable-fsync");
    g_autofree char *both = shell_output(layer.directory, "find repo/objects -name '*.file' | sort");
    g_assert_cmpstr(ours, ==, both);
    g_assert_cmpuint(strlen(ours), >, 500);
    shell(layer.directory, "ostree --repo=repo fsck --quiet; ostree --repo=repo prune --refs-only >&2");
    g_autofree char *kept = shell_output(layer.directory, "find repo/objects -name '*.file' | sort");
    g_assert_cmpstr(ours, ==, kept);
}

static void test_equal_files_keep_their_own_inodes(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "mkdir src; cd src; printf same > a; printf same > b; ln b c; touch -d @1 a; touch -d @2 b; "
                           "tar -cf ../layer.tar a b c");
    g_autoptr(GBytes) blob = slurp(layer.directory, "layer.tar");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);
    struct stat a, b, c;
    g_assert_cmpint(fstatat(layer.root_fd, "a", &a, 0), ==, 0);
    g_assert_cmpint(fstatat(layer.root_fd, "b", &b, 0), ==, 0);
    g_assert_cmpint(fstatat(layer.root_fd, "c", &c, 0), ==, 0);
    g_assert_cmpuint(a.st_ino, !=, b.st_ino);
    g_assert_cmpuint(b.st_ino, ==, c.st_ino);
    g_assert_cmpint(a.st_mtime, ==, 1);
    g_assert_cmpint(b.st_mtime, ==, 2);
    g_assert_cmpuint(a.st_nlink, ==, 2); /* its name and the object */
    g_assert_cmpuint(b.st_nlink, ==, 2); /* its two names: the object was there already */
    g_autofree char *count = shell_output(layer.directory, "find repo/objects -name '*.file' | wc -l");
    g_assert_cmpstr(g_strchomp(count), ==, "1");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/layer/exact/pax-in-gzip", test_pax_gzip);
    g_test_add_func("/storage/layer/exact/pax-in-zstd", test_pax_zstd);
    g_test_add_func("/storage/layer/exact/pax-sparse-uncompressed", test_pax_sparse);
    g_test_add_func("/storage/layer/exact/acl-as-xattr", test_acl_as_xattr);
    g_test_add_func("/storage/layer/exact/gnu-format", test_gnu_format);
    g_test_add_func("/storage/layer/exact/tree-tells-what-the-disk-has", test_tree_tells_what_the_disk_has);
    g_test_add_func("/storage/layer/exact/objects-are-libostrees", test_objects_are_libostrees);
    g_test_add_func("/storage/layer/exact/equal-files-keep-their-own-inodes", test_equal_files_keep_their_own_inodes);
    return g_test_run();
}
