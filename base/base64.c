#include "base/base64.h"

#include <string.h>

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Writes at most @length / 4 * 3 + 3 bytes to @out; *@size of them. */
static gboolean decode(const char *text, gsize length, gboolean skip_breaks, guint8 *out, gsize *size)
{
    guint32 bits = 0;
    gsize digits = 0, padding = 0, used = 0;
    for (gsize i = 0; i < length; i++) {
        char c = text[i];
        if (skip_breaks && (c == '\n' || c == '\r'))
            continue;
        if (c == '=') {
            padding++;
            continue;
        }
        int value = value_of(c);
        if (value < 0 || padding > 0)
            return FALSE;
        bits = (bits << 6) | (guint32) value;
        if (++digits % 4 == 0) {
            out[used++] = (guint8) (bits >> 16);
            out[used++] = (guint8) (bits >> 8);
            out[used++] = (guint8) bits;
            bits = 0;
        }
    }
    gsize rest = digits % 4;
    if (digits == 0 || rest == 1 || padding != (4 - rest) % 4)
        return FALSE;
    guint unused = rest == 2 ? 4 : rest == 3 ? 2 : 0;
    if (bits & ((1u << unused) - 1))
        return FALSE;
    bits >>= unused;
    if (rest == 3)
        out[used++] = (guint8) (bits >> 8);
    if (rest != 0)
        out[used++] = (guint8) bits;
    *size = used;
    return TRUE;
}

GBytes *gp_base64_decode(const char *text, gsize length)
{
    gsize size = 0;
    guint8 *out = g_malloc(length / 4 * 3 + 3);
    if (decode(text, length, TRUE, out, &size))
        return g_bytes_new_take(out, size);
    g_free(out);
    return NULL;
}

guint8 *gp_base64_decode_exact(const char *text, gsize *length)
{
    gsize capacity = strlen(text) / 4 * 3 + 3;
    guint8 *out = g_malloc0(capacity + 1);
    if (decode(text, strlen(text), FALSE, out, length))
        return out;
    explicit_bzero(out, capacity);
    g_free(out);
    return NULL;
}
