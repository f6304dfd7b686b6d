/* Single header fields that the fetch worker acts upon, parsed strictly. */
#pragma once

#include <glib.h>

/* "bytes START-END/TOTAL" (RFC 9110 14.4); FALSE for anything else, an unknown total too. */
gboolean gp_content_range_parse(const char *field, guint64 *start, guint64 *end, guint64 *total);

/* Retry-After (RFC 9110 10.2.3), seconds or a date, as seconds from @now (Unix time); 0 for anything else. At most
 * @max. */
guint gp_retry_after_parse(const char *field, gint64 now, guint max);

/* The query of the target of the first link with relation "next" in a Link field (RFC 8288), as distribution-spec pages
 * its lists; NULL when there is none or it has characters that no query has. Where else the link points is not looked
 * at: the next page is asked for where the first one was. Owned by the caller. */
char *gp_link_next_query(const char *field);

/* Only decimal digits, no sign, no blank. */
gboolean gp_decimal_parse(const char *text, guint64 *value);

/* The bare text of a registry's {"errors":[{"code","message"}]} in @body, "CODE: message", or NULL. *@code (may be
 * NULL) gets the first code. Both the caller's; they are the registry's words, to be escaped before anybody reads them.
 */
char *gp_registry_error_parse(const void *body, gsize length, char **code);
