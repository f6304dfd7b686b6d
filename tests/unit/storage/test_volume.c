#include <fcntl.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/crypt_backing.h"
#include "storage/volume.h"
#include "storage/volume_request.h"

/* What is char * in a configuration that lives on. */
static char disk[] = "/dev/vdb", place[] = "/k", label[] = "PARTLABEL=a \"b\"", store[] = "/store";

/* ---- the configuration */

static void test_config(void)
{
    static const struct {
        GpVolumeConfig config;
        const char *reason; /* NULL: good */
    } rows[] = {
        {{.device = disk}, NULL},
        {{.device = disk, .filesystem = GP_VOLUME_XFS}, NULL},
        {{.device = disk, .mode = GP_VOLUME_PERSISTENT, .key = place}, NULL},
        {{0}, "no device is set"},
        {{.device = disk, .mode = GP_VOLUME_PERSISTENT}, "a persistent volume needs a key"},
        {{.device = disk, .key = place}, "an ephemeral volume makes its own key"},
        {{.device = disk, .mode = GP_VOLUME_PERSISTENT, .key = place, .filesystem = GP_VOLUME_XFS}, "must be ext4"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(gp_volume_config_check(&rows[i].config, &error) == (rows[i].reason == NULL));
        g_assert_true(!rows[i].reason || strstr(error->message, rows[i].reason));
        g_assert_true(!error || error->code == GP_ERROR_USAGE);
    }
}

static void test_filesystem_of_the_mode(void)
{
    const GpVolumeConfig ephemeral = {0}, persistent = {.mode = GP_VOLUME_PERSISTENT},
                         chosen = {.filesystem = GP_VOLUME_EXT4};
    g_assert_cmpint((int) gp_volume_filesystem(&ephemeral, 512 * GP_MIB), ==, GP_VOLUME_XFS);
    g_assert_cmpint((int) gp_volume_filesystem(&ephemeral, 512 * GP_MIB - 1), ==, GP_VOLUME_EXT4);
    g_assert_cmpint((int) gp_volume_filesystem(&persistent, GP_GIB), ==, GP_VOLUME_EXT4);
    g_assert_cmpint((int) gp_volume_filesystem(&chosen, GP_GIB), ==, GP_VOLUME_EXT4);
}

/* ---- what is asked of the helper */

static void test_request(void)
{
    static const char key[] = "line\nfeed\0and more";
    g_autoptr(GBytes) secret = g_bytes_new_static(key, sizeof key);
    const GpVolumeRequest sent = {.config = {.device = label,
                                      .size = G_GUINT64_CONSTANT(1) << 40,
                                      .mode = GP_VOLUME_PERSISTENT,
                                      .integrity = GP_VOLUME_XTS_HMAC,
                                      .filesystem = GP_VOLUME_EXT4},
        .discard = TRUE,
        .mountpoint = store,
        .key = secret};
    g_autoptr(GError) error = NULL;
    g_auto(GpVolumeRequest) got = {0};
    g_autoptr(GBytes) bytes = gp_volume_request_write(&sent);
    g_assert_true(gp_volume_request_read(bytes, &got, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(got.config.device, ==, sent.config.device);
    g_assert_cmpuint(got.config.size, ==, sent.config.size);
    g_assert_cmpint((int) got.config.mode, ==, GP_VOLUME_PERSISTENT);
    g_assert_cmpint((int) got.config.integrity, ==, GP_VOLUME_XTS_HMAC);
    g_assert_cmpint((int) got.config.filesystem, ==, GP_VOLUME_EXT4);
    g_assert_true(got.discard && !got.close);
    g_assert_cmpstr(got.mountpoint, ==, "/store");
    g_assert_true(g_bytes_equal(got.key, secret));
}

static void test_request_refused(void)
{
    static const char good[] = "{\"close\":false,\"device\":\"/d\",\"size\":0,\"mode\":\"ephemeral\",\"integrity\":"
                               "\"aes-gcm\",\"filesystem\":\"auto\",\"discard\":false,\"mountpoint\":\"/s\"}";
    static const struct {
        const char *from, *to;
    } rows[] = {{"\"ephemeral\"", "\"other\""}, {"\"aes-gcm\"", "\"cipher_null\""}, {"\"auto\"", "\"btrfs\""},
        {"\"size\":0", "\"size\":-1"}, {"\"/s\"", "\"\""}, {"\"close\"", "\"cloze\""}, {"{", "["}};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *at = strstr(good, rows[i].from);
        g_autofree char *text =
            g_strdup_printf("%.*s%s%s\n", (int) (at - good), good, rows[i].to, at + strlen(rows[i].from));
        g_autoptr(GBytes) bytes = g_bytes_new_static(text, strlen(text));
        g_auto(GpVolumeRequest) got = {0};
        g_autoptr(GError) error = NULL;
        g_assert_false(gp_volume_request_read(bytes, &got, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
    }
    g_autoptr(GBytes) endless = g_bytes_new_static(good, strlen(good));
    g_auto(GpVolumeRequest) none = {0};
    g_assert_false(gp_volume_request_read(endless, &none, NULL));
}

/* ---- partitions by label */

static void make_block(const char *sysfs, const char *name, const char *uevent)
{
    g_autofree char *directory = g_build_filename(sysfs, "class", "block", name, NULL);
    g_autofree char *path = g_build_filename(directory, "uevent", NULL);
    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, uevent, -1, NULL));
}

static void test_partition(void)
{
    g_autofree char *sysfs = g_dir_make_tmp("gp-sysfs-XXXXXX", NULL);
    g_autoptr(GError) absent = NULL, twice = NULL, strange = NULL, error = NULL;
    make_block(sysfs, "vda", "MAJOR=1\nDEVNAME=vda\nDEVTYPE=disk\n");
    make_block(sysfs, "vda1", "DEVNAME=vda1\nDEVTYPE=partition\nPARTN=1\nPARTNAME=my store\n");
    make_block(sysfs, "vda2", "DEVNAME=vda2\nPARTNAME=both\n");
    make_block(sysfs, "vdb2", "DEVNAME=vdb2\nPARTNAME=both\n");
    make_block(sysfs, "vdc1", "DEVNAME=../tmp/x\nPARTNAME=strange\n");
    g_autofree char *found = gp_crypt_partition(sysfs, "my store", &error);
    char *none = gp_crypt_partition(sysfs, "my", &absent), *many = gp_crypt_partition(sysfs, "both", &twice),
         *outside = gp_crypt_partition(sysfs, "strange", &strange);
    g_assert_true(gp_remove_tree(AT_FDCWD, sysfs, NULL));
    g_assert_no_error(error);
    g_assert_cmpstr(found, ==, "/dev/vda1");
    g_assert_true(!none && !many && !outside);
    g_assert_error(absent, GP_ERROR, GP_ERROR_NOT_FOUND);
    g_assert_error(strange, GP_ERROR, GP_ERROR_NOT_FOUND);
    g_assert_error(twice, GP_ERROR, GP_ERROR_USAGE);
    g_assert_nonnull(strstr(twice->message, "are partitions labelled both"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/volume/config", test_config);
    g_test_add_func("/storage/volume/filesystem-of-the-mode", test_filesystem_of_the_mode);
    g_test_add_func("/storage/volume/request", test_request);
    g_test_add_func("/storage/volume/request-refused", test_request_refused);
    g_test_add_func("/storage/volume/partition", test_partition);
    return g_test_run();
}
