#include "sigstore/base64.h"

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

GBytes *gp_base64_decode(const char *text, gsize length)
{
    g_autoptr(GByteArray) out = g_byte_array_sized_new((guint) MIN(length / 4 * 3 + 3, G_MAXUINT));
    guint32 bits = 0;
    guint digits = 0, padding = 0;
    for (gsize i = 0; i < length; i++) {
        char c = text[i];
        if (c == '\n' || c == '\r')
            continue;
        if (c == '=') {
            padding++;
            continue;
        }
        int value = value_of(c);
        if (value < 0 || padding > 0)
            return NULL;
        bits = (bits << 6) | (guint32) value;
        if (++digits % 4 == 0) {
            guint8 three[3] = {(guint8) (bits >> 16), (guint8) (bits >> 8), (guint8) bits};
            g_byte_array_append(out, three, sizeof three);
            bits = 0;
        }
    }
    guint rest = digits % 4;
    if (digits == 0 || rest == 1 || padding != (4 - rest) % 4)
        return NULL;
    guint unused = rest == 2 ? 4 : rest == 3 ? 2 : 0;
    if (bits & ((1u << unused) - 1))
        return NULL;
    bits >>= unused;
    if (rest == 2)
        g_byte_array_append(out, (guint8[]){(guint8) bits}, 1);
    else if (rest == 3)
        g_byte_array_append(out, (guint8[]){(guint8) (bits >> 8), (guint8) bits}, 2);
    return g_byte_array_free_to_bytes(g_steal_pointer(&out));
}
