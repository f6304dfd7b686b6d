/* What the puller and the fetch worker say to each other; included by both, linked into neither.
 *
 * The worker's descriptor 3 is a SOCK_SEQPACKET socket. One message each way opens the conversation:
 *
 *   puller
 * {"plainHttp":[HOST…],"certDir":PATH?,"extraRoots":PEM?,"httpsProxy"?,"httpProxy"?,"noProxy"?,"timeout":SECONDS,"verbose":BOOL}
 *   worker   {"ready":true}  or  {"error":{"code","message"}}          (confined from here on)
 *
 * Then each request is one message with two descriptors, the writing ends of the body pipe and of the reply pipe:
 *
 *   {"kind":"manifest"|"blob"|"referrers"|"url", "scheme":"https"|"http", "host", "repository", "selector",  (not url)
 *    "url",                                             (url; blob, instead of these four: without credentials)
 *    "insecure": this host may be asked over plain http from now on (not url)
 *    "page": query of a further page                                                                 (referrers,
 * optional) "size": exact bytes (blob)  or  "maxBytes": ceiling (others), "username","password" | "identityToken"}
 * (optional)
 *
 * The worker writes the body into the first pipe and closes it. Into the second go frames: at most GP_LIMIT_EXCHANGES
 * of type GP_FETCH_FRAME_EXCHANGE, one whenever an HTTP exchange of the request is over (times in microseconds, "start"
 * since the request came; never waiting for room in the pipe), and then one of type GP_FETCH_FRAME_REPLY:
 *
 *   {"method","url": without query,"status": or 0,"bytes","start","took","token": of a token server,"error"?}
 *   {"status": last HTTP status or 0, "bytes": bytes delivered, "contentType"?, "next"?: query of the next page,
 *    "untold"?: exchanges without a frame, "error"?: {"code","message","hint"?}}
 *
 * Nothing is ever multiplexed, so several threads of the puller may ask at once. A reply pipe that ends empty means
 * that the worker died. The puller closes the body pipe to cancel.
 */
#pragma once

#include <glib.h>

#include "base/digest.h"

#define GP_FETCH_WORKER "guest-pull-fetch"
#define GP_FETCH_CONTROL_FD 3
#define GP_FETCH_FRAME_REPLY 1
#define GP_FETCH_FRAME_EXCHANGE 2
#define GP_FETCH_MESSAGE_MAX 2000 /* bytes of an error text */
#define GP_FETCH_PIPE_SIZE (1 << 20)
#define GP_FETCH_PAGE_MAX 2000 /* bytes of a page's query */

/* distribution-spec: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}. */
static inline gboolean gp_fetch_is_tag(const char *text)
{
    gsize length = strlen(text);
    for (const char *p = text; *p; p++)
        if (!g_ascii_isalnum(*p) && *p != '_' && (p == text || (*p != '.' && *p != '-')))
            return FALSE;
    return length >= 1 && length <= 128;
}

/* CVE-2024-3727: what enters a URL is a tag or a valid digest, nothing else. */
static inline gboolean gp_fetch_is_selector(const char *text)
{
    GpDigest digest;
    return gp_fetch_is_tag(text) || gp_digest_parse(text, &digest, NULL);
}

/* A URL's query (RFC 3986 §3.4), without what could end it: a registry's own words, given back to it. */
static inline gboolean gp_fetch_is_page(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr("-._~!$&'()*+,;=:@/?%", *p))
            return FALSE;
    return text[0] != '\0' && strlen(text) <= GP_FETCH_PAGE_MAX;
}

/* The characters of distribution-spec's <name> ([a-z0-9]+ with ._- between, parts joined by /), no empty part, no
 * leading dot. */
static inline gboolean gp_fetch_is_repository(const char *text)
{
    char before = '/';
    for (const char *p = text; *p; p++) {
        gboolean alnum = g_ascii_islower(*p) || g_ascii_isdigit(*p);
        if (!alnum && (!strchr("._-/", *p) || before == '/' || (*p == '/' && strchr("._-", before))))
            return FALSE;
        before = *p;
    }
    gsize length = strlen(text);
    return length > 0 && length <= 255 && !strchr("._-/", before);
}

/* A proxy's URL: http or socks, which need no certificates of their own; without a scheme it is http's. Its host may
 * have a user and a password before it. */
static inline gboolean gp_fetch_is_proxy(const char *text)
{
    static const char *const schemes[] = {"http://", "socks5://", "socks5h://", "socks4://", "socks4a://"};
    const char *rest = text;
    for (gsize i = 0; i < G_N_ELEMENTS(schemes); i++)
        if (g_ascii_strncasecmp(text, schemes[i], strlen(schemes[i])) == 0)
            rest = text + strlen(schemes[i]);
    for (const char *p = rest; *p; p++)
        if (!g_ascii_isgraph(*p) || strchr("\\\"<>?#", *p))
            return FALSE;
    return *rest && !strstr(rest, "//") && strlen(text) <= 1000;
}

/* "host", "host:port", "[v6]:port": nothing that could end the authority part of a URL early or carry a user name. */
static inline gboolean gp_fetch_is_host(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr(".-_:[]", *p))
            return FALSE;
    return text[0] != '\0' && strlen(text) <= 300;
}
