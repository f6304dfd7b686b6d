#include "puller/worker_url.h"

#include <curl/curl.h>

#include "base/error.h"

typedef CURLU Url;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Url, curl_url_cleanup)

static Url *parse(const char *url)
{
    g_autoptr(Url) handle = curl_url();
    if (!handle || curl_url_set(handle, CURLUPART_URL, url, CURLU_DISALLOW_USER) != CURLUE_OK)
        return NULL;
    return g_steal_pointer(&handle);
}

static char *part(Url *url, CURLUPart what, unsigned flags)
{
    char *text = NULL;
    if (curl_url_get(url, what, &text, flags) != CURLUE_OK)
        return NULL;
    char *copy = g_strdup(text);
    curl_free(text);
    return copy;
}

char *gp_url_origin(const char *url)
{
    g_autoptr(Url) handle = parse(url);
    if (!handle)
        return NULL;
    g_autofree char *scheme = part(handle, CURLUPART_SCHEME, 0);
    g_autofree char *host = part(handle, CURLUPART_HOST, 0);
    g_autofree char *port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    if (!scheme || !host || !port || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
        return NULL;
    g_autofree char *lower = g_ascii_strdown(host, -1);
    return g_strdup_printf("%s://%s:%s", scheme, lower, port);
}

static char *without_parts(const char *url, gboolean query)
{
    g_autoptr(Url) handle = parse(url);
    if (!handle)
        return NULL;
    if (query)
        (void) curl_url_set(handle, CURLUPART_QUERY, NULL, 0);
    (void) curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0);
    return part(handle, CURLUPART_URL, 0);
}

char *gp_url_show(const char *url)
{
    char *shown = without_parts(url, TRUE);
    return shown ? shown : g_strdup("(not a URL)");
}

char *gp_url_resolve(const char *base, const char *location)
{
    g_autoptr(Url) handle = parse(base);
    if (!handle || curl_url_set(handle, CURLUPART_URL, location, CURLU_DISALLOW_USER) != CURLUE_OK)
        return NULL;
    (void) curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0);
    g_autofree char *url = part(handle, CURLUPART_URL, 0);
    /* The last word on what it is has the function that everybody compares with. */
    g_autofree char *origin = url ? gp_url_origin(url) : NULL;
    return origin ? g_steal_pointer(&url) : NULL;
}

char *gp_url_add_query(const char *url, const char *name, const char *value)
{
    if (!value)
        return g_strdup(url);
    g_autoptr(Url) handle = parse(url);
    g_autofree char *pair = g_strdup_printf("%s=%s", name, value);
    if (!handle || curl_url_set(handle, CURLUPART_QUERY, pair, CURLU_APPENDQUERY | CURLU_URLENCODE) != CURLUE_OK)
        return NULL;
    return part(handle, CURLUPART_URL, 0);
}

gboolean gp_url_check_scheme(const char *url, char *const *plain_http, GError **error)
{
    g_autofree char *origin = gp_url_origin(url);
    if (!origin) {
        g_autofree char *shown = gp_url_show(url);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "not a proper http or https URL: %s", shown);
        return FALSE;
    }
    if (g_str_has_prefix(origin, "https://"))
        return TRUE;
    g_autoptr(Url) handle = parse(url);
    g_autofree char *host = part(handle, CURLUPART_HOST, 0);
    g_autofree char *port = part(handle, CURLUPART_PORT, 0);
    g_autofree char *place = g_strjoin(":", host, port, NULL);
    if (plain_http && g_strv_contains((const char *const *) plain_http, place))
        return TRUE;
    g_autofree char *shown = gp_url_show(url);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "%s: plain http is not allowed for %s\nIf this host is to be trusted with it: --plain-http %s", shown, place,
        place);
    return FALSE;
}

void gp_url_allow_plain_http(char ***plain_http, const char *host)
{
    if (*plain_http && g_strv_contains((const char *const *) *plain_http, host))
        return;
    guint length = *plain_http ? g_strv_length(*plain_http) : 0;
    *plain_http = g_renew(char *, *plain_http, length + 2);
    (*plain_http)[length] = g_strdup(host);
    (*plain_http)[length + 1] = NULL;
}
