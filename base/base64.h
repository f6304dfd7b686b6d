/* Base64 with the standard alphabet and padding (RFC 4648 §4), strictly: no other characters, no missing padding, no
 * text behind the padding, no unused bits that are not zero (§3.5), so that bytes have one spelling. Nothing to decode
 * is malformed too. */
#pragma once

#include <glib.h>

/* Decodes @length bytes at @text as signatures carry it: line breaks are skipped, because some producers wrap their
 * lines. NULL if malformed. */
GBytes *gp_base64_decode(const char *text, gsize length);

/* Decodes @text as policies and credentials carry it: line breaks are refused as well. *@length bytes and a NUL behind
 * them; NULL if malformed. What is decoded may be secret: only the result holds a copy afterwards. Caller's, to be
 * wiped if it matters. */
guint8 *gp_base64_decode_exact(const char *text, gsize *length);
