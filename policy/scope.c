#include "policy/scope.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "policy/name_grammar.h"

static void *refuse(GError **error, const char *reason)
{
    g_set_error_literal(error, GP_ERROR, GP_ERROR_INVALID, reason);
    return NULL;
}

static char *check_wildcard(const char *scope, GError **error)
{
    const char *parent = scope + 2;
    if (scope[1] != '.' || !gp_is_domain(parent, strlen(parent)) || strpbrk(parent, ":["))
        return refuse(error, "a wildcard scope is \"*.\" and a host name, without port, path, tag or digest");
    return g_ascii_strdown(scope, -1);
}

/* Cuts "@digest" or ":tag" off @name and checks it. */
static gboolean check_selector(char *name, GError **error)
{
    char *slash = strchr(name, '/');
    char *at = strchr(name, '@');
    if (at) {
        GpDigest digest;
        *at = '\0';
        if (!gp_digest_parse(at + 1, &digest, error))
            return FALSE;
        if (!slash || slash > at)
            return refuse(error, "a digest needs a repository in front of it") != NULL;
    }
    char *colon = slash ? strrchr(slash, ':') : NULL;
    if (!colon)
        return TRUE;
    if (at)
        return refuse(error, "a scope has a tag or a digest, not both") != NULL;
    if (!gp_is_tag(colon + 1, strlen(colon + 1)) || strchr(colon, '/'))
        return refuse(error, "what follows the ':' is no tag") != NULL;
    *colon = '\0';
    return TRUE;
}

char *gp_scope_check_docker(const char *scope, GError **error)
{
    if (strlen(scope) > GP_LIMIT_REFERENCE)
        return refuse(error, "the scope is too long");
    if (g_str_has_prefix(scope, "docker:/"))
        return refuse(error, "scopes are written without \"docker://\"");
    if (scope[0] == '*')
        return check_wildcard(scope, error);
    g_autofree char *name = g_strdup(scope);
    if (!check_selector(name, error))
        return NULL;

    gsize domain = strcspn(name, "/");
    if (!gp_is_domain(name, domain))
        return refuse(error, "it does not begin with a host name and an optional port");
    if (name[domain] == '/' && !gp_is_repository_path(name + domain + 1, strlen(name + domain + 1)))
        return refuse(error, "behind the host it is not a lower-case repository or namespace");
    g_autofree char *lower = g_ascii_strdown(name, (gssize) domain);
    if (!strcmp(lower, "index.docker.io"))
        return refuse(error, "index.docker.io is normalized to docker.io, so this scope would never match");
    return g_strconcat(lower, scope + domain, NULL);
}

gboolean gp_scope_check_path(const char *scope, GError **error)
{
    if (scope[0] != '/')
        return refuse(error, "it is not an absolute path") != NULL;
    if (!strcmp(scope, "/"))
        return refuse(error, "for the whole transport write \"\", not \"/\"") != NULL;
    g_auto(GStrv) parts = g_strsplit(scope + 1, "/", -1);
    for (char **part = parts; *part; part++)
        if (!**part || !strcmp(*part, ".") || !strcmp(*part, ".."))
            return refuse(error, "it has an empty component, \".\" or \"..\"") != NULL;
    return TRUE;
}
