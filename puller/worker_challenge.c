#include "puller/worker_challenge.h"

#include "base/error.h"

#define MAX_FIELD 8192
#define MAX_CHALLENGES 16

static void challenge_free(gpointer data)
{
    GpChallenge *challenge = data;
    g_free(challenge->scheme);
    g_free(challenge->realm);
    g_free(challenge->service);
    g_free(challenge);
}

GPtrArray *gp_challenges_new(void)
{
    return g_ptr_array_new_with_free_func(challenge_free);
}

static gboolean is_token_char(char c)
{
    return g_ascii_isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_blanks(const char **at)
{
    *at += strspn(*at, " \t");
}

static char *take_token(const char **at)
{
    const char *start = *at;
    while (is_token_char(**at))
        (*at)++;
    return *at > start ? g_strndup(start, (gsize) (*at - start)) : NULL;
}

/* RFC 9110 5.6.4; @at stands behind the opening quote. NULL when it does not close. */
static char *take_quoted(const char **at)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (; **at && **at != '"'; (*at)++) {
        if (**at == '\\' && *++*at == '\0')
            return NULL;
        g_string_append_c(text, **at);
    }
    if (**at != '"')
        return NULL;
    (*at)++;
    return g_strdup(text->str);
}

static gboolean fail(GError **error, const char *why)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "WWW-Authenticate: %s", why);
    return FALSE;
}

/* "name = value" with @at at the equals sign. Takes @name's meaning into @challenge. */
static gboolean take_parameter(const char **at, const char *name, GpChallenge *challenge, GError **error)
{
    (*at)++;
    skip_blanks(at);
    g_autofree char *value = NULL;
    if (**at == '"') {
        (*at)++;
        value = take_quoted(at);
    } else {
        value = take_token(at);
    }
    if (!value)
        return fail(error, "a parameter without a proper value");
    char **place = g_ascii_strcasecmp(name, "realm") == 0     ? &challenge->realm
                   : g_ascii_strcasecmp(name, "service") == 0 ? &challenge->service
                                                              : NULL;
    if (place && *place)
        return fail(error, "a parameter occurs twice");
    if (place)
        *place = g_steal_pointer(&value);
    return TRUE;
}

/* Behind a scheme: a token68 (RFC 9110 11.2) ends at a comma or the end, where a parameter has a value. Skips it. */
static void skip_token68(const char **at)
{
    const char *p = *at;
    while (g_ascii_isalnum(*p) || (*p && strchr("-._~+/", *p)))
        p++;
    p += strspn(p, "=");
    const char *end = p + strspn(p, " \t");
    if (p > *at && (*end == ',' || *end == '\0') && p[-1] == '=')
        *at = end;
}

gboolean gp_challenges_parse(const char *field, GPtrArray *challenges, GError **error)
{
    if (strlen(field) > MAX_FIELD)
        return fail(error, "too long");
    GpChallenge *current = NULL;
    const char *at = field;
    for (;;) {
        at += strspn(at, " \t,");
        if (*at == '\0')
            return TRUE;
        g_autofree char *word = take_token(&at);
        if (!word)
            return fail(error, "neither a scheme nor a parameter");
        const char *behind = at;
        skip_blanks(&behind);
        if (*behind == '=' && current) {
            at = behind;
            if (!take_parameter(&at, word, current, error))
                return FALSE;
            skip_blanks(&at);
            if (*at != '\0' && *at != ',')
                return fail(error, "parameters without a comma between them");
            continue;
        }
        if (*behind != '\0' && *behind != ',' && behind == at)
            return fail(error, "neither a scheme nor a parameter");
        if (challenges->len >= MAX_CHALLENGES)
            return fail(error, "too many challenges");
        current = g_new0(GpChallenge, 1);
        current->scheme = g_ascii_strdown(word, -1);
        g_ptr_array_add(challenges, current);
        at = behind;
        skip_token68(&at);
    }
}

const GpChallenge *gp_challenges_choose(const GPtrArray *challenges)
{
    const GpChallenge *basic = NULL;
    for (guint i = 0; i < challenges->len; i++) {
        const GpChallenge *challenge = challenges->pdata[i];
        if (strcmp(challenge->scheme, "bearer") == 0 && challenge->realm)
            return challenge;
        if (strcmp(challenge->scheme, "basic") == 0 && !basic)
            basic = challenge;
    }
    return basic;
}
