#include "base/error.h"

#include <errno.h>

static const GpErrorInfo table[GP_ERROR_N_CODES] = {
    [GP_ERROR_INTERNAL] = {"internal", 1, 13, FALSE},
    [GP_ERROR_USAGE] = {"usage", 2, 3, FALSE},
    [GP_ERROR_POLICY] = {"policy", 3, 7, FALSE},
    [GP_ERROR_SIGNATURE] = {"signature", 4, 7, FALSE},
    [GP_ERROR_DIGEST] = {"digest", 5, 15, FALSE},
    [GP_ERROR_AUTH] = {"auth", 6, 16, FALSE},
    [GP_ERROR_NOT_FOUND] = {"not-found", 7, 5, FALSE},
    [GP_ERROR_NETWORK] = {"network", 8, 14, TRUE},
    [GP_ERROR_INVALID] = {"invalid", 9, 3, FALSE},
    [GP_ERROR_LIMIT] = {"limit", 10, 8, FALSE},
    [GP_ERROR_SPACE] = {"space", 11, 8, TRUE},
    [GP_ERROR_UNSUPPORTED] = {"unsupported", 12, 12, FALSE},
    [GP_ERROR_KEY] = {"key", 13, 9, FALSE},
    [GP_ERROR_SANDBOX] = {"sandbox", 14, 13, FALSE},
    [GP_ERROR_CANCELLED] = {"cancelled", 15, 4, TRUE},
};

GQuark gp_error_quark(void)
{
    return g_quark_from_static_string("guest-pull-error");
}

const GpErrorInfo *gp_error_info(int code)
{
    return &table[code >= 0 && code < GP_ERROR_N_CODES ? code : GP_ERROR_INTERNAL];
}

GpErrorCode gp_error_code(const GError *error)
{
    if (!error || error->domain != GP_ERROR || error->code < 0 || error->code >= GP_ERROR_N_CODES)
        return GP_ERROR_INTERNAL;
    return (GpErrorCode) error->code;
}

gboolean gp_error_code_from_name(const char *name, GpErrorCode *code)
{
    for (int i = 0; i < GP_ERROR_N_CODES; i++)
        if (g_strcmp0(name, table[i].name) == 0) {
            *code = (GpErrorCode) i;
            return TRUE;
        }
    return FALSE;
}

#define INTEGRITY "(integrity: what the disk gives is not what was written, or cannot be read)"

/* What reading a sector with a wrong tag comes to: dm-crypt says EILSEQ, filesystems make EIO of it. EBADMSG and
 * EUCLEAN are ext4's and XFS's own checksums and structures. */
static gboolean is_integrity(int err)
{
    return err == EIO || err == EILSEQ || err == EBADMSG || err == EUCLEAN;
}

void gp_set_errno(GError **error, int err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *context = g_strdup_vprintf(format, arguments);
    va_end(arguments);

    GpErrorCode code = err == ENOSPC || err == EDQUOT || err == ENOMEM ? GP_ERROR_SPACE
                       : err == EROFS                                  ? GP_ERROR_UNSUPPORTED
                                                                       : GP_ERROR_INTERNAL;
    g_autofree char *text = gp_errno_text(err);
    g_set_error(error, GP_ERROR, is_integrity(err) ? GP_ERROR_DIGEST : code, "%s: %s", context, text);
}

char *gp_errno_text(int err)
{
    return g_strconcat(g_strerror(err), is_integrity(err) ? " " INTEGRITY : "", NULL);
}

gboolean gp_error_is_integrity(const GError *error)
{
    return gp_error_code(error) == GP_ERROR_DIGEST && strstr(error->message, INTEGRITY);
}

void gp_error_split(const GError *error, char **message, char **hint)
{
    const char *line_end = strchr(error->message, '\n');
    *message = line_end ? g_strndup(error->message, (gsize) (line_end - error->message)) : g_strdup(error->message);
    *hint = line_end ? g_strdup(line_end + 1) : NULL;
}

/* Bidirectional controls can make a name read as another one (CVE-2021-42574). */
static gboolean is_deceptive(gunichar c)
{
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0x061c;
}

char *gp_escape(const char *text, gssize length, gsize max)
{
    gsize size = length < 0 ? strlen(text) : (gsize) length;
    GString *out = g_string_new(NULL);
    const char *end = text + size;
    while (text < end) {
        if (out->len >= max) {
            g_string_append(out, "…");
            break;
        }
        gunichar c = g_utf8_get_char_validated(text, end - text);
        if (c == (gunichar) -1 || c == (gunichar) -2 || c == 0) {
            g_string_append_printf(out, "\\x%02x", (unsigned) (guint8) *text++);
            continue;
        }
        if (c == '\\')
            g_string_append(out, "\\\\");
        else if (c < 0x80 && !g_ascii_isprint((char) c))
            g_string_append_printf(out, "\\x%02x", (unsigned) c);
        else if (!g_unichar_isprint(c) || is_deceptive(c))
            g_string_append_printf(out, "\\u{%04x}", (unsigned) c);
        else
            g_string_append_unichar(out, c);
        text = g_utf8_next_char(text);
    }
    return g_string_free(out, FALSE);
}
