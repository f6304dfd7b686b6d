#include "policy/signer_rule.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

static const struct {
    const char *key;
    GpSubjectType type;
    gboolean is_pattern;
} subject_keys[] = {
    {"uri", GP_SUBJECT_URI, FALSE},
    {"uriPattern", GP_SUBJECT_URI, TRUE},
    {"email", GP_SUBJECT_EMAIL, FALSE},
    {"emailPattern", GP_SUBJECT_EMAIL, TRUE},
    {"otherName", GP_SUBJECT_OTHER_NAME, FALSE},
};

#define CUTS "/@"

static gboolean refuse(GError **error, const char *reason)
{
    g_set_error_literal(error, GP_ERROR, GP_ERROR_INVALID, reason);
    return FALSE;
}

void gp_signer_rule_free(GpSignerRule *rule)
{
    if (!rule)
        return;
    g_free(rule->issuer);
    g_free(rule->subject);
    g_free(rule);
}

GpSignerRule *gp_signer_rule_new_email(const char *issuer, const char *email)
{
    GpSignerRule *rule = g_new0(GpSignerRule, 1);
    rule->issuer = g_strdup(issuer);
    rule->type = GP_SUBJECT_EMAIL;
    rule->subject = g_strdup(email);
    return rule;
}

/* Whether everything of @pattern in front of what its owner controls is without '*'. */
static gboolean names_its_owner(const char *pattern, GpSubjectType type)
{
    gsize star = strcspn(pattern, "*");
    if (type == GP_SUBJECT_EMAIL) {
        const char *at = strchr(pattern, '@');
        return at && at[1] && !strchr(at + 1, '*');
    }
    const char *host = strstr(pattern, "://");
    const char *slash = host && host > pattern && host[3] != '/' ? strchr(host + 3, '/') : NULL;
    return slash && star > (gsize) (slash - pattern);
}

static gboolean check_part(const char *part, gsize length, gboolean last, GpSubjectType type, GError **error)
{
    guint stars = 0;
    for (gsize i = 0; i < length; i++)
        stars += part[i] == '*';
    if (stars == 2 && length == 2 && last && type == GP_SUBJECT_URI)
        return TRUE;
    return stars <= 1 || refuse(error, "a part between '/' and '@' has at most one '*'; \"**\" stands alone at the "
                                       "end of a URI");
}

gboolean gp_subject_pattern_check(const char *pattern, GpSubjectType type, GError **error)
{
    if (!strchr(pattern, '*'))
        return refuse(error, "without '*' it is no pattern");
    if (!names_its_owner(pattern, type))
        return refuse(error, type == GP_SUBJECT_EMAIL
                                 ? "it must end with '@' and a domain without '*'"
                                 : "it must begin with a scheme and a host without '*' (\"https://host/\")");
    for (const char *part = pattern;; part++) {
        gsize length = strcspn(part, CUTS);
        if (!check_part(part, length, part[length] == '\0', type, error))
            return FALSE;
        part += length;
        if (!*part)
            return TRUE;
    }
}

static gboolean match_part(const char *pattern, gsize pattern_length, const char *text, gsize length)
{
    const char *star = memchr(pattern, '*', pattern_length);
    if (!star)
        return length == pattern_length && memcmp(pattern, text, length) == 0;
    gsize before = (gsize) (star - pattern), after = pattern_length - before - 1;
    return length >= before + 1 + after && memcmp(pattern, text, before) == 0 &&
           memcmp(star + 1, text + length - after, after) == 0;
}

gboolean gp_subject_pattern_match(const char *pattern, const char *text)
{
    for (;; pattern++, text++) {
        if (!strcmp(pattern, "**"))
            return *text != '\0';
        gsize part = strcspn(pattern, CUTS), length = strcspn(text, CUTS);
        if (!match_part(pattern, part, text, length))
            return FALSE;
        pattern += part;
        text += length;
        if (*pattern != *text)
            return FALSE;
        if (!*pattern)
            return TRUE;
    }
}

/* A subject or an issuer is one printable word: a blank or a line break in it is a slip of whoever wrote the policy. */
static gboolean check_text(const char *text, GError **error)
{
    if (strlen(text) > GP_LIMIT_REFERENCE)
        return refuse(error, "too long");
    for (const char *p = text; *p; p++)
        if (!g_ascii_isgraph(*p) && !(*p & 0x80))
            return refuse(error, "must have neither blanks nor control characters");
    return TRUE;
}

static gboolean check_subject(const GpSignerRule *rule, GError **error)
{
    if (!check_text(rule->subject, error))
        return FALSE;
    if (rule->is_pattern)
        return gp_subject_pattern_check(rule->subject, rule->type, error);
    if (strchr(rule->subject, '*'))
        return refuse(error, "is compared as it is, '*' included\nFor a pattern write uriPattern or emailPattern.");
    if (rule->type == GP_SUBJECT_URI && !strstr(rule->subject, "://"))
        return refuse(error, "is no URI (\"scheme://host/…\")");
    if (rule->type == GP_SUBJECT_EMAIL && !strchr(rule->subject, '@'))
        return refuse(error, "is no email address");
    return TRUE;
}

GpSignerRule *gp_signer_rule_parse(json_t *value, const char *place, GError **error)
{
    enum { N = G_N_ELEMENTS(subject_keys) };
    json_t *issuer = NULL, *subjects[N] = {NULL};
    GpJsonField fields[N + 2] = {{"issuer", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &issuer}};
    for (gsize i = 0; i < N; i++)
        fields[i + 1] = (GpJsonField){subject_keys[i].key, GP_JSON_STRING, GP_JSON_NON_EMPTY, &subjects[i]};
    if (!gp_json_fields(value, place, fields, TRUE, error))
        return NULL;

    g_autoptr(GpSignerRule) rule = g_new0(GpSignerRule, 1);
    const char *key = NULL;
    for (gsize i = 0; i < N; i++) {
        if (!subjects[i])
            continue;
        if (key) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: \"%s\" and \"%s\" exclude each other", place, key,
                subject_keys[i].key);
            return NULL;
        }
        key = subject_keys[i].key;
        rule->type = subject_keys[i].type;
        rule->is_pattern = subject_keys[i].is_pattern;
        rule->subject = g_strdup(json_string_value(subjects[i]));
    }
    if (!key) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
            "%s: anyone of this issuer could sign\nWrite one of uri, uriPattern, email, emailPattern and otherName.",
            place);
        return NULL;
    }
    rule->issuer = g_strdup(json_string_value(issuer));
    if (!check_text(rule->issuer, error)) {
        g_prefix_error(error, "%s.issuer: ", place);
        return NULL;
    }
    if (!check_subject(rule, error)) {
        g_prefix_error(error, "%s.%s: ", place, key);
        return NULL;
    }
    return g_steal_pointer(&rule);
}

gboolean gp_signer_rule_match(const GpSignerRule *rule, const char *issuer, GpSubjectType type, const char *subject)
{
    if (!issuer || !subject || type != rule->type || strcmp(issuer, rule->issuer) != 0)
        return FALSE;
    return rule->is_pattern ? gp_subject_pattern_match(rule->subject, subject) : !strcmp(rule->subject, subject);
}

char *gp_signer_rule_to_string(const GpSignerRule *rule)
{
    const char *key = "nobody";
    for (gsize i = 0; i < G_N_ELEMENTS(subject_keys); i++)
        if (subject_keys[i].type == rule->type && subject_keys[i].is_pattern == rule->is_pattern)
            key = subject_keys[i].key;
    return g_strdup_printf("%s %s of %s", key, rule->subject, rule->issuer);
}
