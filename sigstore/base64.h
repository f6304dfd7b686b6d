/* Base64 as signatures carry it: the standard alphabet with padding (RFC 4648 §4). */
#pragma once

#include <glib.h>

/* Decodes @length bytes at @text; line breaks are skipped, because some producers wrap their lines. NULL for anything
 * else: other characters, missing padding, text behind the padding, unused bits that are not zero (RFC 4648 §3.5).
 * Nothing to decode is malformed too. */
GBytes *gp_base64_decode(const char *text, gsize length);
