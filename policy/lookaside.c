#include "policy/lookaside.h"

#include "base/error.h"
#include "base/limits.h"
#include "policy/scope.h"
#include "policy/yaml_events.h"

/* default-docker: no checked scope is empty. */
#define DEFAULT_SCOPE ""

typedef struct {
    char *base;               /* NULL: not written */
    gboolean has_attachments; /* whether it is written */
    gboolean attachments;
} Options;

struct _GpLookaside {
    GHashTable *scopes; /* char* → Options* */
};

static void options_free(gpointer data)
{
    Options *options = data;
    g_free(options->base);
    g_free(options);
}

static GHashTable *new_scopes(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, options_free);
}

GpLookaside *gp_lookaside_new(void)
{
    GpLookaside *lookaside = g_new0(GpLookaside, 1);
    lookaside->scopes = new_scopes();
    return lookaside;
}

void gp_lookaside_free(GpLookaside *lookaside)
{
    if (!lookaside)
        return;
    g_hash_table_unref(lookaside->scopes);
    g_free(lookaside);
}

/* What a path is appended to: so no query and no fragment; and no user, whose password would end in logs. */
static gboolean is_base(const char *url)
{
    const char *rest = NULL;
    for (const char *p = url; *p; p++)
        if (!g_ascii_isgraph(*p) || strchr("?#\\", *p))
            return FALSE;
    if (g_str_has_prefix(url, "file://"))
        return url[strlen("file://")] == '/';
    if (g_str_has_prefix(url, "https://"))
        rest = url + strlen("https://");
    else if (g_str_has_prefix(url, "http://"))
        rest = url + strlen("http://");
    return rest && *rest && *rest != '/' && !memchr(rest, '@', strcspn(rest, "/"));
}

static gboolean read_base(GpYaml *yaml, Options *options, GError **error)
{
    g_autofree char *url = gp_yaml_text(yaml, error);
    if (!url)
        return FALSE;
    gsize length = strlen(url);
    while (length > 0 && url[length - 1] == '/')
        url[--length] = '\0';
    if (!is_base(url)) {
        g_autofree char *shown = gp_escape(url, -1, 200);
        return gp_yaml_refuse(
            yaml, error, "\"%s\" is no file:///, http:// or https:// URL without user, query and fragment", shown);
    }
    if (options->base && strcmp(options->base, url) != 0)
        return gp_yaml_refuse(yaml, error, "\"lookaside\" and its old name \"sigstore\" differ");
    g_free(options->base);
    options->base = g_steal_pointer(&url);
    return TRUE;
}

static gboolean visit_option(GpYaml *yaml, const char *key, gpointer data, GError **error)
{
    Options *options = data;
    if (!strcmp(key, "lookaside") || !strcmp(key, "sigstore"))
        return read_base(yaml, options, error);
    if (!strcmp(key, "use-sigstore-attachments")) {
        options->has_attachments = TRUE;
        return gp_yaml_boolean(yaml, &options->attachments, error);
    }
    if (!strcmp(key, "lookaside-staging") || !strcmp(key, "sigstore-staging")) {
        g_autofree char *ignored = gp_yaml_text(yaml, error);
        return ignored != NULL;
    }
    g_autofree char *shown = gp_escape(key, -1, 200);
    return gp_yaml_refuse(yaml, error, "unknown key \"%s\"\nKnown are lookaside and use-sigstore-attachments.", shown);
}

/* The options behind a key, stored under @scope, which is taken. */
static gboolean read_options(GpYaml *yaml, char *scope, GHashTable *scopes, GError **error)
{
    if (g_hash_table_contains(scopes, scope)) {
        g_free(scope);
        return gp_yaml_refuse(yaml, error, "this scope was there before, in other letters");
    }
    Options *options = g_new0(Options, 1);
    g_hash_table_insert(scopes, scope, options);
    return gp_yaml_mapping(yaml, visit_option, options, error);
}

