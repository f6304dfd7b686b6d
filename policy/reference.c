#include "policy/reference.h"

#include "base/error.h"
#include "base/limits.h"
#include "policy/name_grammar.h"

#define DOCKER_HUB "docker.io"
#define DOCKER_HUB_OLD "index.docker.io"
#define MAX_NAME 255 /* distribution/reference: NameTotalLengthMax */

static void set_invalid(GError **error, const char *text, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void set_invalid(GError **error, const char *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *reason = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *shown = gp_escape(text, -1, 300);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "reference \"%s\": %s", shown, reason);
}

static gboolean is_image_id(const char *text)
{
    gsize i = 0;
    while (g_ascii_isdigit(text[i]) || (text[i] >= 'a' && text[i] <= 'f'))
        i++;
    return i == 64 && text[i] == '\0';
}

/* Splits "@digest" off @name. */
static gboolean take_digest(GpReference *reference, char *name, const char *text, GError **error)
{
    char *at = strchr(name, '@');
    if (!at)
        return TRUE;
    *at = '\0';
    if (!gp_digest_parse(at + 1, &reference->digest, error)) {
        g_autofree char *shown = gp_escape(text, -1, 300);
        g_prefix_error(error, "reference \"%s\": ", shown);
        return FALSE;
    }
    reference->has_digest = TRUE;
    return TRUE;
}

/* Splits ":tag" off @name: the last colon is a tag's only if no slash follows and the text in front is a whole name, so
 * that "localhost:5000/a" keeps its port. */
static gboolean take_tag(GpReference *reference, char *name, const char *text, GError **error)
{
    char *slash = strrchr(name, '/');
    char *colon = strrchr(slash ? slash : name, ':');
    if (!colon)
        return TRUE;
    if (!gp_is_tag(colon + 1, strlen(colon + 1))) {
        set_invalid(error, text, "the tag is not 1 to 128 letters, digits, '_', '.' or '-' (the first no '.' or '-')");
        return FALSE;
    }
    reference->tag = g_strdup(colon + 1);
    *colon = '\0';
    return TRUE;
}

/* "Docker.io/debian" would be another registry and another repository, but under the scopes of docker.io, where hosts
 * are compared in lower case. */
static gboolean is_hub_in_other_letters(const char *domain)
{
    static const char *const names[] = {DOCKER_HUB, DOCKER_HUB_OLD};
    for (gsize i = 0; domain && i < G_N_ELEMENTS(names); i++)
        if (!g_ascii_strcasecmp(domain, names[i]) && strcmp(domain, names[i]) != 0)
            return TRUE;
    return FALSE;
}

static gboolean take_name(GpReference *reference, const char *name, const char *text, GError **error)
{
    const char *slash = strchr(name, '/');
    const char *path = name;
    if (slash && gp_names_a_domain(name, (gsize) (slash - name))) {
        reference->domain = g_strndup(name, (gsize) (slash - name));
        path = slash + 1;
        if (!gp_is_domain(reference->domain, strlen(reference->domain))) {
            set_invalid(error, text, "what is in front of the first '/' is not a host name with an optional port");
            return FALSE;
        }
    }
    if (is_hub_in_other_letters(reference->domain)) {
        set_invalid(error, text, "%s is written in lower case", DOCKER_HUB);
        return FALSE;
    }
    gboolean hub =
        !reference->domain || !strcmp(reference->domain, DOCKER_HUB) || !strcmp(reference->domain, DOCKER_HUB_OLD);
    if (hub) {
        g_free(reference->domain);
        reference->domain = g_strdup(DOCKER_HUB);
    }
    reference->path = hub && !strchr(path, '/') ? g_strconcat("library/", path, NULL) : g_strdup(path);

    if (!gp_is_repository_path(path, strlen(path))) {
        gboolean upper = FALSE;
        for (const char *p = path; *p; p++)
            upper = upper || g_ascii_isupper(*p);
        set_invalid(error, text, "%s",
            upper          ? "the repository must be in lower case"
            : path[0] == 0 ? "there is no repository name"
                           : "the repository is not made of a-z, 0-9 and inner '.', '_', '__' or '-', joined by '/'");
        return FALSE;
    }
    if (strlen(reference->domain) + 1 + strlen(reference->path) > MAX_NAME) {
        set_invalid(error, text, "the name is longer than %d bytes", MAX_NAME);
        return FALSE;
    }
    return TRUE;
}

