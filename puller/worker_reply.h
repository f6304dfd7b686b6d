/* The last word about a request, as fetch_protocol.h describes it. */
#pragma once

#include <glib.h>

/* Writes the reply frame to @fd. @next: query of the next page, or NULL. @untold: exchanges that
 * the puller was not told about. @error NULL: success. Texts are cut and made
 * valid UTF-8; whoever shows them escapes them. What cannot be written is not: the puller takes silence for our death,
 * which it then is as good as. */
void gp_reply_write(
    int fd, int status, guint64 bytes, const char *content_type, const char *next, guint untold, const GError *error);
