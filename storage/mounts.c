/* A record is a file named by the hash of the bundle's path:
 *
 *   guest-pull-mount 2
 *   sha256:… (the manifest)
 *   MAJOR:MINOR:INODE (of the store's directory)
 *   MAJOR:MINOR (the overlay's device, as in /proc/self/mountinfo)
 *   /the/bundle (to the end of the file)
 *
 * "guest-pull-mount 1" is the same without the store: a program that was replaced by this one may have left containers.
 */
#include "storage/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/mount_api.h"

#define FIRST_LINE "guest-pull-mount 2"
#define OLD_FIRST_LINE "guest-pull-mount 1"
#define MANY_RECORDS 32
#define MAX_RECORD (8 * GP_KIB)
#define MAX_MOUNTINFO (64 * GP_MIB)
#define TEMPORARY ".new"

typedef struct {
    char *name; /* of the file */
    GpDigest manifest;
    char *store; /* NULL: not known, it may be any */
    char *device;
    char *bundle;
} Record;

static void record_free(gpointer data)
{
    Record *record = data;
    g_free(record->name);
    g_free(record->store);
    g_free(record->device);
    g_free(record->bundle);
    g_free(record);
}

static char *record_name(const char *bundle)
{
    g_autofree char *path = g_canonicalize_filename(bundle, NULL);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, path, strlen(path), &digest);
    return gp_digest_to_hex(&digest);
}

/* What a record calls the store whose directory is @fd. Two directories may have one name after another in time, never
 * two at once; a store that is below a mount stays. */
static char *store_name(int fd, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) == 0)
        return g_strdup_printf("%u:%u:%ju", major(st.st_dev), minor(st.st_dev), (uintmax_t) st.st_ino);
    gp_set_errno(error, errno, "the store's directory");
    return NULL;
}

/* @bytes as a string, up to the first NUL. */
static char *text_of(GBytes *bytes)
{
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);
    return length ? g_strndup(data, length) : g_strdup("");
}

/* ---- what the kernel has */

/* Adds the devices of our overlays among the lines of one mountinfo (proc(5)): the filesystem's type and source stand
 * behind a lone "-" that follows a variable number of fields. */
static void collect_devices(char *mountinfo, GHashTable *devices)
{
    char *rest = mountinfo;
    for (char *line; (line = strsep(&rest, "\n"));) {
        g_auto(GStrv) words = g_strsplit(line, " ", 0);
        guint n = g_strv_length(words), dash = 6;
        while (dash < n && !g_str_equal(words[dash], "-"))
            dash++;
        if (dash + 2 < n && g_str_equal(words[dash + 1], "overlay") && g_str_equal(words[dash + 2], GP_MOUNT_SOURCE))
            g_hash_table_add(devices, g_strdup(words[2]));
    }
}

/* Every namespace once: most processes share one. A process that ends while we look sees nothing any more. */
static gboolean collect_process(const char *process, GHashTable *namespaces, GHashTable *devices, GError **error)
{
    g_autofree char *namespace_path = g_build_filename("/proc", process, "ns", "mnt", NULL);
    g_autofree char *path = g_build_filename("/proc", process, "mountinfo", NULL);
    g_autofree char *namespace = g_file_read_link(namespace_path, NULL);
    if (namespace && !g_hash_table_add(namespaces, g_steal_pointer(&namespace)))
        return TRUE;
    g_autoptr(GError) cause = NULL;
    GP_AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_autoptr(GBytes) bytes = fd < 0 ? NULL : gp_read_all(fd, MAX_MOUNTINFO, path, &cause);
    if (bytes) {
        g_autofree char *text = text_of(bytes);
        collect_devices(text, devices);
    } else if (g_str_equal(process, "self") || (cause && cause->code == GP_ERROR_LIMIT)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "%s cannot be read", path);
        return FALSE;
    }
    return TRUE;
}

