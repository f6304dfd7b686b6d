#include "puller/config_kernel.h"

/* The next word of *@at, without its quotes; NULL at the end. Caller's. */
static char *next_word(const char **at)
{
    const char *p = *at;
    while (g_ascii_isspace(*p))
        p++;
    if (!*p)
        return NULL;
    GString *word = g_string_new(NULL);
    gboolean quoted = FALSE;
    for (; *p && (quoted || !g_ascii_isspace(*p)); p++) {
        if (*p == '"')
            quoted = !quoted;
        else
            g_string_append_c(word, *p);
    }
    *at = p;
    return g_string_free(word, FALSE);
}

char *gp_kernel_parameter(const char *text, const char *key)
{
    gsize length = strlen(key);
    char *value = NULL;
    for (;;) {
        g_autofree char *word = next_word(&text);
        if (!word)
            return value;
        if (strncmp(word, key, length) != 0 || (word[length] != '=' && word[length] != '\0'))
            continue;
        g_free(value);
        value = g_strdup(word[length] ? word + length + 1 : "");
    }
}
