#include <fcntl.h>
#include <glib/gstdio.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/in_memory.h"

#define HEAD "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

/* @zram: what backing_dev of a made-up zram0 says; NULL: the kernel cannot write back; "-": there is no zram0. */
static const struct {
    const char *name, *swaps, *zram, *reason;
} cases[] = {
    {"none", HEAD, "-", NULL},
    {"empty", "", "-", NULL},
    {"zram", HEAD "/dev/zram0  partition\t1024\t0\t100\n", NULL, NULL},
    {"zram-without-a-disk", HEAD "/dev/zram0  partition\t1024\t0\t100\n", "none\n", NULL},
    {"zram-with-a-disk", HEAD "/dev/zram0  partition\t1024\t0\t100\n", "/dev/vdb\n",
        "/dev/zram0, which is not encrypted"},
    {"zram-in-name-only", HEAD "/dev/zram0  partition\t1024\t0\t100\n", "-", "/dev/zram0, which is not encrypted"},
    {"disk", HEAD "/dev/vdz9  partition\t1024\t0\t-2\n", "-", "memory is swapped to /dev/vdz9, which is not encrypted"},
    {"file", HEAD "/etc/passwd  file\t1024\t0\t-2\n", "-", "memory is swapped to /etc/passwd, which is not encrypted"},
    {"blank-in-the-name", HEAD "/a\\040b  file\t1024\t0\t-2\n", "-", "memory is swapped to /a b, which"},
    {"second-one", HEAD "/dev/zram0  partition\t1\t0\t1\n/dev/vdz9  partition\t1\t0\t1\n", NULL,
        "swapped to /dev/vdz9"},
};

static void make_zram(const char *directory, const char *backing)
{
    g_autofree char *block = g_build_filename(directory, "class", "block", "zram0", NULL);
    g_autofree char *disksize = g_build_filename(block, "disksize", NULL);
    g_autofree char *backing_dev = g_build_filename(block, "backing_dev", NULL);
    if (g_strcmp0(backing, "-") == 0)
        return;
    g_assert_cmpint(g_mkdir_with_parents(block, 0755), ==, 0);
    g_assert_true(g_file_set_contents(disksize, "1\n", -1, NULL));
    g_assert_true(!backing || g_file_set_contents(backing_dev, backing, -1, NULL));
}

static void test_swap(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = g_dir_make_tmp("gp-swap-XXXXXX", NULL);
    g_autofree char *swaps = g_build_filename(directory, "swaps", NULL);
    make_zram(directory, cases[i].zram);
    g_assert_true(g_file_set_contents(swaps, cases[i].swaps, -1, NULL));
    gboolean ok = gp_in_memory_check_swap(swaps, directory, &error);
    g_assert_true(gp_remove_tree(AT_FDCWD, directory, NULL));
    if (!cases[i].reason) {
        g_assert_no_error(error);
        g_assert_true(ok);
        return;
    }
    g_assert_false(ok);
    g_assert_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED);
    if (!strstr(error->message, cases[i].reason))
        g_error("expected \"%s\", got \"%s\"", cases[i].reason, error->message);
    g_assert_nonnull(strstr(error->message, "--allow-unencrypted-store"));
}

static void test_kernel_without_swap(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_in_memory_check_swap("/does/not/exist", "/sys", &error));
    g_assert_no_error(error);
    g_assert_false(gp_in_memory_check_swap("/", "/sys", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
}

static void test_directory(void)
{
    g_autoptr(GError) disk = NULL, absent = NULL;
    g_assert_true(gp_in_memory_check("/dev/shm", "it", NULL));
    g_assert_false(gp_in_memory_check("/proc", "the runtime directory", &disk));
    g_assert_error(disk, GP_ERROR, GP_ERROR_UNSUPPORTED);
    g_assert_true(g_str_has_prefix(disk->message, "the runtime directory /proc is not in memory (no tmpfs)"));
    g_assert_false(gp_in_memory_check("/does/not/exist", "it", &absent));
    g_assert_error(absent, GP_ERROR, GP_ERROR_INTERNAL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = g_strdup_printf("/storage/in_memory/swap/%s", cases[i].name);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_swap);
    }
    g_test_add_func("/storage/in_memory/kernel-without-swap", test_kernel_without_swap);
    g_test_add_func("/storage/in_memory/directory", test_directory);
    return g_test_run();
}
