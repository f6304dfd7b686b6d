/* libostree's errors are GIO's, which is loaded with it alone: nothing here is linked with GIO. */
#include <errno.h>
#include <gio/gio.h>

#include "base/error.h"

#define GIO_ERROR g_quark_from_static_string("g-io-error-quark") /* gio/gioerror.h: g_io_error_quark() */

/* The errno of a disk's error that @message tells; 0. GIO has no codes of its own for them, nor for ENOMEM. */
static int disk_error(const char *message)
{
    static const int numbers[] = {EIO, EILSEQ, EBADMSG, EUCLEAN};
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (strstr(message, g_strerror(numbers[i])))
            return numbers[i];
    return 0;
}

char *gp_foreign_text(const GError *foreign)
{
    int disk = gp_error_is_integrity(foreign) ? 0 : disk_error(foreign->message);
    g_autofree char *text = gp_errno_text(disk);
    return g_strconcat(foreign->message, disk ? text + strlen(g_strerror(disk)) : "", NULL);
}

void gp_propagate_foreign(GError **error, GError **foreign, GpErrorCode otherwise, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *context = g_strdup_vprintf(format, arguments);
    va_end(arguments);

    g_autoptr(GError) cause = g_steal_pointer(foreign);
    GpErrorCode code = otherwise;
    if (g_error_matches(cause, GIO_ERROR, G_IO_ERROR_NO_SPACE) || (cause && strstr(cause->message, g_strerror(ENOMEM))))
        code = GP_ERROR_SPACE;
    else if (g_error_matches(cause, GIO_ERROR, G_IO_ERROR_CANCELLED))
        code = GP_ERROR_CANCELLED;
    else if (g_error_matches(cause, GIO_ERROR, G_IO_ERROR_NOT_FOUND))
        code = GP_ERROR_NOT_FOUND;
    else if (cause && disk_error(cause->message))
        code = GP_ERROR_DIGEST;
    g_autofree char *text = cause ? gp_foreign_text(cause) : g_strdup("unknown error");
    g_set_error(error, GP_ERROR, code, "%s: %s", context, text);
}
