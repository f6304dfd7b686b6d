#include "sigstore/refusal.h"

#include "base/error.h"

gboolean gp_refuse(GError **error, const char *word, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "%s: %s", word, text);
    return FALSE;
}

gboolean gp_refuse_cause(GError **error, const char *word, GError *cause)
{
    g_autoptr(GError) owned = cause;
    return gp_refuse(error, g_error_matches(owned, GP_ERROR, GP_ERROR_LIMIT) ? "limit" : word, "%s", owned->message);
}
