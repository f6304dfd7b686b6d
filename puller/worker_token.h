/* Authorization: field values, and the Bearer tokens that a registry's token server gave (distribution-spec "token"
 * documents). */
#pragma once

#include <glib.h>

/* Wipes and frees; NULL is fine. */
void gp_secret_free(char *secret);

/* "Basic …", the caller's secret. Errors: AUTH for a user name with a colon. */
char *gp_basic_authorization(const char *username, const char *password, GError **error);

/* Reads a token server's answer: *@authorization is "Bearer …" (caller's secret), *@lifetime its seconds. Errors: AUTH
 * when there is no token, or one that cannot stand in a header field; LIMIT; INVALID. */
gboolean gp_token_parse(const void *body, gsize length, char **authorization, guint *lifetime, GError **error);

/* What was authorized before, by (server, repository, who asks). */
typedef struct _GpTokens GpTokens;
GpTokens *gp_tokens_new(void);
void gp_tokens_free(GpTokens *tokens);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpTokens, gp_tokens_free)

/* @lifetime in seconds, 0: for ever. Takes a copy. */
void gp_tokens_put(GpTokens *tokens, const char *key, const char *authorization, guint lifetime);
/* NULL when there is none or it is about to expire; borrowed until the next call. */
const char *gp_tokens_get(GpTokens *tokens, const char *key);
void gp_tokens_drop(GpTokens *tokens, const char *key);
