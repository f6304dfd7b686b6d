/* FUZZ_LIBS: policy base
 * Patterns of keyless identities, "PATTERN\nTEXT": a legal pattern matches what its stars are filled with, and agrees
 * with the obvious slow matcher about everything else. */
#include "base/error.h"
#include "policy/signer_rule.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

/* By the words of policy/signer_rule.h, one character after the other, with backtracking. */
static gboolean slow(const char *pattern, const char *text)
{
    if (!strcmp(pattern, "**"))
        return *text != '\0';
    if (!*pattern)
        return !*text;
    if (*pattern != '*')
        return *pattern == *text && slow(pattern + 1, text + 1);
    for (; *text && *text != '/' && *text != '@'; text++)
        if (slow(pattern + 1, text + 1))
            return TRUE;
    return FALSE;
}

static char *fill(const char *pattern)
{
    GString *text = g_string_new(NULL);
    for (; *pattern; pattern++)
        g_string_append(text, *pattern == '*' ? "xy" : (char[]){*pattern, '\0'});
    return g_string_free(text, FALSE);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    if (size > 256)
        return 0;
    g_autofree char *input = g_strndup((const char *) data, size);
    char *text = strchr(input, '\n');
    if (text)
        *text++ = '\0';
    for (int type = GP_SUBJECT_URI; type <= GP_SUBJECT_EMAIL; type++) {
        g_autoptr(GError) error = NULL;
        if (!gp_subject_pattern_check(input, (GpSubjectType) type, &error))
            continue;
        g_autofree char *filled = fill(input);
        g_assert_true(gp_subject_pattern_match(input, filled));
        if (text)
            g_assert_cmpint(gp_subject_pattern_match(input, text), ==, slow(input, text));
    }
    return 0;
}
