#include "policy/registries.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/toml.h"
#include "policy/name_grammar.h"
#include "policy/scope.h"

typedef enum {
    FROM_ALL,
    FROM_DIGEST_ONLY,
    FROM_TAG_ONLY,
} PullFrom;

typedef struct {
    char *location;
    gboolean insecure;
    PullFrom from;
} Mirror;

typedef struct {
    char *prefix;   /* "host[:port][/path]" or "*.example.com"; the host in lower case */
    char *location; /* NULL: that of the name itself */
    gboolean insecure, blocked;
    GPtrArray *mirrors; /* Mirror* */
} Registry;

struct _GpRegistries {
    GPtrArray *rows;        /* Registry* */
    GPtrArray *unqualified; /* char*; NULL: not written */
};

static void mirror_free(gpointer data)
{
    Mirror *mirror = data;
    g_free(mirror->location);
    g_free(mirror);
}

static void registry_free(gpointer data)
{
    Registry *registry = data;
    g_free(registry->prefix);
    g_free(registry->location);
    g_ptr_array_unref(registry->mirrors);
    g_free(registry);
}

static void place_free(gpointer data)
{
    GpRegistryPlace *place = data;
    gp_reference_free(place->reference);
    g_free(place->why);
    g_free(place);
}

GpRegistries *gp_registries_new(void)
{
    GpRegistries *registries = g_new0(GpRegistries, 1);
    registries->rows = g_ptr_array_new_with_free_func(registry_free);
    return registries;
}

void gp_registries_free(GpRegistries *registries)
{
    if (!registries)
        return;
    g_ptr_array_unref(registries->rows);
    g_clear_pointer(&registries->unqualified, g_ptr_array_unref);
    g_free(registries);
}

/* ---- reading */

static gboolean refuse(GError **error, GpErrorCode code, const char *path, const char *key, const char *reason)
{
    g_autofree char *place = key ? gp_json_path_key(path, key) : g_strdup(path);
    g_set_error(error, GP_ERROR, (gint) code, "%s: %s", place, reason);
    return FALSE;
}

/* A host with an optional path, as scopes are written; its host in lower case. Caller's. */
static char *read_place(json_t *value, gboolean wildcard, const char *path, const char *key, GError **error)
{
    const char *text = json_string_value(value);
    g_autoptr(GError) cause = NULL;
    if (strstr(text, "://")) {
        (void) refuse(error, GP_ERROR_INVALID, path, key, "written without a scheme: HOST[:PORT][/PATH]");
        return NULL;
    }
    g_autofree char *place = gp_scope_check_docker(text, &cause);
    if (!place) {
        (void) refuse(error, GP_ERROR_INVALID, path, key, cause->message);
        return NULL;
    }
    const char *slash = strchr(place, '/');
    if (strchr(place, '@') || (slash && strchr(slash, ':'))) {
        (void) refuse(error, GP_ERROR_INVALID, path, key, "a registry or a namespace is meant, not a tag or a digest");
        return NULL;
    }
    if (place[0] == '*' && !wildcard) {
        (void) refuse(error, GP_ERROR_INVALID, path, key, "a wildcard is only for prefixes");
        return NULL;
    }
    return g_steal_pointer(&place);
}

static gboolean read_from(json_t *value, const char *path, PullFrom *from, GError **error)
{
    static const char *const names[] = {
        [FROM_ALL] = "all", [FROM_DIGEST_ONLY] = "digest-only", [FROM_TAG_ONLY] = "tag-only"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_str_equal(json_string_value(value), names[i])) {
            *from = (PullFrom) i;
            return TRUE;
        }
    return refuse(
        error, GP_ERROR_INVALID, path, "pull-from-mirror", "must be \"all\", \"digest-only\" or \"tag-only\"");
}

static gboolean read_mirror(json_t *value, const char *path, gboolean digest_only, GPtrArray *mirrors, GError **error)
{
    json_t *location, *insecure, *from;
    const GpJsonField fields[] = {
        {"location", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &location},
        {"insecure", GP_JSON_BOOLEAN, GP_JSON_OPTIONAL, &insecure},
        {"pull-from-mirror", GP_JSON_STRING, GP_JSON_OPTIONAL, &from},
        {NULL},
    };
    if (!gp_json_fields(value, path, fields, TRUE, error))
        return FALSE;
    if (from && digest_only)
        return refuse(error, GP_ERROR_INVALID, path, "pull-from-mirror",
            "contradicts mirror-by-digest-only of the registry\nSay it once.");
    Mirror *mirror = g_new0(Mirror, 1);
    g_ptr_array_add(mirrors, mirror);
    mirror->insecure = json_is_true(insecure);
    mirror->from = digest_only ? FROM_DIGEST_ONLY : FROM_ALL;
    mirror->location = read_place(location, FALSE, path, "location", error);
    return mirror->location && (!from || read_from(from, path, &mirror->from, error));
}

