/* What the tests of root filesystems share. They are really mounted, in a mount namespace of our own: an early end
 * leaves nothing on the machine. */
#pragma once

#pragma GCC diagnostic ignored "-Wunused-function"

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

static void fill(const char *directory, const char *name, gsize mib)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *block = g_malloc0(GP_MIB);
    GP_AUTOFD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    g_assert_cmpint(fd, >=, 0);
    for (gsize i = 0; i < mib; i++)
        g_assert_true(gp_write_all(fd, block, GP_MIB, NULL));
}

static void skip_mounting(void)
{
    g_test_skip("no mount namespace of our own: this needs root");
}

#define ADD(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)

/* FALSE: we may not mount, and the test that is added says so. */
static gboolean may_mount(void)
{
    n_methods = count_methods();
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return TRUE;
    g_test_add_func("/storage/rootfs/mounting", skip_mounting);
    return FALSE;
}
