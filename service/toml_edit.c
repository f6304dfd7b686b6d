#include "service/toml_edit.h"

#include <string.h>

#include "base/error.h"

#define MAX_DEPTH 64

typedef struct {
    const char *start, *at, *end;
    GError **error;
} Scan;

static gboolean fail(Scan *scan, const char *what)
{
    guint line = 1;
    for (const char *c = scan->start; c < scan->at && c < scan->end; c++)
        line += *c == '\n';
    g_set_error(scan->error, GP_ERROR, GP_ERROR_USAGE, "line %u: %s", line, what);
    return FALSE;
}

static gboolean looking_at(const Scan *scan, const char *text)
{
    gsize length = strlen(text);
    return (gsize) (scan->end - scan->at) >= length && memcmp(scan->at, text, length) == 0;
}

static void skip_blanks(Scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t'))
        scan->at++;
}

/* To the next line feed, which stays. */
static void skip_comment(Scan *scan)
{
    while (scan->at < scan->end && *scan->at != '\n')
        scan->at++;
}

/* The rest of a line behind a statement: blanks, a comment, the line's end. */
static gboolean finish_line(Scan *scan)
{
    skip_blanks(scan);
    if (scan->at < scan->end && *scan->at == '#')
        skip_comment(scan);
    if (looking_at(scan, "\r\n"))
        scan->at++;
    if (scan->at == scan->end)
        return TRUE;
    if (*scan->at != '\n')
        return fail(scan, "something follows the statement");
    scan->at++;
    return TRUE;
}

/* A string of any of the four kinds. */
static gboolean skip_string(Scan *scan)
{
    char quote = *scan->at;
    const char *triple = quote == '"' ? "\"\"\"" : "\'\'\'";
    gboolean multi_line = looking_at(scan, triple);
    scan->at += multi_line ? 3 : 1;
    while (scan->at < scan->end) {
        if (quote == '"' && *scan->at == '\\') {
            scan->at += 2;
        } else if (multi_line && looking_at(scan, triple)) {
            scan->at += 3;
            /* Up to two quotes may stand before the three that close. */
            for (int i = 0; i < 2 && scan->at < scan->end && *scan->at == quote; i++)
                scan->at++;
            return TRUE;
        } else if (!multi_line && *scan->at == quote) {
            scan->at++;
            return TRUE;
        } else if (!multi_line && *scan->at == '\n') {
            break;
        } else {
            scan->at++;
        }
    }
    scan->at = MIN(scan->at, scan->end);
    return fail(scan, "a string without an end");
}

/* One part of a dotted key; its text into *@name, owned by the caller. */
static gboolean read_key_part(Scan *scan, char **name)
{
    const char *from = scan->at;
    if (scan->at < scan->end && (*scan->at == '"' || *scan->at == '\'')) {
        if (!skip_string(scan))
            return FALSE;
        *name = g_strndup(from + 1, (gsize) (scan->at - from) - 2);
        if ((*from == '"' && strchr(*name, '\\')) || strchr(*name, '\n'))
            return fail(scan, "a key with escapes, which is not understood here");
        return TRUE;
    }
    while (scan->at < scan->end && (g_ascii_isalnum(*scan->at) || *scan->at == '_' || *scan->at == '-'))
        scan->at++;
    if (scan->at == from)
        return fail(scan, "a key or a [table] was expected");
    *name = g_strndup(from, (gsize) (scan->at - from));
    return TRUE;
}

/* A dotted key; its first part into *@first, owned by the caller. */
static gboolean read_key(Scan *scan, char **first)
{
    for (;;) {
        g_autofree char *part = NULL;
        skip_blanks(scan);
        if (!read_key_part(scan, &part))
            return FALSE;
        if (!*first)
            *first = g_steal_pointer(&part);
        skip_blanks(scan);
        if (scan->at == scan->end || *scan->at != '.')
            return TRUE;
        scan->at++;
    }
}

/* A value, up to where its line goes on. */
static gboolean skip_value(Scan *scan)
{
    const char *from = scan->at;
    int depth = 0;
    while (scan->at < scan->end) {
        char c = *scan->at;
        if (depth == 0 && (c == '\n' || c == '#' || looking_at(scan, "\r\n")))
            break;
        if (c == '"' || c == '\'') {
            if (!skip_string(scan))
                return FALSE;
            continue;
        }
        if (c == '#') {
            skip_comment(scan);
            continue;
        }
        if ((c == '[' || c == '{') && ++depth > MAX_DEPTH)
            return fail(scan, "nested too deeply");
        if ((c == ']' || c == '}') && --depth < 0)
            return fail(scan, "a bracket that closes nothing");
        scan->at++;
    }
    if (depth > 0)
        return fail(scan, "a bracket that is not closed");
    return scan->at > from || fail(scan, "a value was expected");
}

/* "[a.b]" or "[[a.b]]", to the end of its line; *@first as in read_key(). */
static gboolean read_header(Scan *scan, char **first)
{
    gboolean array = looking_at(scan, "[[");
    const char *close = array ? "]]" : "]";
    scan->at += array ? 2 : 1;
    if (!read_key(scan, first))
        return FALSE;
    if (!looking_at(scan, close))
        return fail(scan, "a [table] that is not closed");
    scan->at += strlen(close);
    return finish_line(scan);
}

static gboolean read_assignment(Scan *scan, char **first)
{
    if (!read_key(scan, first))
        return FALSE;
    if (scan->at == scan->end || *scan->at != '=')
        return fail(scan, "= was expected");
    scan->at++;
    skip_blanks(scan);
    return skip_value(scan) && finish_line(scan);
}

/* Blank lines and comments before a statement. TRUE if a statement follows. */
static gboolean skip_to_statement(Scan *scan)
{
    while (scan->at < scan->end) {
        if (*scan->at == '#')
            skip_comment(scan);
        else if (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r')
            scan->at++;
        else
            return TRUE;
    }
    return FALSE;
}

char *gp_toml_without(const char *text, gsize length, const char *const *names, GError **error)
{
    Scan scan = {text, text, text + length, error};
    if (length > 0 && memchr(text, '\0', length)) {
        fail(&scan, "a NUL byte");
        return NULL;
    }
    if (looking_at(&scan, "\xef\xbb\xbf"))
        scan.at += 3;
    g_autoptr(GString) out = g_string_new(NULL);
    gboolean in_table = FALSE, drop_table = FALSE;
    while (skip_to_statement(&scan)) {
        const char *from = scan.at;
        g_autofree char *first = NULL;
        gboolean header = *from == '[';
        if (!(header ? read_header(&scan, &first) : read_assignment(&scan, &first)))
            return NULL;
        if (header) {
            in_table = TRUE;
            drop_table = g_strv_contains(names, first);
        }
        gboolean drop = drop_table || (!in_table && g_strv_contains(names, first));
        if (!drop)
            g_string_append_len(out, from, scan.at - from);
    }
    if (out->len > 0 && out->str[out->len - 1] != '\n')
        g_string_append_c(out, '\n');
    return g_string_free(g_steal_pointer(&out), FALSE);
}
