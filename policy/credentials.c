#include "policy/credentials.h"

#include <malloc.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/base64.h"

/* One entry of "auths" that holds something. */
typedef struct {
    char *key;  /* as written */
    char *host; /* the host that the key names when it is a URL or a bare host; see host_of_key() */
    GpCredential *credential;
} Entry;

struct _GpCredentials {
    GPtrArray *entries; /* Entry*, in the order of the file */
};

static void wipe_string(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    g_free(secret);
}

void gp_credential_free(GpCredential *credential)
{
    if (!credential)
        return;
    wipe_string(credential->username);
    wipe_string(credential->password);
    wipe_string(credential->identity_token);
    g_free(credential);
}

static void entry_free(gpointer data)
{
    Entry *entry = data;
    g_free(entry->key);
    g_free(entry->host);
    gp_credential_free(entry->credential);
    g_free(entry);
}

void gp_credentials_free(GpCredentials *credentials)
{
    if (!credentials)
        return;
    g_ptr_array_unref(credentials->entries);
    g_free(credentials);
}

/* Docker Hub has three names; its credentials have always been kept under this one. */
static const char *hub_alias(const char *host)
{
    return !strcmp(host, "docker.io") || !strcmp(host, "registry-1.docker.io") ? "index.docker.io" : host;
}

/* A URL's host with its port; a key without scheme as it is, so that "host/namespace" is no host. */
static char *host_of_key(const char *key)
{
    const char *rest = key;
    if (g_str_has_prefix(rest, "http://"))
        rest += strlen("http://");
    if (g_str_has_prefix(rest, "https://"))
        rest += strlen("https://");
    g_autofree char *host = rest == key ? g_strdup(key) : g_strndup(rest, strcspn(rest, "/"));
    return g_strdup(hub_alias(host));
}

/* For jansson while it holds secrets, in its values and in its lexer's buffers: free() that leaves nothing behind. */
static void wiping_free(void *memory)
{
    if (memory)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

static gboolean set_invalid(GError **error, const char *place, const char *reason)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %s", place, reason);
    return FALSE;
}

/* @text, decoded, is "user:password"; the password may have colons. Docker on Windows padded it with NULs. */
static gboolean split_auth(guint8 *text, gsize length, const char *place, GpCredential *credential, GError **error)
{
    while (length > 0 && text[length - 1] == '\0')
        length--;
    guint8 *colon = length > 0 ? memchr(text, ':', length) : NULL;
    if (!colon || colon == text)
        return set_invalid(error, place, "decodes to something that is not \"user:password\"");
    if (!g_utf8_validate((const char *) text, (gssize) length, NULL))
        return set_invalid(error, place, "decodes to something that is not UTF-8 text");
    credential->username = g_strndup((const char *) text, (gsize) (colon - text));
    credential->password = g_strndup((const char *) colon + 1, length - (gsize) (colon - text) - 1);
    return TRUE;
}

static gboolean read_auth(const char *auth, const char *entry_place, GpCredential *credential, GError **error)
{
    g_autofree char *place = gp_json_path_key(entry_place, "auth");
    gsize length = 0;
    guint8 *text = gp_base64_decode_exact(auth, &length);
    if (!text)
        return set_invalid(error, place, "not padded standard base64");
    gboolean good = split_auth(text, length, place, credential, error);
    explicit_bzero(text, length);
    g_free(text);
    return good;
}

static const char *text_of(json_t *value)
{
    return value && json_string_length(value) > 0 ? json_string_value(value) : NULL;
}

static gboolean add_entry(GpCredentials *credentials, const char *key, json_t *value, GError **error)
{
    g_autofree char *place = gp_json_path_key("$.auths", key);
    json_t *auth = NULL, *token = NULL;
    const GpJsonField fields[] = {
        {"auth", GP_JSON_STRING, GP_JSON_NULLABLE, &auth},
        {"identitytoken", GP_JSON_STRING, GP_JSON_NULLABLE, &token},
        {NULL},
    };
    if (!gp_json_fields(value, place, fields, FALSE, error))
        return FALSE;
    if (!text_of(auth) && !text_of(token))
        return TRUE;
    g_autoptr(GpCredential) credential = g_new0(GpCredential, 1);
    if (text_of(token))
        credential->identity_token = g_strdup(text_of(token));
    else if (!read_auth(text_of(auth), place, credential, error))
        return FALSE;
    Entry *entry = g_new0(Entry, 1);
    entry->key = g_strdup(key);
    entry->host = host_of_key(key);
    entry->credential = g_steal_pointer(&credential);
    g_ptr_array_add(credentials->entries, entry);
    return TRUE;
}