static GHashTable *live_devices(GError **error)
{
    g_autoptr(GHashTable) devices = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) namespaces = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!collect_process("self", namespaces, devices, error))
        return NULL;
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    const char *name;
    while (processes && (name = g_dir_read_name(processes)))
        if (g_ascii_isdigit(name[0]) && !collect_process(name, namespaces, devices, error))
            return NULL;
    return g_steal_pointer(&devices);
}

static char *overlay_device(const char *bundle, GError **error)
{
    g_autofree char *rootfs = g_build_filename(bundle, "rootfs", NULL);
    GP_AUTOFD int fd = open(rootfs, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct statfs fs;
    struct stat st;
    if (fd < 0 || fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "%s", rootfs);
        return NULL;
    }
    if (fs.f_type != OVERLAYFS_SUPER_MAGIC) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "%s: no overlay is mounted there", rootfs);
        return NULL;
    }
    return g_strdup_printf("%u:%u", major(st.st_dev), minor(st.st_dev));
}

/* ---- records */

/* The directory of records; -1 without an error when nothing was ever mounted. */
static int open_records(const char *runtime_dir, GError **error)
{
    g_autofree char *path = g_build_filename(runtime_dir, "mounts", NULL);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        gp_set_errno(error, errno, "%s", path);
    return fd;
}

static Record *parse_record(const char *name, GBytes *bytes)
{
    g_autofree char *text = text_of(bytes);
    gboolean old = g_str_has_prefix(text, OLD_FIRST_LINE "\n");
    guint n = old ? 4 : 5;
    g_auto(GStrv) lines = g_strsplit(text, "\n", (int) n);
    GpDigest manifest;
    if (g_strv_length(lines) != n || !g_str_equal(lines[0], old ? OLD_FIRST_LINE : FIRST_LINE) ||
        !gp_digest_parse(lines[1], &manifest, NULL))
        return NULL;
    g_autofree char *expected = record_name(lines[n - 1]);
    if (!g_str_equal(expected, name))
        return NULL;
    Record *record = g_new0(Record, 1);
    record->name = g_strdup(name);
    record->manifest = manifest;
    record->store = old ? NULL : g_strdup(lines[2]);
    record->device = g_strdup(lines[n - 2]);
    record->bundle = g_strdup(lines[n - 1]);
    return record;
}

/* Adds record @name to @list, unless another process has removed it since it was listed. What is no record is an error
 * if @strict: who removes a layer must know all of them; who mounts one need not. */
static gboolean read_record(int records, const char *name, gboolean strict, GPtrArray *list, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) bytes = gp_read_file(records, name, MAX_RECORD, "record of a mount", &cause);
    if (!bytes && cause->code == GP_ERROR_NOT_FOUND)
        return TRUE;
    Record *record = bytes ? parse_record(name, bytes) : NULL;
    if (record) {
        g_ptr_array_add(list, record);
        return TRUE;
    }
    if (!strict)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "mounts/%s: not a record of a mount\nIf nothing is mounted any more, remove this file.", name);
    return FALSE;
}

static GPtrArray *read_records(int records, gboolean strict, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", records);
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(record_free);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &cause);
    if (!dir) {
        gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "records of mounts");
        return NULL;
    }
    const char *name;
    while ((name = g_dir_read_name(dir)))
        if (!g_str_has_suffix(name, TEMPORARY) && !read_record(records, name, strict, list, error))
            return NULL;
    return g_steal_pointer(&list);
}

static gboolean drop_record(int records, const char *name, GError **error)
{
    if (unlinkat(records, name, 0) == 0 || errno == ENOENT)
        return TRUE;
    gp_set_errno(error, errno, "mounts/%s", name);
    return FALSE;
}

