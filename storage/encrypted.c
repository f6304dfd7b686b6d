#include "storage/encrypted.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/error.h"

/* Device stacks are a few levels; a loop in a strange sysfs must end. */
#define MAX_DEPTH 16
#define HINT "\nFor debugging on a plain disk: --allow-unencrypted-store."

/* cryptsetup marks all its device-mapper targets with "CRYPT-", also those that only check ("CRYPT-VERITY-…",
 * "CRYPT-INTEGRITY-…") and LUKS2's inner one ("CRYPT-SUBDEV-…"): these are the ones that encrypt. */
static gboolean is_crypt(const char *directory)
{
    static const char *const prefixes[] = {"CRYPT-LUKS1-", "CRYPT-LUKS2-", "CRYPT-PLAIN-"};
    g_autofree char *path = g_build_filename(directory, "dm", "uuid", NULL);
    g_autofree char *uuid = NULL;
    gboolean found = FALSE;
    if (!g_file_get_contents(path, &uuid, NULL, NULL))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes) && !found; i++)
        found = g_str_has_prefix(uuid, prefixes[i]);
    return found;
}

/* dm-integrity, as cryptsetup names it alone ("CRYPT-INTEGRITY-…") and below LUKS2 (since 2.7 "CRYPT-SUBDEV-…"). Only
 * dm-crypt that authenticates makes use of the tags that it keeps, and cryptsetup stacks no other kind on it. */
static gboolean is_integrity(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "dm", "uuid", NULL);
    g_autofree char *uuid = NULL;
    return g_file_get_contents(path, &uuid, NULL, NULL) &&
           (g_str_has_prefix(uuid, "CRYPT-INTEGRITY-") || g_str_has_prefix(uuid, "CRYPT-SUBDEV-"));
}

/* Does dm-crypt @directory lie on dm-integrity and on nothing else? */
static gboolean lies_on_integrity(const char *directory)
{
    g_autofree char *slaves = g_build_filename(directory, "slaves", NULL);
    g_autoptr(GDir) dir = g_dir_open(slaves, 0, NULL);
    const char *name;
    guint count = 0;
    for (; dir && (name = g_dir_read_name(dir)); count++) {
        g_autofree char *slave = g_build_filename(slaves, name, NULL);
        if (!is_integrity(slave))
            return FALSE;
    }
    return count > 0;
}

gboolean gp_encrypted_with_integrity(const char *sysfs, const char *device)
{
    g_autofree char *directory = g_build_filename(sysfs, "class", "block", device, NULL);
    return is_crypt(directory) && lies_on_integrity(directory);
}

static gboolean refuse_device(const char *directory, GError **error)
{
    g_autofree char *resolved = realpath(directory, NULL);
    g_autofree char *device = g_path_get_basename(resolved ? resolved : directory);
    g_set_error(
        error, GP_ERROR, GP_ERROR_UNSUPPORTED, "the store is on %s, which is not encrypted (no dm-crypt)" HINT, device);
    return FALSE;
}

static gboolean refuse_unauthenticated(const char *directory, GError **error)
{
    g_autofree char *resolved = realpath(directory, NULL);
    g_autofree char *device = g_path_get_basename(resolved ? resolved : directory);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
        "the store is on %s, which is encrypted without integrity (no dm-integrity below it)" HINT, device);
    return FALSE;
}

/* A device that is not dm-crypt itself is encrypted if everything that it is made of is; a partition, if its disk is.
 */
static gboolean check_device(const char *directory, gboolean integrity, guint depth, GError **error)
{
    if (is_crypt(directory))
        return !integrity || lies_on_integrity(directory) || refuse_unauthenticated(directory, error);
    if (depth >= MAX_DEPTH)
        return refuse_device(directory, error);
    g_autofree char *partition = g_build_filename(directory, "partition", NULL);
    if (g_file_test(partition, G_FILE_TEST_EXISTS)) {
        g_autofree char *disk = g_build_filename(directory, "..", NULL);
        return check_device(disk, integrity, depth + 1, error);
    }
    g_autofree char *slaves = g_build_filename(directory, "slaves", NULL);
    g_autoptr(GDir) dir = g_dir_open(slaves, 0, NULL);
    const char *name;
    guint count = 0;
    for (; dir && (name = g_dir_read_name(dir)); count++) {
        g_autofree char *slave = g_build_filename(slaves, name, NULL);
        if (!check_device(slave, integrity, depth + 1, error))
            return FALSE;
    }
    return count > 0 || refuse_device(directory, error);
}

gboolean gp_encrypted_device(
    const char *sysfs, guint major_number, guint minor_number, gboolean integrity, GError **error)
{
    g_autofree char *directory = g_strdup_printf("%s/dev/block/%u:%u", sysfs, major_number, minor_number);
    if (major_number == 0 || !g_file_test(directory, G_FILE_TEST_IS_DIR)) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "the store is on no block device (%u:%u), so not on dm-crypt" HINT, major_number, minor_number);
        return FALSE;
    }
    return check_device(directory, integrity, 0, error);
}

gboolean gp_encrypted_check(const char *path, gboolean integrity, GError **error)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        gp_set_errno(error, errno, "store %s", path);
        return FALSE;
    }
    if (gp_encrypted_device("/sys", major(st.st_dev), minor(st.st_dev), integrity, error))
        return TRUE;
    g_prefix_error(error, "store %s: ", path);
    return FALSE;
}
