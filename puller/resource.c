#include "puller/resource.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

/* Files of the measured guest may be links (certificates often are), unlike those of a hostile directory. */
static GBytes *read_local(const char *path, gsize max, const char *what, GError **error)
{
    char *real = realpath(path, NULL);
    g_autofree char *target = g_strdup(real ? real : path);
    free(real);
    g_autoptr(GError) cause = NULL;
    GBytes *bytes = gp_read_file(AT_FDCWD, target, max, what, &cause);
    if (bytes)
        return bytes;
    GpErrorCode code = cause->code == GP_ERROR_LIMIT ? GP_ERROR_LIMIT : GP_ERROR_KEY;
    g_set_error(error, GP_ERROR, code, "%s", cause->message);
    return NULL;
}

GBytes *gp_resource_fetch(const char *location, gsize max, const char *what, GError **error)
{
    if (g_str_has_prefix(location, "file:///"))
        return read_local(location + strlen("file://"), max, what, error);
    if (location[0] == '/')
        return read_local(location, max, what, error);
    g_autofree char *shown = gp_escape(location, -1, 512);
    if (g_str_has_prefix(location, "kbs:")) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_KEY, "%s: %s: no KBS can be reached from here\nUse a file instead.", what, shown);
        return NULL;
    }
    g_set_error(
        error, GP_ERROR, GP_ERROR_USAGE, "%s: %s: neither an absolute path nor a file:/// or kbs:/// URI", what, shown);
    return NULL;
}
