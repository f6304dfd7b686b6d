#include <glib/gstdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/encrypted.h"

#include <fcntl.h>

/* Block devices of a made-up sysfs, as "NAME:UUID:SLAVE,SLAVE…"; NAME "disk/part" is a partition. The one tested is
 * always the last, 9:1. */
static const struct {
    const char *name, *devices, *reason; /* NULL: encrypted */
} cases[] = {
    {"luks2", "sda:: dm-0:CRYPT-LUKS2-0123-store:sda", NULL},
    {"luks1", "sda:: dm-0:CRYPT-LUKS1-0123-store:sda", NULL},
    {"plain-dm-crypt", "sda:: dm-0:CRYPT-PLAIN-store:sda", NULL},
    {"luks2-over-its-integrity", "sda:: dm-0:CRYPT-SUBDEV-0123-x_dif:sda dm-1:CRYPT-LUKS2-0123-x:dm-0", NULL},
    {"lvm-on-luks", "sda:: dm-0:CRYPT-LUKS2-0123-x:sda dm-1:LVM-abcdef:dm-0", NULL},
    {"raid-of-two-luks", "sda:: sdb:: dm-0:CRYPT-LUKS2-1-x:sda dm-1:CRYPT-LUKS2-2-x:sdb md0::dm-0,dm-1", NULL},
    {"partition-of-luks", "sda:: dm-0:CRYPT-LUKS2-0123-x:sda dm-0/dm-0p1::", NULL},
    {"disk", "sda::", "the store is on sda, which is not encrypted"},
    {"partition", "sda:: sda/sda1::", "the store is on sda, which is not encrypted"},
    {"lvm-on-a-disk", "sda:: dm-0:LVM-abcdef:sda", "the store is on sda, which is not encrypted"},
    {"raid-with-one-plain-half", "sda:: sdb:: dm-0:CRYPT-LUKS2-1-x:sda md0::dm-0,sdb",
        "the store is on sdb, which is not encrypted"},
    {"only-integrity", "sda:: dm-0:CRYPT-INTEGRITY-x:sda", "the store is on sda, which is not encrypted"},
    {"only-verity", "sda:: dm-0:CRYPT-VERITY-x:sda", "the store is on sda, which is not encrypted"},
    {"only-luks2-s-inner-device", "sda:: dm-0:CRYPT-SUBDEV-x:sda", "the store is on sda, which is not encrypted"},
    {"name-that-looks-like-it", "sda:: dm-0:LVM-CRYPT-LUKS2-x:sda", "the store is on sda, which is not encrypted"},
    {"luks-below-a-plain-mirror-half", "sda:: sdb:: dm-0:CRYPT-LUKS2-1-x:sda dm-1:LVM-x:dm-0,sdb dm-2:LVM-y:dm-1",
        "the store is on sdb, which is not encrypted"},
};

static void make_device(const char *sysfs, const char *description)
{
    g_auto(GStrv) parts = g_strsplit(description, ":", 3);
    g_autofree char *directory = g_build_filename(sysfs, "devices", parts[0], NULL);
    g_autofree char *slaves = g_build_filename(directory, "slaves", NULL);
    g_autofree char *number = g_build_filename(sysfs, "dev", "block", "9:1", NULL);
    g_autofree char *target = g_strdup_printf("../../devices/%s", parts[0]);
    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    if (strchr(parts[0], '/')) {
        g_autofree char *partition = g_build_filename(directory, "partition", NULL);
        g_assert_true(g_file_set_contents(partition, "1\n", -1, NULL));
    } else {
        g_assert_cmpint(g_mkdir_with_parents(slaves, 0755), ==, 0);
    }
    if (*parts[1]) {
        g_autofree char *dm = g_build_filename(directory, "dm", NULL);
        g_autofree char *uuid = g_build_filename(dm, "uuid", NULL);
        g_autofree char *line = g_strconcat(parts[1], "\n", NULL);
        g_assert_cmpint(g_mkdir(dm, 0755), ==, 0);
        g_assert_true(g_file_set_contents(uuid, line, -1, NULL));
    }
    g_auto(GStrv) below = g_strsplit(parts[2], ",", 0);
    for (char **slave = below; *slave && **slave; slave++) {
        g_autofree char *path = g_build_filename(slaves, *slave, NULL);
        g_autofree char *to = g_strdup_printf("../../%s", *slave);
        g_assert_cmpint(symlink(to, path), ==, 0);
    }
    (void) g_unlink(number);
    g_assert_cmpint(symlink(target, number), ==, 0);
}

static char *make_sysfs(const char *devices)
{
    char *sysfs = g_dir_make_tmp("gp-sysfs-XXXXXX", NULL);
    g_autofree char *block = g_build_filename(sysfs, "dev", "block", NULL);
    g_assert_cmpint(g_mkdir_with_parents(block, 0755), ==, 0);
    g_auto(GStrv) list = g_strsplit(devices, " ", 0);
    for (char **device = list; *device; device++)
        make_device(sysfs, *device);
    return sysfs;
}

