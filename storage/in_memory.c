#include "storage/in_memory.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "storage/encrypted.h"

#define HINT "\nFor debugging: --allow-unencrypted-store."

gboolean gp_in_memory_check(const char *directory, const char *what, GError **error)
{
    struct statfs fs;
    if (statfs(directory, &fs) < 0) {
        gp_set_errno(error, errno, "%s %s", what, directory);
        return FALSE;
    }
    if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "%s %s is not in memory (no tmpfs)" HINT, what, directory);
    return FALSE;
}

/* zram keeps what is swapped in memory, unless it has a disk to write to. */
static gboolean is_zram(const char *sysfs, const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *backing = g_build_filename(sysfs, "class", "block", name, "backing_dev", NULL);
    g_autofree char *disk = g_build_filename(sysfs, "class", "block", name, "disksize", NULL);
    g_autofree char *text = NULL;
    if (!g_str_has_prefix(name, "zram") || !g_file_test(disk, G_FILE_TEST_EXISTS))
        return FALSE;
    /* A kernel that cannot write back has no such file. */
    return !g_file_get_contents(backing, &text, NULL, NULL) || g_str_equal(g_strstrip(text), "none");
}

/* @path as /proc/swaps has it: a block device, or a file on one. */
static gboolean check_space(const char *path, const char *sysfs, GError **error)
{
    struct stat st;
    gboolean found = stat(path, &st) == 0;
    dev_t device = found && S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    if (is_zram(sysfs, path) || (found && gp_encrypted_device(sysfs, major(device), minor(device), FALSE, NULL)))
        return TRUE;
    g_autofree char *shown = gp_escape(path, -1, 200);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
        "memory is swapped to %s, which is not encrypted: keys and writable layers would get there\nswapoff %s. For "
        "debugging: --allow-unencrypted-store.",
        shown, shown);
    return FALSE;
}

gboolean gp_in_memory_check_swap(const char *swaps, const char *sysfs, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) cause = NULL;
    if (!g_file_get_contents(swaps, &text, NULL, &cause)) {
        if (g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return TRUE;
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "swap spaces: %s", cause->message);
        return FALSE;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    for (guint i = 1; lines[0] && lines[i]; i++) {
        /* Blanks in a name are written \040. */
        g_autofree char *name = g_strndup(lines[i], strcspn(lines[i], " \t"));
        g_autofree char *path = g_strcompress(name);
        if (*path && !check_space(path, sysfs, error))
            return FALSE;
    }
    return TRUE;
}
