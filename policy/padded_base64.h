/* Base64 as policies and credentials carry it: the standard alphabet, padded, nothing else (RFC 4648 §4). */
#pragma once

#include <glib.h>

/* Decodes @text into *@length bytes and a NUL behind them; NULL unless encoding the result gives @text again, so that
 * line breaks, missing padding, the URL alphabet and unused bits are all refused. Nothing to decode is malformed too.
 * What is decoded may be secret: only the result holds a copy afterwards. Caller's, to be wiped if it matters. */
guint8 *gp_padded_base64_decode(const char *text, gsize *length);