static void test_stack(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autofree char *sysfs = make_sysfs(cases[i].devices);
    gboolean encrypted = gp_encrypted_device(sysfs, 9, 1, FALSE, &error);
    g_assert_true(gp_remove_tree(AT_FDCWD, sysfs, NULL));
    if (!cases[i].reason) {
        g_assert_no_error(error);
        g_assert_true(encrypted);
        return;
    }
    g_assert_false(encrypted);
    g_assert_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED);
    if (!strstr(error->message, cases[i].reason))
        g_error("expected \"%s\", got \"%s\"", cases[i].reason, error->message);
    g_assert_nonnull(strstr(error->message, "--allow-unencrypted-store"));
}

/* Only dm-crypt that lies on dm-integrity alone will do. */
static void test_integrity(void)
{
    static const struct {
        const char *devices;
        gboolean good;
    } rows[] = {
        {"sda:: dm-0:CRYPT-INTEGRITY-0123-x_dif:sda dm-1:CRYPT-LUKS2-0123-x:dm-0", TRUE},
        {"sda:: dm-0:CRYPT-SUBDEV-0123-x_dif:sda dm-1:CRYPT-LUKS2-0123-x:dm-0", TRUE},
        {"sda:: dm-0:CRYPT-INTEGRITY-1-a:sda dm-1:CRYPT-LUKS2-1-x:dm-0 dm-2:LVM-x:dm-1", TRUE},
        {"sda:: dm-0:CRYPT-LUKS2-0123-x:sda", FALSE},
        {"sda:: dm-0:CRYPT-PLAIN-x:sda", FALSE},
        {"sda:: sdb:: dm-0:CRYPT-INTEGRITY-1-a:sda dm-1:CRYPT-LUKS2-1-x:dm-0,sdb", FALSE},
        {"sda:: sdb:: dm-0:CRYPT-INTEGRITY-1-a:sda dm-1:CRYPT-LUKS2-1-x:dm-0 dm-2:CRYPT-LUKS2-2-y:sdb md0::dm-1,dm-2",
            FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *sysfs = make_sysfs(rows[i].devices);
        gboolean good = gp_encrypted_device(sysfs, 9, 1, TRUE, &error);
        g_assert_true(gp_remove_tree(AT_FDCWD, sysfs, NULL));
        g_assert_true(good == rows[i].good);
        g_assert_true(
            good || strstr(error->message, "which is encrypted without integrity (no dm-integrity below it)"));
    }
}

static void test_no_device(void)
{
    g_autofree char *sysfs = make_sysfs("sda::");
    g_autoptr(GError) anonymous = NULL;
    g_autoptr(GError) unknown = NULL;
    gboolean encrypted =
        gp_encrypted_device(sysfs, 0, 43, FALSE, &anonymous) || gp_encrypted_device(sysfs, 9, 2, FALSE, &unknown);
    g_assert_true(gp_remove_tree(AT_FDCWD, sysfs, NULL));
    g_assert_false(encrypted);
    g_assert_error(anonymous, GP_ERROR, GP_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(anonymous->message, "on no block device (0:43)"));
    g_assert_error(unknown, GP_ERROR, GP_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(unknown->message, "on no block device (9:2)"));
}

/* A strange sysfs must not be followed for ever, not even to a good end. */
static void test_deep_stack(void)
{
    g_autofree char *sysfs = make_sysfs("top::");
    g_autoptr(GString) path = g_string_new(sysfs);
    g_autoptr(GError) error = NULL;
    g_string_append(path, "/devices/top");
    for (int depth = 0; depth < 20; depth++)
        g_string_append(path, "/slaves/below");
    g_string_append(path, "/dm");
    g_assert_cmpint(g_mkdir_with_parents(path->str, 0755), ==, 0);
    g_string_append(path, "/uuid");
    g_assert_true(g_file_set_contents(path->str, "CRYPT-LUKS2-x\n", -1, NULL));
    gboolean encrypted = gp_encrypted_device(sysfs, 9, 1, FALSE, &error);
    g_assert_true(gp_remove_tree(AT_FDCWD, sysfs, NULL));
    g_assert_false(encrypted);
    g_assert_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "the store is on below, which is not encrypted"));
}

static void test_real(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(gp_encrypted_check("/proc", FALSE, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED);
    g_assert_true(g_str_has_prefix(error->message, "store /proc: the store is on no block device"));
    g_clear_error(&error);
    g_assert_false(gp_encrypted_check("/does/not/exist", FALSE, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INTERNAL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name =
            g_strdup_printf("/storage/encrypted/%s/%s", cases[i].reason ? "refused" : "accepted", cases[i].name);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_stack);
    }
    g_test_add_func("/storage/encrypted/integrity", test_integrity);
    g_test_add_func("/storage/encrypted/refused/no-block-device", test_no_device);
    g_test_add_func("/storage/encrypted/refused/stack-without-end", test_deep_stack);
    g_test_add_func("/storage/encrypted/refused/real-proc", test_real);
    return g_test_run();
}
