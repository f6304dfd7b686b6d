/* Names and places of bare content objects; that ostree agrees is tested in test_layer_exact.c. */
#include "storage/object.h"

#include <string.h>

#include "tests/unit/storage/layer_fixture.h"

static char *name_of(GpHasher *hasher)
{
    GpDigest digest;
    gp_hasher_finish(hasher, &digest);
    gp_hasher_free(hasher);
    return gp_digest_to_hex(&digest);
}

static char *hash_bytes(const char *bytes, gsize length)
{
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, bytes, length, &digest);
    return gp_digest_to_hex(&digest);
}

/* The header byte by byte: its length, 4 zero bytes; uid, gid, mode, rdev big-endian; "" with its NUL; no xattrs; the
 * offset behind the string, as GVariant ends such a tuple. */
static void test_plain_file(void)
{
    static const char expected[] = "\0\0\0\x12\0\0\0\0"
                                   "\0\0\x03\xe8\0\0\0\x05\0\0\x81\xa4\0\0\0\0"
                                   "\0"
                                   "\x11"
                                   "hello";
    GpHasher *hasher = gp_object_hasher_new(1000, 5, S_IFREG | 0644, NULL, NULL);
    gp_hasher_update(hasher, "hello", 5);
    g_autofree char *actual = name_of(hasher);
    g_autofree char *wanted = hash_bytes(expected, sizeof expected - 1);
    g_assert_cmpstr(actual, ==, wanted);
}

static void test_symlink(void)
{
    static const char expected[] = "\0\0\0\x15\0\0\0\0"
                                   "\0\0\0\0\0\0\0\0\0\0\xa1\xff\0\0\0\0"
                                   "a/\xff\0"
                                   "\x14";
    g_autofree char *actual = name_of(gp_object_hasher_new(0, 0, S_IFLNK | 0777, "a/\xff", NULL));
    g_autofree char *wanted = hash_bytes(expected, sizeof expected - 1);
    g_assert_cmpstr(actual, ==, wanted);
}

static void test_xattrs(void)
{
    g_autofree char *none = name_of(gp_object_hasher_new(0, 0, S_IFREG, NULL, NULL));
    g_autoptr(GArray) xattrs = gp_xattrs_new();
    g_autofree char *no_element = name_of(gp_object_hasher_new(0, 0, S_IFREG, NULL, xattrs));
    g_assert_cmpstr(none, ==, no_element);
    gp_xattrs_add(xattrs, "user.empty", "", 0);
    g_autofree char *empty = name_of(gp_object_hasher_new(0, 0, S_IFREG, NULL, xattrs));
    g_assert_cmpstr(none, ==, empty);
    gp_xattrs_add(xattrs, "user.x", "1", 1);
    g_autofree char *one = name_of(gp_object_hasher_new(0, 0, S_IFREG, NULL, xattrs));
    static const char expected[] = "\0\0\0\x1c\0\0\0\0"
                                   "\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0\0"
                                   "\0"
                                   "user.x\0"
                                   "1\x07\x09"
                                   "\x11";
    g_autofree char *wanted = hash_bytes(expected, sizeof expected - 1);
    g_assert_cmpstr(one, ==, wanted);
}

static void test_path(void)
{
    guint8 object[32];
    char path[GP_OBJECT_PATH_SIZE];
    for (guint8 i = 0; i < 32; i++)
        object[i] = (guint8) (i * 8 + 1);
    gp_object_path(object, path);
    g_assert_cmpstr(path, ==, "01/09111921293139414951596169717981899199a1a9b1b9c1c9d1d9e1e9f1f9.file");
    g_assert_cmpuint(strlen(path) + 1, ==, GP_OBJECT_PATH_SIZE);
}

static void test_link(void)
{
    g_auto(Layer) layer;
    layer_open(&layer);
    guint8 object[33] = {0xab, 0xcd};
    g_autoptr(GError) error = NULL;
    shell(layer.directory, "printf 1 > root/a; printf 2 > root/b");
    g_assert_true(gp_object_link(layer.objects_fd, object, layer.root_fd, "a", &error));
    g_assert_no_error(error);
    /* The second one with the same name is left alone. */
    g_assert_true(gp_object_link(layer.objects_fd, object, layer.root_fd, "b", &error));
    g_assert_no_error(error);
    g_autofree char *links =
        shell_output(layer.directory, "stat -c %%h root/a root/b | tr '\\n' ' '; cat repo/objects/ab/cd*.file");
    g_assert_cmpstr(links, ==, "2 1 1");
    g_assert_false(gp_object_link(layer.objects_fd, object + 1, layer.root_fd, "missing", &error));
    assert_refused(error, GP_ERROR_INTERNAL, "store: linking object cd/");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/object/plain-file", test_plain_file);
    g_test_add_func("/storage/object/symlink", test_symlink);
    g_test_add_func("/storage/object/xattrs", test_xattrs);
    g_test_add_func("/storage/object/path", test_path);
    g_test_add_func("/storage/object/link-if-absent", test_link);
    return g_test_run();
}
