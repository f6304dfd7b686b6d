#include "puller/worker_header.h"

#include <curl/curl.h>
#include <jansson.h>

#include "base/json.h"
#include "base/limits.h"
#include "puller/fetch_protocol.h"

gboolean gp_decimal_parse(const char *text, guint64 *value)
{
    return g_ascii_isdigit(text[0]) && g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, value, NULL);
}

gboolean gp_content_range_parse(const char *field, guint64 *start, guint64 *end, guint64 *total)
{
    if (g_ascii_strncasecmp(field, "bytes ", 6) != 0)
        return FALSE;
    g_auto(GStrv) halves = g_strsplit(field + 6, "/", 3);
    if (g_strv_length(halves) != 2)
        return FALSE;
    g_auto(GStrv) range = g_strsplit(halves[0], "-", 3);
    return g_strv_length(range) == 2 && gp_decimal_parse(range[0], start) && gp_decimal_parse(range[1], end) &&
           gp_decimal_parse(halves[1], total) && *start <= *end && *end < *total;
}

guint gp_retry_after_parse(const char *field, gint64 now, guint max)
{
    guint64 seconds;
    if (gp_decimal_parse(field, &seconds))
        return (guint) MIN(seconds, max);
    gint64 date = curl_getdate(field, NULL);
    return date > now ? (guint) MIN((guint64) (date - now), max) : 0;
}

/* TRUE if the parameters of one link, ";" first, name the relation "next". */
static gboolean is_next(const char *parameters, gsize length)
{
    g_autofree char *text = g_ascii_strdown(parameters, (gssize) length);
    g_auto(GStrv) each = g_strsplit(text, ";", -1);
    for (char **one = each; *one; one++) {
        g_strstrip(*one);
        if (strcmp(*one, "rel=next") == 0 || strcmp(*one, "rel=\"next\"") == 0)
            return TRUE;
    }
    return FALSE;
}

char *gp_link_next_query(const char *field)
{
    for (const char *open = strchr(field, '<'), *close; open && (close = strchr(open, '>'));
         open = strchr(close, '<')) {
        gsize length = strcspn(close + 1, ",");
        if (!is_next(close + 1, length))
            continue;
        g_autofree char *target = g_strndup(open + 1, (gsize) (close - open - 1));
        target[strcspn(target, "#")] = '\0';
        const char *query = strchr(target, '?');
        return query && gp_fetch_is_page(query + 1) ? g_strdup(query + 1) : NULL;
    }
    return NULL;
}

char *gp_registry_error_parse(const void *body, gsize length, char **code)
{
    g_autoptr(json_t) document = gp_json_parse(body, length, GP_LIMIT_FETCH_REPLY, "error", NULL);
    const json_t *first = json_array_get(json_object_get(document, "errors"), 0);
    const char *name = json_string_value(json_object_get(first, "code"));
    const char *message = json_string_value(json_object_get(first, "message"));
    if (!name)
        return NULL;
    if (code)
        *code = g_strdup(name);
    return g_strdup_printf("%.100s%s%.500s", name, message ? ": " : "", message ? message : "");
}
