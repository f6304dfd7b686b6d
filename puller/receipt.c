#include "puller/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"

#define DIRECTORY "receipts"
#define SUFFIX ".json"

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Names begin with the time, so their order is that of the pulls. Files of writers that were killed are here too. */
static GPtrArray *list(const char *directory, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, &cause);
    if (!dir && !g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "receipts: %s", cause->message);
        return NULL;
    }
    const char *name;
    while (dir && (name = g_dir_read_name(dir)))
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_name);
    return g_steal_pointer(&names);
}

/* Others may be at it at the same time: what is gone already is fine. */
static gboolean remove_oldest(const char *directory, GError **error)
{
    g_autoptr(GPtrArray) names = list(directory, error);
    if (!names)
        return FALSE;
    for (guint i = 0; i + GP_LIMIT_RECEIPTS < names->len; i++) {
        g_autofree char *path = g_build_filename(directory, names->pdata[i], NULL);
        (void) unlink(path);
    }
    return TRUE;
}

char *gp_receipt_write(const char *runtime_dir, const json_t *receipt, GError **error)
{
    g_autofree char *directory = g_build_filename(runtime_dir, DIRECTORY, NULL);
    if (!gp_mkdir_p(directory, 0700, error))
        return NULL;
    gint64 now = g_get_real_time();
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(now / G_USEC_PER_SEC);
    g_autofree char *seconds = g_date_time_format(time, "%Y%m%dT%H%M%S");
    g_autofree char *name =
        g_strdup_printf("%s.%06dZ-%d" SUFFIX, seconds, (int) (now % G_USEC_PER_SEC), (int) getpid());
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *text = gp_json_to_text(receipt, FALSE);
    g_autoptr(GError) cause = NULL;
    if (!g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &cause)) {
        GpErrorCode code =
            g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? GP_ERROR_SPACE : GP_ERROR_INTERNAL;
        g_set_error(error, GP_ERROR, (int) code, "receipt: %s", cause->message);
        return NULL;
    }
    if (!remove_oldest(directory, error)) {
        (void) unlink(path);
        return NULL;
    }
    return g_steal_pointer(&path);
}

static json_t *read_one(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = gp_read_file(AT_FDCWD, path, GP_LIMIT_RECEIPT, "receipt", &error);
    gsize length = 0;
    const void *data = bytes ? g_bytes_get_data(bytes, &length) : NULL;
    json_t *receipt = bytes ? gp_json_parse(data, length, GP_LIMIT_RECEIPT, "receipt", &error) : NULL;
    if (!json_is_object(receipt)) {
        json_decref(receipt);
        receipt = json_pack("{s:s}", "error", error ? error->message : "not a receipt");
    }
    json_object_set_new(receipt, "file", json_string(path));
    return receipt;
}

json_t *gp_receipts_read(const char *runtime_dir, GError **error)
{
    g_autofree char *directory = g_build_filename(runtime_dir, DIRECTORY, NULL);
    g_autoptr(GPtrArray) names = list(directory, error);
    if (!names)
        return NULL;
    json_t *all = json_array();
    for (guint i = 0; i < names->len; i++) {
        if (!g_str_has_suffix(names->pdata[i], SUFFIX))
            continue;
        g_autofree char *path = g_build_filename(directory, names->pdata[i], NULL);
        if (access(path, F_OK) == 0 || errno != ENOENT)
            json_array_append_new(all, read_one(path));
    }
    return all;
}
