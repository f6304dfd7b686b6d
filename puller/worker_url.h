/* URLs as the fetch worker handles them, over libcurl's parser, so that what is checked is what is asked. */
#pragma once

#include <glib.h>

/* "scheme://host:port", lower case, the port always written; NULL when @url is not an http or https URL, carries a user
 * name, or does not parse. Two URLs belong to the same server exactly when their origins are equal. Owned by the
 * caller. */
char *gp_url_origin(const char *url);

/* @url without query and fragment, which may hold secrets: for messages. Owned by the caller; "(not a URL)" at worst.
 */
char *gp_url_show(const char *url);

/* @location (absolute or relative) seen from @base, without fragment. Owned by the caller; NULL if it is no proper URL.
 */
char *gp_url_resolve(const char *base, const char *location);

/* @url with "name=value" appended to its query, encoded. Owned by the caller. NULL value: @url as it is. */
char *gp_url_add_query(const char *url, const char *name, const char *value);

/* May @url be asked? https always; http only for a "HOST[:PORT]" that stands, exactly as written, in @plain_http.
 * Errors: INVALID, with the option to use as hint. */
gboolean gp_url_check_scheme(const char *url, char *const *plain_http, GError **error);

/* Adds @host to the list, if it is not there: the puller says of it that plain http is all right, which its redirects
 * and token servers must know too. */
void gp_url_allow_plain_http(char ***plain_http, const char *host);