GpReference *gp_reference_parse_named(const char *text, GError **error)
{
    if (strlen(text) > GP_LIMIT_REFERENCE) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_LIMIT, "reference of %zu bytes, at most %d", strlen(text), GP_LIMIT_REFERENCE);
        return NULL;
    }
    if (text[0] == '\0') {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "reference is empty");
        return NULL;
    }
    if (is_image_id(text)) {
        set_invalid(error, text, "64 hex digits are an image id, not a name");
        return NULL;
    }
    g_autoptr(GpReference) reference = g_new0(GpReference, 1);
    g_autofree char *name = g_strdup(text);
    if (!take_digest(reference, name, text, error) || !take_tag(reference, name, text, error) ||
        !take_name(reference, name, text, error))
        return NULL;
    return g_steal_pointer(&reference);
}

GpReference *gp_reference_parse(const char *text, GError **error)
{
    if (g_str_has_prefix(text, "docker://"))
        text += strlen("docker://");
    GpReference *reference = gp_reference_parse_named(text, error);
    if (reference && gp_reference_is_name_only(reference)) {
        reference->tag = g_strdup("latest");
        reference->tag_defaulted = TRUE;
    }
    return reference;
}

void gp_reference_free(GpReference *reference)
{
    if (!reference)
        return;
    g_free(reference->domain);
    g_free(reference->path);
    g_free(reference->tag);
    g_free(reference);
}

gboolean gp_reference_is_name_only(const GpReference *reference)
{
    return !reference->tag && !reference->has_digest;
}

char *gp_reference_name(const GpReference *reference)
{
    return g_strconcat(reference->domain, "/", reference->path, NULL);
}

char *gp_reference_to_string(const GpReference *reference)
{
    g_autofree char *digest = reference->has_digest ? gp_digest_to_string(&reference->digest) : NULL;
    return g_strconcat(reference->domain, "/", reference->path, reference->tag ? ":" : "",
        reference->tag ? reference->tag : "", digest ? "@" : "", digest, NULL);
}

/* "*.example.com", "*.com" for "registry.example.com:5000"; never "*.registry.example.com". */
static void add_wildcards(GPtrArray *scopes, const char *domain)
{
    if (domain[0] == '[')
        return;
    g_autofree char *host = g_strdup(domain);
    char *port = strchr(host, ':');
    if (port)
        *port = '\0';
    for (const char *dot = strchr(host, '.'); dot; dot = strchr(dot + 1, '.'))
        g_ptr_array_add(scopes, g_strconcat("*", dot, NULL));
}

char **gp_reference_scopes(const GpReference *reference)
{
    GPtrArray *scopes = g_ptr_array_new();
    g_autofree char *domain = g_ascii_strdown(reference->domain, -1);
    g_autofree char *name = g_strconcat(domain, "/", reference->path, NULL);
    if (reference->has_digest) {
        g_autofree char *digest = gp_digest_to_string(&reference->digest);
        g_ptr_array_add(scopes, g_strconcat(name, "@", digest, NULL));
    } else if (reference->tag) {
        g_ptr_array_add(scopes, g_strconcat(name, ":", reference->tag, NULL));
    }
    for (;;) {
        g_ptr_array_add(scopes, g_strdup(name));
        char *slash = strrchr(name, '/');
        if (!slash)
            break;
        *slash = '\0';
    }
    add_wildcards(scopes, domain);
    g_ptr_array_add(scopes, NULL);
    return (char **) g_ptr_array_free(scopes, FALSE);
}
