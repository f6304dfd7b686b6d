/* Who a certificate of Fulcio must name: an OIDC issuer and a subject alternative name, together. */
#pragma once

#include <glib.h>
#include <jansson.h>

/* The kinds of subject that Fulcio writes. */
typedef enum {
    GP_SUBJECT_URI,        /* a workflow: "https://github.com/org/app/.github/workflows/release.yml@refs/tags/v1" */
    GP_SUBJECT_EMAIL,      /* a person */
    GP_SUBJECT_OTHER_NAME, /* 1.3.6.1.4.1.57264.1.7: a user name that is neither */
} GpSubjectType;

typedef struct {
    char *issuer; /* compared byte for byte */
    GpSubjectType type;
    char *subject;
    gboolean is_pattern; /* @subject is one of gp_subject_pattern_check()'s language */
} GpSignerRule;

/* Parses {"issuer", exactly one of "uri" | "uriPattern" | "email" | "emailPattern" | "otherName"} at @place, strictly.
 * Errors: INVALID with the place. */
GpSignerRule *gp_signer_rule_parse(json_t *value, const char *place, GError **error);
GpSignerRule *gp_signer_rule_new_email(const char *issuer, const char *email);
void gp_signer_rule_free(GpSignerRule *rule);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpSignerRule, gp_signer_rule_free)

/* TRUE if issuer, kind and text of the subject all are what @rule says. NULL matches nothing. */
gboolean gp_signer_rule_match(const GpSignerRule *rule, const char *issuer, GpSubjectType type, const char *subject);

/* "https://issuer: uriPattern https://…", for reports; caller's. */
char *gp_signer_rule_to_string(const GpSignerRule *rule);

/* The pattern language: small enough to be judged by eye, always anchored at both ends, one pass over the text.
 *
 *   '/' and '@' cut pattern and text into parts; both must have the same cuts in the same order.
 *   A part may have one '*': it stands for one or more characters, none of them '/' or '@'.
 *   "**" may be the last two characters of a URI's pattern, as a part of its own: the whole rest of the text, at least
 *   one character, whatever it is.
 *   Everything else is itself: there is no escape, no class, no alternative.
 *
 * Where a name begins, who owns it is decided: so a URI's scheme and host ("https://github.com/"), and an email's
 * domain, must be without '*'. Regular expressions are not offered: an unescaped '.' or a missing anchor admits
 * strangers and looks right, and their matchers backtrack. @error: INVALID with the reason alone. */
gboolean gp_subject_pattern_check(const char *pattern, GpSubjectType type, GError **error);
gboolean gp_subject_pattern_match(const char *pattern, const char *text);
