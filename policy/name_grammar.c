#include "policy/name_grammar.h"

static gboolean is_lower_alphanumeric(char c)
{
    return g_ascii_islower(c) || g_ascii_isdigit(c);
}

static gboolean is_label(const char *text, gsize length)
{
    if (length == 0 || text[0] == '-' || text[length - 1] == '-')
        return FALSE;
    for (gsize i = 0; i < length; i++)
        if (!g_ascii_isalnum(text[i]) && text[i] != '-')
            return FALSE;
    return TRUE;
}

/* Labels joined by single dots; no dot at either end. */
static gboolean is_host_name(const char *text, gsize length)
{
    gsize start = 0;
    for (gsize i = 0; i <= length; i++) {
        if (i < length && text[i] != '.')
            continue;
        if (!is_label(text + start, i - start))
            return FALSE;
        start = i + 1;
    }
    return TRUE;
}

static gboolean is_bracketed_ipv6(const char *text, gsize length)
{
    if (length < 4 || text[0] != '[' || text[length - 1] != ']')
        return FALSE;
    for (gsize i = 1; i < length - 1; i++)
        if (!g_ascii_isxdigit(text[i]) && text[i] != ':')
            return FALSE;
    return TRUE;
}

static gboolean is_port(const char *text, gsize length)
{
    guint value = 0;
    if (length == 0 || length > 5 || text[0] == '0')
        return FALSE;
    for (gsize i = 0; i < length; i++) {
        if (!g_ascii_isdigit(text[i]))
            return FALSE;
        value = value * 10 + (guint) (text[i] - '0');
    }
    return value <= 65535;
}

gboolean gp_is_domain(const char *text, gsize length)
{
    gsize host = length;
    for (gsize i = length; i > 0 && text[i - 1] != ']'; i--)
        if (text[i - 1] == ':')
            host = i - 1;
    if (host < length && !is_port(text + host + 1, length - host - 1))
        return FALSE;
    return text[0] == '[' ? is_bracketed_ipv6(text, host) : is_host_name(text, host);
}

/* The length of the separator at @text: one '.', one or two '_', any number of '-'; 0 if there is none. */
static gsize separator_length(const char *text, gsize length)
{
    gsize run = 0;
    if (length == 0)
        return 0;
    while (run < length && text[run] == text[0])
        run++;
    if (text[0] == '-')
        return run;
    if (text[0] == '.')
        return run == 1 ? 1 : 0;
    return text[0] == '_' && run <= 2 ? run : 0;
}

static gboolean is_path_component(const char *text, gsize length)
{
    gsize i = 0;
    for (;;) {
        gsize start = i;
        while (i < length && is_lower_alphanumeric(text[i]))
            i++;
        if (i == start)
            return FALSE;
        if (i == length)
            return TRUE;
        gsize separator = separator_length(text + i, length - i);
        if (separator == 0)
            return FALSE;
        i += separator;
    }
}

gboolean gp_is_repository_path(const char *text, gsize length)
{
    gsize start = 0;
    for (gsize i = 0; i <= length; i++) {
        if (i < length && text[i] != '/')
            continue;
        if (!is_path_component(text + start, i - start))
            return FALSE;
        start = i + 1;
    }
    return TRUE;
}

gboolean gp_is_tag(const char *text, gsize length)
{
    if (length == 0 || length > 128 || text[0] == '.' || text[0] == '-')
        return FALSE;
    for (gsize i = 0; i < length; i++)
        if (!g_ascii_isalnum(text[i]) && text[i] != '_' && text[i] != '.' && text[i] != '-')
            return FALSE;
    return TRUE;
}

gboolean gp_names_a_domain(const char *text, gsize length)
{
    for (gsize i = 0; i < length; i++)
        if (text[i] == '.' || text[i] == ':')
            return TRUE;
    return length == strlen("localhost") && strncmp(text, "localhost", length) == 0;
}
