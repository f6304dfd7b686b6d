#include "puller/worker_token.h"

#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

#define DEFAULT_LIFETIME 60 /* the token specification's, when the server does not say */
#define MAX_LIFETIME 86400
#define MARGIN_SECONDS 5
#define MAX_TOKENS 1000

typedef struct {
    char *authorization;
    gint64 expires; /* monotonic microseconds; G_MAXINT64: never */
} Entry;

struct _GpTokens {
    GHashTable *entries; /* key to Entry */
};

void gp_secret_free(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    g_free(secret);
}

char *gp_basic_authorization(const char *username, const char *password, GError **error)
{
    if (strchr(username, ':')) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_AUTH, "the user name contains a colon, which Basic authentication forbids");
        return NULL;
    }
    char *pair = g_strconcat(username, ":", password ? password : "", NULL);
    char *coded = g_base64_encode((const guchar *) pair, strlen(pair));
    char *field = g_strconcat("Basic ", coded, NULL);
    gp_secret_free(pair);
    gp_secret_free(coded);
    return field;
}

/* Anything else could end the header field and begin another one. */
static gboolean is_field_safe(const char *token)
{
    for (const char *p = token; *p; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return FALSE;
    return token[0] != '\0';
}

gboolean gp_token_parse(const void *body, gsize length, char **authorization, guint *lifetime, GError **error)
{
    json_t *token, *access_token, *expires;
    const GpJsonField fields[] = {
        {"token", GP_JSON_STRING, GP_JSON_NULLABLE, &token},
        {"access_token", GP_JSON_STRING, GP_JSON_NULLABLE, &access_token},
        {"expires_in", GP_JSON_INTEGER, GP_JSON_NULLABLE, &expires},
        {NULL},
    };
    g_autoptr(json_t) document = gp_json_parse(body, length, GP_LIMIT_TOKEN, "token", error);
    if (!document || !gp_json_fields(document, "token: $", fields, FALSE, error))
        return FALSE;
    const char *text = token && json_string_length(token) > 0 ? json_string_value(token)
                       : access_token                         ? json_string_value(access_token)
                                                              : "";
    if (!is_field_safe(text)) {
        g_set_error(error, GP_ERROR, GP_ERROR_AUTH, "the token server's answer holds no usable token");
        return FALSE;
    }
    json_int_t seconds = expires ? json_integer_value(expires) : 0;
    *lifetime = seconds > 0 ? (guint) MIN(seconds, MAX_LIFETIME) : DEFAULT_LIFETIME;
    *authorization = g_strconcat("Bearer ", text, NULL);
    return TRUE;
}

static void entry_free(gpointer data)
{
    Entry *entry = data;
    gp_secret_free(entry->authorization);
    g_free(entry);
}

GpTokens *gp_tokens_new(void)
{
    GpTokens *tokens = g_new0(GpTokens, 1);
    tokens->entries = g_hash_table_new_full(g_str_hash, g_str_equal, (GDestroyNotify) gp_secret_free, entry_free);
    return tokens;
}

void gp_tokens_free(GpTokens *tokens)
{
    if (!tokens)
        return;
    g_hash_table_unref(tokens->entries);
    g_free(tokens);
}

void gp_tokens_put(GpTokens *tokens, const char *key, const char *authorization, guint lifetime)
{
    if (g_hash_table_size(tokens->entries) >= MAX_TOKENS)
        g_hash_table_remove_all(tokens->entries);
    Entry *entry = g_new0(Entry, 1);
    entry->authorization = g_strdup(authorization);
    entry->expires = lifetime ? g_get_monotonic_time() + (gint64) lifetime * G_USEC_PER_SEC : G_MAXINT64;
    g_hash_table_replace(tokens->entries, g_strdup(key), entry);
}

const char *gp_tokens_get(GpTokens *tokens, const char *key)
{
    const Entry *entry = g_hash_table_lookup(tokens->entries, key);
    if (!entry)
        return NULL;
    if (entry->expires == G_MAXINT64 || g_get_monotonic_time() + MARGIN_SECONDS * G_USEC_PER_SEC < entry->expires)
        return entry->authorization;
    g_hash_table_remove(tokens->entries, key);
    return NULL;
}

void gp_tokens_drop(GpTokens *tokens, const char *key)
{
    g_hash_table_remove(tokens->entries, key);
}
