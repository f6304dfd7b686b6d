#include "puller/lookaside_files.h"

#include <errno.h>

#include "base/error.h"
#include "base/limits.h"
#include "puller/resource.h"

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static GPtrArray *list_files(const char *directory, const char *ending, gboolean required, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, &cause);
    if (!dir && !required && g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return g_steal_pointer(&names);
    if (!dir) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: %s",
            ending[1] == 'y' ? "registries.d" : "registries configuration", cause->message);
        return NULL;
    }
    const char *name;
    while ((name = g_dir_read_name(dir)))
        if (g_str_has_suffix(name, ending))
            g_ptr_array_add(names, g_build_filename(directory, name, NULL));
    g_ptr_array_sort(names, by_name);
    return g_steal_pointer(&names);
}

GpLookaside *gp_lookaside_load(const char *directory, gboolean required, GError **error)
{
    g_autofree char *absolute = g_canonicalize_filename(directory, NULL);
    g_autoptr(GPtrArray) names = list_files(absolute, ".yaml", required, error);
    if (!names)
        return NULL;
    g_autoptr(GpLookaside) lookaside = gp_lookaside_new();
    for (guint i = 0; i < names->len; i++) {
        const char *name = names->pdata[i];
        g_autoptr(GBytes) text = gp_resource_fetch(NULL, name, GP_LIMIT_REGISTRIES, "registries.d", error);
        if (!text || !gp_lookaside_add(lookaside, text, name, error))
            return NULL;
    }
    return g_steal_pointer(&lookaside);
}

GpRegistries *gp_registries_load(const char *directory, GError **error)
{
    g_autoptr(GPtrArray) names = list_files(directory, ".conf", TRUE, error);
    if (!names)
        return NULL;
    g_autoptr(GpRegistries) registries = gp_registries_new();
    for (guint i = 0; i < names->len; i++) {
        const char *name = names->pdata[i];
        g_autoptr(GBytes) text = gp_resource_fetch(NULL, name, GP_LIMIT_REGISTRIES, "registries configuration", error);
        if (!text || !gp_registries_add(registries, text, name, error))
            return NULL;
    }
    return g_steal_pointer(&registries);
}