static const Registry *find_prefix(const GPtrArray *rows, const char *prefix)
{
    for (guint i = 0; i < rows->len; i++)
        if (g_str_equal(((Registry *) rows->pdata[i])->prefix, prefix))
            return rows->pdata[i];
    return NULL;
}

static gboolean read_prefix(Registry *registry, json_t *prefix, json_t *location, const char *path, GError **error)
{
    if (!prefix && !location)
        return refuse(error, GP_ERROR_INVALID, path, NULL, "has neither prefix nor location");
    if (location && !(registry->location = read_place(location, FALSE, path, "location", error)))
        return FALSE;
    registry->prefix = prefix ? read_place(prefix, TRUE, path, "prefix", error) : g_strdup(registry->location);
    return registry->prefix != NULL;
}

static gboolean read_registry(json_t *value, const char *path, GPtrArray *rows, GError **error)
{
    json_t *prefix, *location, *insecure, *blocked, *digest_only, *mirrors;
    const GpJsonField fields[] = {
        {"prefix", GP_JSON_STRING, GP_JSON_NON_EMPTY, &prefix},
        {"location", GP_JSON_STRING, GP_JSON_NON_EMPTY, &location},
        {"insecure", GP_JSON_BOOLEAN, GP_JSON_OPTIONAL, &insecure},
        {"blocked", GP_JSON_BOOLEAN, GP_JSON_OPTIONAL, &blocked},
        {"mirror-by-digest-only", GP_JSON_BOOLEAN, GP_JSON_OPTIONAL, &digest_only},
        {"mirror", GP_JSON_ARRAY, GP_JSON_OPTIONAL, &mirrors},
        {NULL},
    };
    if (!gp_json_fields(value, path, fields, TRUE, error))
        return FALSE;
    Registry *registry = g_new0(Registry, 1);
    registry->mirrors = g_ptr_array_new_with_free_func(mirror_free);
    registry->insecure = json_is_true(insecure);
    registry->blocked = json_is_true(blocked);
    g_ptr_array_add(rows, registry);
    if (!read_prefix(registry, prefix, location, path, error))
        return FALSE;
    if (json_array_size(mirrors) > GP_LIMIT_MIRRORS)
        return refuse(error, GP_ERROR_LIMIT, path, "mirror", "too many mirrors");
    g_autofree char *list = gp_json_path_key(path, "mirror");
    for (gsize i = 0; i < json_array_size(mirrors); i++) {
        g_autofree char *at = gp_json_path_index(list, i);
        if (!read_mirror(json_array_get(mirrors, i), at, json_is_true(digest_only), registry->mirrors, error))
            return FALSE;
    }
    return TRUE;
}

/* What image-rs and podman know and we cannot do is refused as soon as it says something. */
static gboolean check_others(json_t *aliases, json_t *helpers, GError **error)
{
    if (json_object_size(aliases) > 0)
        return refuse(error, GP_ERROR_UNSUPPORTED, "$", "aliases", "short names have no aliases here");
    for (gsize i = 0; i < json_array_size(helpers); i++) {
        const char *name = json_string_value(json_array_get(helpers, i));
        if (!name || strcmp(name, "containers-auth.json") != 0)
            return refuse(error, GP_ERROR_UNSUPPORTED, "$", "credential-helpers",
                "a guest runs no programs for its credentials: only \"containers-auth.json\"");
    }
    return TRUE;
}

static gboolean read_unqualified(GpRegistries *registries, json_t *list, GError **error)
{
    if (!list)
        return TRUE;
    registries->unqualified = g_ptr_array_new_with_free_func(g_free);
    for (gsize i = 0; i < json_array_size(list); i++) {
        g_autofree char *at = gp_json_path_index("$.unqualified-search-registries", i);
        const char *name = json_string_value(json_array_get(list, i));
        if (!name || !gp_is_domain(name, strlen(name)))
            return refuse(error, GP_ERROR_INVALID, at, NULL, "must be HOST[:PORT]");
        g_ptr_array_add(registries->unqualified, g_ascii_strdown(name, -1));
    }
    return TRUE;
}

