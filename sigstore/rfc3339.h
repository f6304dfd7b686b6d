/* Times as trusted roots write them (RFC 3339 §5.6). */
#pragma once

#include <glib.h>

/* Seconds since 1970, fractions of a second cut off. FALSE for anything but one complete date-time with its offset. */
gboolean gp_rfc3339_parse(const char *text, gint64 *seconds);