static gboolean visit_scope(GpYaml *yaml, const char *key, gpointer data, GError **error)
{
    g_autoptr(GError) cause = NULL;
    char *scope = gp_scope_check_docker(key, &cause);
    if (scope)
        return read_options(yaml, scope, data, error);
    g_autofree char *shown = gp_escape(key, -1, 200);
    return gp_yaml_refuse(yaml, error, "the scope \"%s\" could never match: %s", shown, cause->message);
}

static gboolean visit_section(GpYaml *yaml, const char *key, gpointer data, GError **error)
{
    if (!strcmp(key, "default-docker"))
        return read_options(yaml, g_strdup(DEFAULT_SCOPE), data, error);
    if (!strcmp(key, "docker"))
        return gp_yaml_mapping(yaml, visit_scope, data, error);
    g_autofree char *shown = gp_escape(key, -1, 200);
    return gp_yaml_refuse(yaml, error, "unknown key \"%s\"\nKnown are default-docker and docker.", shown);
}

/* Moves what one file says to the others; two files must not speak of the same scope. */
static gboolean merge(GpLookaside *lookaside, GHashTable *scopes, const char *what, GError **error)
{
    GHashTableIter iter;
    gpointer scope, options;
    g_hash_table_iter_init(&iter, scopes);
    while (g_hash_table_iter_next(&iter, &scope, &options)) {
        if (!g_hash_table_contains(lookaside->scopes, scope))
            continue;
        const char *name = scope;
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %s%s is already in another file", what,
            *name ? "docker: " : "default-docker", name);
        return FALSE;
    }
    g_hash_table_iter_init(&iter, scopes);
    while (g_hash_table_iter_next(&iter, &scope, &options)) {
        g_hash_table_iter_steal(&iter);
        g_hash_table_insert(lookaside->scopes, scope, options);
    }
    return TRUE;
}

gboolean gp_lookaside_add(GpLookaside *lookaside, GBytes *yaml, const char *what, GError **error)
{
    if (g_bytes_get_size(yaml) > GP_LIMIT_REGISTRIES) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "%s: %" G_GSIZE_FORMAT " bytes, at most %" G_GUINT64_FORMAT " allowed", what, g_bytes_get_size(yaml),
            GP_LIMIT_REGISTRIES);
        return FALSE;
    }
    g_autoptr(GHashTable) scopes = new_scopes();
    g_autoptr(GpYaml) reader = gp_yaml_new(yaml, what);
    return gp_yaml_document(reader, visit_section, scopes, error) && merge(lookaside, scopes, what, error);
}

/* The options of the most specific scope that has what @has asks for; NULL if none has. */
static const Options *find(
    const GpLookaside *lookaside, const GpReference *reference, gboolean (*has)(const Options *options))
{
    g_auto(GStrv) names = gp_reference_scopes(reference);
    for (char **name = names; *name; name++) {
        const Options *options = g_hash_table_lookup(lookaside->scopes, *name);
        if (options && has(options))
            return options;
    }
    const Options *options = g_hash_table_lookup(lookaside->scopes, DEFAULT_SCOPE);
    return options && has(options) ? options : NULL;
}

static gboolean has_base(const Options *options)
{
    return options->base != NULL;
}

static gboolean has_attachments(const Options *options)
{
    return options->has_attachments;
}

char *gp_lookaside_base(const GpLookaside *lookaside, const GpReference *reference)
{
    const Options *options = find(lookaside, reference, has_base);
    return options ? g_strdup(options->base) : NULL;
}

char *gp_lookaside_signature_url(const char *base, const GpReference *reference, const GpDigest *digest, guint index)
{
    g_autofree char *hex = gp_digest_to_hex(digest);
    return g_strdup_printf(
        "%s/%s@%s=%s/signature-%u", base, reference->path, gp_digest_algorithm_name(digest->algorithm), hex, index);
}

gboolean gp_lookaside_use_attachments(const GpLookaside *lookaside, const GpReference *reference, gboolean fallback)
{
    const Options *options = find(lookaside, reference, has_attachments);
    return options ? options->attachments : fallback;
}
