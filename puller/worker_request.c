#include "puller/worker_request.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/fetch_protocol.h"
#include "puller/worker_token.h"
#include "puller/worker_url.h"

static const char manifest_types[] = "application/vnd.oci.image.manifest.v1+json, "
                                     "application/vnd.oci.image.index.v1+json, "
                                     "application/vnd.docker.distribution.manifest.v2+json, "
                                     "application/vnd.docker.distribution.manifest.list.v2+json, "
                                     "application/vnd.docker.distribution.manifest.v1+prettyjws, "
                                     "application/vnd.docker.distribution.manifest.v1+json";

typedef struct {
    json_t *kind, *scheme, *host, *repository, *selector, *url, *size, *max_bytes, *username, *password,
        *identity_token, *page, *insecure;
} Fields;

static gboolean fail(GError **error, const char *why)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "fetch request: %s", why);
    return FALSE;
}

static gboolean build_url(GpRequest *request, const Fields *fields, GError **error)
{
    if (request->kind == GP_REQUEST_URL || (request->kind == GP_REQUEST_BLOB && fields->url)) {
        if (!fields->url || fields->host || fields->username || fields->identity_token)
            return fail(error, "no URL alone");
        request->anonymous = request->kind == GP_REQUEST_BLOB;
        request->url = g_strdup(json_string_value(fields->url));
        return TRUE;
    }
    if (!fields->scheme || !fields->host || !fields->repository || !fields->selector)
        return fail(error, "incomplete");
    const char *scheme = json_string_value(fields->scheme);
    const char *host = json_string_value(fields->host), *repository = json_string_value(fields->repository);
    const char *selector = json_string_value(fields->selector);
    const char *page = fields->page ? json_string_value(fields->page) : NULL;
    GpDigest digest;
    gboolean good_selector = request->kind == GP_REQUEST_MANIFEST ? gp_fetch_is_selector(selector)
                                                                  : gp_digest_parse(selector, &digest, NULL);
    if ((strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0) || !gp_fetch_is_host(host) ||
        !gp_fetch_is_repository(repository) || !good_selector ||
        (page && (request->kind != GP_REQUEST_REFERRERS || !gp_fetch_is_page(page))))
        return fail(error, "a part of it must not enter a URL");
    static const char *const places[] = {
        [GP_REQUEST_MANIFEST] = "manifests", [GP_REQUEST_BLOB] = "blobs", [GP_REQUEST_REFERRERS] = "referrers"};
    request->repository = g_strdup(repository);
    request->url = g_strdup_printf("%s://%s/v2/%s/%s/%s%s%s", scheme, host, repository, places[request->kind], selector,
        page ? "?" : "", page ? page : "");
    return TRUE;
}

static gboolean set_kind(GpRequest *request, const Fields *fields, GError **error)
{
    static const char *const names[] = {[GP_REQUEST_MANIFEST] = "manifest",
        [GP_REQUEST_BLOB] = "blob",
        [GP_REQUEST_URL] = "url",
        [GP_REQUEST_REFERRERS] = "referrers"};
    gsize i = 0;
    while (i < G_N_ELEMENTS(names) && strcmp(names[i], json_string_value(fields->kind)) != 0)
        i++;
    if (i == G_N_ELEMENTS(names))
        return fail(error, "unknown kind");
    request->kind = (GpRequestKind) i;
    const json_t *size = request->kind == GP_REQUEST_BLOB ? fields->size : fields->max_bytes;
    json_int_t most = (json_int_t) (request->kind == GP_REQUEST_BLOB ? GP_LIMIT_BLOB : 64 * GP_MIB);
    if (!size || json_integer_value(size) < 0 || json_integer_value(size) > most)
        return fail(error, "size");
    request->size = (guint64) json_integer_value(size);
    return TRUE;
}

static char *copy(const json_t *value)
{
    return value ? g_strdup(json_string_value(value)) : NULL;
}

GpRequest *gp_request_parse(const char *message, gsize length, char *const *plain_http, GError **error)
{
    Fields f;
    const GpJsonField fields[] = {
        {"kind", GP_JSON_STRING, GP_JSON_MANDATORY, &f.kind},
        {"scheme", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.scheme},
        {"host", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.host},
        {"repository", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.repository},
        {"selector", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.selector},
        {"url", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.url},
        {"size", GP_JSON_INTEGER, GP_JSON_OPTIONAL, &f.size},
        {"maxBytes", GP_JSON_INTEGER, GP_JSON_OPTIONAL, &f.max_bytes},
        {"username", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.username},
        {"password", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.password},
        {"identityToken", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.identity_token},
        {"page", GP_JSON_STRING, GP_JSON_OPTIONAL, &f.page},
        {"insecure", GP_JSON_BOOLEAN, GP_JSON_OPTIONAL, &f.insecure},
        {NULL},
    };
    g_autoptr(json_t) document = gp_json_parse(message, length, GP_LIMIT_FETCH_REQUEST, "fetch request", error);
    if (!document || !gp_json_fields(document, "$", fields, TRUE, error))
        return NULL;
    g_autoptr(GpRequest) request = g_new0(GpRequest, 1);
    if (!set_kind(request, &f, error) || !build_url(request, &f, error))
        return NULL;
    if (json_is_true(f.insecure) && request->repository)
        request->insecure_host = copy(f.host);
    char *insecure[] = {request->insecure_host, NULL};
    if (!gp_url_check_scheme(request->url, request->insecure_host ? insecure : plain_http, error))
        return NULL;
    request->origin = gp_url_origin(request->url);
    if (request->repository) {
        request->username = copy(f.username);
        request->password = copy(f.password);
        request->identity_token = copy(f.identity_token);
    }
    return g_steal_pointer(&request);
}

const char *gp_request_accept(GpRequestKind kind)
{
    return kind == GP_REQUEST_MANIFEST    ? manifest_types
           : kind == GP_REQUEST_REFERRERS ? "application/vnd.oci.image.index.v1+json"
                                          : NULL;
}

void gp_request_free(GpRequest *request)
{
    if (!request)
        return;
    g_free(request->url);
    g_free(request->origin);
    g_free(request->insecure_host);
    g_free(request->repository);
    g_free(request->username);
    gp_secret_free(request->password);
    gp_secret_free(request->identity_token);
    g_free(request);
}
