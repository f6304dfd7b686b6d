#include "policy/padded_base64.h"

guint8 *gp_padded_base64_decode(const char *text, gsize *length)
{
    gsize text_length = strlen(text);
    if (text_length == 0)
        return NULL;
    /* g_base64_decode() would leave it to its callers to add the NUL; its buffer is also larger than what it says. */
    gint state = 0;
    guint save = 0;
    gsize size = text_length / 4 * 3 + 4;
    guint8 *data = g_malloc0(size);
    *length = g_base64_decode_step(text, text_length, data, &state, &save);
    g_autofree char *again = g_base64_encode(data, *length);
    gboolean same = strcmp(again, text) == 0;
    explicit_bzero(again, strlen(again));
    if (same && *length > 0)
        return data;
    explicit_bzero(data, size);
    g_free(data);
    return NULL;
}