static gboolean read_document(GpRegistries *registries, json_t *document, GError **error)
{
    json_t *rows, *unqualified, *mode, *aliases, *helpers;
    const GpJsonField fields[] = {
        {"registry", GP_JSON_ARRAY, GP_JSON_OPTIONAL, &rows},
        {"unqualified-search-registries", GP_JSON_ARRAY, GP_JSON_OPTIONAL, &unqualified},
        {"short-name-mode", GP_JSON_STRING, GP_JSON_OPTIONAL, &mode},
        {"aliases", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &aliases},
        {"credential-helpers", GP_JSON_ARRAY, GP_JSON_OPTIONAL, &helpers},
        {NULL},
    };
    if (json_is_object(json_object_get(document, "registries")))
        return refuse(error, GP_ERROR_UNSUPPORTED, "$", "registries",
            "this is version 1 of the format\nWrite [[registry]] tables: containers-registries.conf(5).");
    if (!gp_json_fields(document, "$", fields, TRUE, error) || !check_others(aliases, helpers, error) ||
        !read_unqualified(registries, unqualified, error))
        return FALSE;
    if (json_array_size(rows) > GP_LIMIT_REGISTRY_TABLES)
        return refuse(error, GP_ERROR_LIMIT, "$", "registry", "too many tables");
    for (gsize i = 0; i < json_array_size(rows); i++) {
        g_autofree char *at = gp_json_path_index("$.registry", i);
        g_autoptr(GPtrArray) read = g_ptr_array_new_with_free_func(registry_free);
        if (!read_registry(json_array_get(rows, i), at, read, error))
            return FALSE;
        if (find_prefix(registries->rows, ((Registry *) read->pdata[0])->prefix))
            return refuse(error, GP_ERROR_INVALID, at, NULL, "this prefix is there before");
        g_ptr_array_add(registries->rows, g_ptr_array_steal_index(read, 0));
    }
    return TRUE;
}

/* Moves what one text says to the others; two texts must not speak of the same matter. */
static gboolean merge(GpRegistries *all, GpRegistries *more, const char *what, GError **error)
{
    for (guint i = 0; i < more->rows->len; i++) {
        const Registry *row = more->rows->pdata[i];
        if (!find_prefix(all->rows, row->prefix))
            continue;
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: prefix %s is already in another file", what, row->prefix);
        return FALSE;
    }
    if (more->unqualified && all->unqualified) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "%s: unqualified-search-registries is already in another file", what);
        return FALSE;
    }
    while (more->rows->len > 0)
        g_ptr_array_add(all->rows, g_ptr_array_steal_index(more->rows, 0));
    if (more->unqualified)
        all->unqualified = g_steal_pointer(&more->unqualified);
    return TRUE;
}

gboolean gp_registries_add(GpRegistries *registries, GBytes *toml, const char *what, GError **error)
{
    gsize length;
    const char *data = g_bytes_get_data(toml, &length);
    g_autoptr(GpRegistries) more = gp_registries_new();
    g_autoptr(json_t) document = gp_toml_parse(data ? data : "", length, GP_LIMIT_REGISTRIES, what, error);
    if (!document)
        return FALSE;
    if (read_document(more, document, error))
        return merge(registries, more, what, error);
    g_prefix_error(error, "%s: ", what);
    return FALSE;
}

/* ---- deciding */

/* How much of @name, "domain/path", the prefix stands for; 0 if it does not match. */
static gsize match_length(const char *prefix, const char *name)
{
    gsize host = strcspn(name, "/:");
    if (prefix[0] == '*') {
        gsize suffix = strlen(prefix + 1);
        gboolean below = host > suffix && memcmp(name + host - suffix, prefix + 1, suffix) == 0;
        return below ? host : 0;
    }
    gsize length = strlen(prefix);
    gboolean boundary = strncmp(name, prefix, length) == 0 && strchr("/:@", name[length]);
    return boundary ? length : 0;
}

/* The longest prefix of those that match; one that is written out is more than any wildcard. */
static const Registry *find(const GpRegistries *registries, const char *name)
{
    const Registry *found = NULL;
    for (guint i = 0; i < registries->rows->len; i++) {
        const Registry *row = registries->rows->pdata[i];
        if (match_length(row->prefix, name) == 0)
            continue;
        gboolean more_exact = !found || (found->prefix[0] == '*' && row->prefix[0] != '*');
        gboolean same_kind = found && (found->prefix[0] == '*') == (row->prefix[0] == '*');
        if (more_exact || (same_kind && strlen(row->prefix) > strlen(found->prefix)))
            found = row;
    }
    return found;
}