/* Whole or not at all: a reader never sees half a record. */
static gboolean write_record(int records, const char *name, const char *text, GError **error)
{
    g_autofree char *temporary = g_strdup_printf("%s.%08x" TEMPORARY, name, g_random_int());
    GP_AUTOFD int fd = openat(records, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        gp_set_errno(error, errno, "mounts/%s", temporary);
        return FALSE;
    }
    gboolean ok = gp_write_all(fd, text, strlen(text), error);
    if (ok && renameat(records, temporary, records, name) < 0) {
        gp_set_errno(error, errno, "mounts/%s", name);
        ok = FALSE;
    }
    if (!ok)
        (void) unlinkat(records, temporary, 0);
    return ok;
}

/* Device numbers are used again: a record that has the new overlay's is of one that is gone. */
static gboolean drop_device(int records, const char *device, guint *count, GError **error)
{
    g_autoptr(GPtrArray) list = read_records(records, FALSE, error);
    *count = list ? list->len : 0;
    for (guint i = 0; list && i < list->len; i++) {
        const Record *record = list->pdata[i];
        if (g_str_equal(record->device, device) && !drop_record(records, record->name, error))
            return FALSE;
    }
    return list != NULL;
}

gboolean gp_mounts_record(const char *runtime_dir, const char *bundle, GpMountsOf of, GError **error)
{
    g_autofree char *directory = g_build_filename(runtime_dir, "mounts", NULL);
    g_autofree char *path = g_canonicalize_filename(bundle, NULL);
    g_autofree char *name = record_name(bundle);
    g_autofree char *digest = gp_digest_to_string(of.manifest);
    g_autofree char *store = store_name(of.store, error);
    g_autofree char *device = store ? overlay_device(bundle, error) : NULL;
    if (!device || !gp_mkdir_p(directory, 0700, error))
        return FALSE;
    GP_AUTOFD int records = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (records < 0) {
        gp_set_errno(error, errno, "%s", directory);
        return FALSE;
    }
    g_autofree char *text = g_strdup_printf(FIRST_LINE "\n%s\n%s\n%s\n%s", digest, store, device, path);
    guint count;
    if (!drop_device(records, device, &count, error) || !write_record(records, name, text, error))
        return FALSE;
    /* The agent unmounts and tells nobody, so records of mounts that are gone pile up: looking for them is dear, thus
     * seldom done. */
    g_autoptr(GPtrArray) live = count >= MANY_RECORDS ? gp_mounts_using(runtime_dir, GP_MOUNTS_ALL, NULL) : NULL;
    return TRUE;
}

gboolean gp_mounts_forget(const char *runtime_dir, const char *bundle, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *name = record_name(bundle);
    GP_AUTOFD int records = open_records(runtime_dir, &cause);
    if (cause) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return FALSE;
    }
    return records < 0 || drop_record(records, name, error);
}

GPtrArray *gp_mounts_using(const char *runtime_dir, GpMountsOf of, GError **error)
{
    g_autoptr(GPtrArray) bundles = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) cause = NULL;
    GP_AUTOFD int records = open_records(runtime_dir, &cause);
    if (cause) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    if (records < 0)
        return g_steal_pointer(&bundles);
    /* First the records: what is recorded is mounted already, so a new one cannot look stale. */
    g_autoptr(GPtrArray) list = read_records(records, TRUE, error);
    g_autofree char *store = list && of.store >= 0 ? store_name(of.store, error) : NULL;
    g_autoptr(GHashTable) live = list && (store || of.store < 0) ? live_devices(error) : NULL;
    if (!live)
        return NULL;
    for (guint i = 0; i < list->len; i++) {
        const Record *record = list->pdata[i];
        if (!g_hash_table_contains(live, record->device)) {
            if (!drop_record(records, record->name, error))
                return NULL;
        } else if ((!of.manifest || gp_digest_equal(&record->manifest, of.manifest)) &&
                   (!store || !record->store || g_str_equal(record->store, store))) {
            g_ptr_array_add(bundles, g_strdup(record->bundle));
        }
    }
    return g_steal_pointer(&bundles);
}