static GpCredentials *read_document(json_t *document, GError **error)
{
    json_t *auths = NULL;
    const GpJsonField fields[] = {{"auths", GP_JSON_OBJECT, GP_JSON_NULLABLE, &auths}, {NULL}};
    if (!gp_json_fields(document, "$", fields, FALSE, error))
        return NULL;
    g_autoptr(GpCredentials) credentials = g_new0(GpCredentials, 1);
    credentials->entries = g_ptr_array_new_with_free_func(entry_free);
    const char *key;
    json_t *value;
    json_object_foreach(auths, key, value)
    {
        if (!add_entry(credentials, key, value, error))
            return NULL;
    }
    return g_steal_pointer(&credentials);
}

/* JSON parsers quote what stands near a mistake; here that may be a secret, so only the position is kept. */
static void set_malformed(GError **error, GError *cause, const char *what)
{
    const char *position = cause->message + strlen(what) + strlen(": ");
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %.*s: not valid JSON, or a key that is there twice", what,
        (int) strcspn(position, ":"), position);
    explicit_bzero(cause->message, strlen(cause->message));
}

static GpCredentials *parse(GBytes *authfile, const char *what, GError **error)
{
    gsize length = 0;
    const void *data = g_bytes_get_data(authfile, &length);
    g_autoptr(GError) cause = NULL;
    g_autoptr(json_t) document = gp_json_parse(data ? data : "", length, GP_LIMIT_AUTHFILE, what, &cause);
    if (!document && cause->code == GP_ERROR_INVALID)
        set_malformed(error, cause, what);
    else if (!document)
        g_propagate_error(error, g_steal_pointer(&cause));
    if (!document)
        return NULL;
    GpCredentials *credentials = read_document(document, error);
    if (!credentials)
        g_prefix_error(error, "%s: ", what);
    return credentials;
}

GpCredentials *gp_credentials_parse(GBytes *authfile, const char *what, GError **error)
{
    json_malloc_t allocate;
    json_free_t release;
    json_get_alloc_funcs(&allocate, &release);
    json_set_alloc_funcs(malloc, wiping_free);
    GpCredentials *credentials = parse(authfile, what, error);
    json_set_alloc_funcs(allocate, release);
    return credentials;
}

static const Entry *find_key(const GpCredentials *credentials, const char *key)
{
    for (guint i = 0; i < credentials->entries->len; i++) {
        const Entry *entry = credentials->entries->pdata[i];
        if (!strcmp(entry->key, key))
            return entry;
    }
    return NULL;
}

static const Entry *find_host(const GpCredentials *credentials, const char *domain)
{
    for (guint i = 0; i < credentials->entries->len; i++) {
        const Entry *entry = credentials->entries->pdata[i];
        if (!strcmp(entry->host, hub_alias(domain)))
            return entry;
    }
    return NULL;
}

GpCredential *gp_credentials_lookup(const GpCredentials *credentials, const GpReference *reference)
{
    g_autofree char *key = gp_reference_name(reference);
    const Entry *found = find_key(credentials, key);
    char *slash;
    while (!found && (slash = strrchr(key, '/'))) {
        *slash = '\0';
        found = find_key(credentials, key);
    }
    if (!found)
        found = find_host(credentials, reference->domain);
    if (!found)
        return NULL;
    GpCredential *copy = g_new0(GpCredential, 1);
    copy->username = g_strdup(found->credential->username);
    copy->password = g_strdup(found->credential->password);
    copy->identity_token = g_strdup(found->credential->identity_token);
    return copy;
}