/* @reference with @location in place of the first @replaced bytes of its @name. */
static GpReference *move(
    const GpReference *reference, const char *name, gsize replaced, const char *location, GError **error)
{
    g_autofree char *digest = reference->has_digest ? gp_digest_to_string(&reference->digest) : NULL;
    g_autofree char *text = g_strconcat(location, name + replaced, reference->tag ? ":" : "",
        reference->tag ? reference->tag : "", digest ? "@" : "", digest, NULL);
    /* Without a domain in front it would be read as a name of docker.io. */
    gsize host = strcspn(text, "/");
    if (gp_names_a_domain(text, host))
        return gp_reference_parse_named(text, error);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "\"%s\" does not begin with a registry's host", text);
    return NULL;
}

static gboolean add_place(
    GPtrArray *places, GpReference *reference, gboolean insecure, gboolean mirror, char *why, GError **error)
{
    if (!reference) {
        g_prefix_error(error, "%s: ", why);
        g_free(why);
        return FALSE;
    }
    GpRegistryPlace *place = g_new0(GpRegistryPlace, 1);
    place->reference = reference;
    place->insecure = insecure;
    place->mirror = mirror;
    place->why = why;
    g_ptr_array_add(places, place);
    return TRUE;
}

/* A mirror may be asked for what it is meant for: with a digest it does not matter who answers. */
static gboolean is_for(const Mirror *mirror, const GpReference *reference)
{
    return mirror->from == FROM_ALL || (mirror->from == FROM_DIGEST_ONLY) == reference->has_digest;
}

static gboolean add_mirrors(GPtrArray *places, const Registry *row, const GpReference *reference, const char *name,
    gsize length, GError **error)
{
    for (guint i = 0; i < row->mirrors->len; i++) {
        const Mirror *mirror = row->mirrors->pdata[i];
        if (!is_for(mirror, reference))
            continue;
        char *why = g_strdup_printf("mirror %u of prefix %s", i + 1, row->prefix);
        GpReference *moved = move(reference, name, length, mirror->location, error);
        if (!add_place(places, moved, mirror->insecure, TRUE, why, error))
            return FALSE;
    }
    return TRUE;
}

GPtrArray *gp_registries_resolve(
    const GpRegistries *registries, const GpReference *reference, const char **prefix, GError **error)
{
    g_autoptr(GPtrArray) places = g_ptr_array_new_with_free_func(place_free);
    g_autofree char *domain = g_ascii_strdown(reference->domain, -1);
    g_autofree char *name = g_strconcat(domain, "/", reference->path, NULL);
    const Registry *row = find(registries, name);
    if (prefix)
        *prefix = row ? row->prefix : NULL;
    if (row && row->blocked) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_POLICY, "blocked: the registries configuration blocks prefix %s", row->prefix);
        return NULL;
    }
    gsize length = row ? match_length(row->prefix, name) : 0;
    if (row && !add_mirrors(places, row, reference, name, length, error))
        return NULL;
    gboolean moves = row && row->location;
    char *why = row ? g_strdup_printf("%s of prefix %s", moves ? "location" : "the name itself,", row->prefix)
                    : g_strdup("the name itself: no prefix matches");
    GpReference *last =
        moves ? move(reference, name, length, row->location, error) : move(reference, name, 0, "", error);
    return add_place(places, last, row && row->insecure, FALSE, why, error) ? g_steal_pointer(&places) : NULL;
}

gboolean gp_registries_check_short_name(const GpRegistries *registries, const char *written, GError **error)
{
    if (g_str_has_prefix(written, "docker://"))
        written += strlen("docker://");
    gsize first = strcspn(written, "/");
    const GPtrArray *list = registries->unqualified;
    gboolean qualified = written[first] == '/' && gp_names_a_domain(written, first);
    if (qualified || !list || list->len == 0 || (list->len == 1 && g_str_equal(list->pdata[0], "docker.io")))
        return TRUE;
    g_autofree char *shown = gp_escape(written, -1, 200);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
        "\"%s\" names no registry, and unqualified-search-registries wants others than docker.io asked\nWrite the "
        "registry: %s/%s.",
        shown, (const char *) list->pdata[0], shown);
    return FALSE;
}
