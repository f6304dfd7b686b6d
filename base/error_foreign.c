/* Apart from error.c: only who has libostree's or GIO's errors to translate is linked with GIO; the workers are not. */
#include <errno.h>
#include <gio/gio.h>

#include "base/error.h"

/* The errno of a disk's error that @message tells; 0. GIO has no codes of its own for them. */
static int disk_error(const char *message)
{
    static const int numbers[] = {EIO, EILSEQ, EBADMSG, EUCLEAN};
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (strstr(message, g_strerror(numbers[i])))
            return numbers[i];
    return 0;
}

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
    int disk = cause ? disk_error(cause->message) : 0;
    if (disk)
        gp_set_errno(error, disk, "%s: %s", context, cause->message);
    else
        g_set_error(error, GP_ERROR, code, "%s: %s", context, cause ? cause->message : "unknown error");
}
