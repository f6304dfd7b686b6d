/* Apart from error.c: only who has libostree's or GIO's errors to translate is linked with GIO; the workers are not. */
#include <gio/gio.h>

#include "base/error.h"

void gp_propagate_foreign(GError **error, GError **foreign, GpErrorCode otherwise, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *context = g_strdup_vprintf(format, arguments);
    va_end(arguments);

    g_autoptr(GError) cause = g_steal_pointer(foreign);
    GpErrorCode code = otherwise;
    if (g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_NO_SPACE))
        code = GP_ERROR_SPACE;
    else if (g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        code = GP_ERROR_CANCELLED;
    else if (g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
        code = GP_ERROR_NOT_FOUND;
    g_set_error(error, GP_ERROR, code, "%s: %s", context, cause ? cause->message : "unknown error");
}
