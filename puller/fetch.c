#include "puller/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/worker.h"
#include "puller/fetch_protocol.h"
#include "puller/fetch_reply.h"
#include "puller/request_log.h"

#define START_TIMEOUT 30U /* seconds */
#define READY_MAX 8192

struct _GpFetch {
    GpWorker *worker;
    int control;
    gint64 started; /* monotonic microseconds */
    guint timeout;  /* seconds; 0: none */
    gboolean ready;
    char **plain_http;
    GpRequestLog *log;
};

struct _GpFetchBlob {
    int body;
    int reply; /* -1: it was read, or nothing was asked */
    GpRequestLog *log;
    GpAsked asked;
};

static gboolean is_listed(char *const *hosts, const char *host)
{
    return hosts && g_strv_contains((const char *const *) hosts, host);
}

/* ---- starting */

static json_t *make_configuration(const GpFetchConfig *config)
{
    json_t *hosts = json_array();
    for (char **host = config->plain_http; host && *host; host++)
        json_array_append_new(hosts, json_string(*host));
    json_t *message = json_pack("{s:o, s:i, s:b}", "plainHttp", hosts, "timeout",
        (int) (config->timeout ? MIN(config->timeout, G_MAXINT) : GP_DEFAULT_TIMEOUT), "verbose", config->verbose);
    if (config->cert_dir) {
        g_autofree char *absolute = g_canonicalize_filename(config->cert_dir, NULL);
        json_object_set_new(message, "certDir", json_string(absolute));
    }
    if (config->https_proxy)
        json_object_set_new(message, "httpsProxy", json_string(config->https_proxy));
    if (config->http_proxy)
        json_object_set_new(message, "httpProxy", json_string(config->http_proxy));
    if (config->no_proxy)
        json_object_set_new(message, "noProxy", json_string(config->no_proxy));
    if (config->extra_roots)
        json_object_set_new(message, "extraRoots", json_string(config->extra_roots));
    return message;
}

/* Sends @message with the descriptors @fds (NULL: none) and wipes its text, which may hold a password. */
static gboolean send_message(int socket, const json_t *message, const int *fds, gsize n_fds, GError **error)
{
    char *text = gp_json_to_text(message, FALSE);
    gsize length = text ? strlen(text) : 0;
    gboolean fits = length > 0 && length <= GP_LIMIT_FETCH_REQUEST;
    union {
        char buffer[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec part = {text, length};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (n_fds > 0) {
        header.msg_control = control.buffer;
        header.msg_controllen = sizeof control.buffer;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
    }
    ssize_t sent = -1;
    while (fits && (sent = sendmsg(socket, &header, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (text)
        explicit_bzero(text, length);
    g_free(text);
    if (!fits)
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "a request for the fetch worker is too large");
    else if (sent < 0)
        gp_fetch_set_worker_died(error);
    return sent >= 0;
}

static gboolean parse_ready(const char *text, gsize length, GError **error)
{
    json_t *is_ready, *problem, *code, *message;
    const GpJsonField fields[] = {{"ready", GP_JSON_BOOLEAN, GP_JSON_OPTIONAL, &is_ready},
        {"error", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &problem}, {NULL}};
    const GpJsonField error_fields[] = {{"code", GP_JSON_STRING, GP_JSON_MANDATORY, &code},
        {"message", GP_JSON_STRING, GP_JSON_MANDATORY, &message}, {NULL}};
    g_autoptr(GError) broken = NULL;
    g_autoptr(json_t) answer = gp_json_parse(text, length, READY_MAX, "greeting", &broken);
    if (!answer || !gp_json_fields(answer, "$", fields, TRUE, &broken) ||
        (problem && !gp_json_fields(problem, "$.error", error_fields, TRUE, &broken))) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: %s", broken->message);
        return FALSE;
    }
    if (json_is_true(is_ready) && !problem)
        return TRUE;
    gboolean usage = problem && strcmp(json_string_value(code), "usage") == 0;
    g_autofree char *shown = gp_escape(problem ? json_string_value(message) : "no reason given", -1, 1000);
    g_set_error(error, GP_ERROR, usage ? GP_ERROR_USAGE : GP_ERROR_SANDBOX, "fetch worker: %s", shown);
    return FALSE;
}

/* The deadline counts from the worker's start, whether or not the guard (puller/cancel.h) runs already, and whichever
 * of the two notices first: the guard kills the worker. */
static gboolean receive_ready(const GpFetch *fetch, GError **error)
{
    gboolean deadline = fetch->timeout > 0 && fetch->timeout < START_TIMEOUT;
    gint64 end = fetch->started + (gint64) (deadline ? fetch->timeout : START_TIMEOUT) * G_USEC_PER_SEC;
    struct pollfd wait = {.fd = fetch->control, .events = POLLIN};
    char text[READY_MAX];
    int ready;
    do
        ready = poll(&wait, 1, (int) (MAX(end - g_get_monotonic_time(), 0) / 1000) + 1);
    while (ready < 0 && errno == EINTR);
    ssize_t length = ready > 0 ? recv(fetch->control, text, sizeof text, 0) : -1;
    if (length > 0)
        return parse_ready(text, (gsize) length, error);
    if (deadline && g_get_monotonic_time() >= end)
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
            "the fetch worker was not ready within %u seconds\nA longer time: --timeout SECONDS.", fetch->timeout);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker %s",
            ready > 0 ? "died while it was starting" : "did not start in time");
    return FALSE;
}

GpFetch *gp_fetch_begin(const GpFetchConfig *config, GError **error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        gp_set_errno(error, errno, "socketpair");
        return NULL;
    }
    GP_AUTOFD int worker_end = pair[1];
    g_autoptr(GpFetch) fetch = g_new0(GpFetch, 1);
    fetch->log = gp_request_log_new();
    fetch->control = pair[0];
    fetch->plain_http = g_strdupv(config->plain_http);
    fetch->started = g_get_monotonic_time();
    fetch->timeout = config->timeout;
    fetch->worker = gp_worker_spawn(GP_FETCH_WORKER, NULL, &worker_end, 1, error);
    if (!fetch->worker)
        return NULL;
    g_autoptr(json_t) message = make_configuration(config);
    return send_message(fetch->control, message, NULL, 0, error) ? g_steal_pointer(&fetch) : NULL;
}

gboolean gp_fetch_ready(GpFetch *fetch, GError **error)
{
    fetch->ready = fetch->ready || receive_ready(fetch, error);
    return fetch->ready;
}

GpFetch *gp_fetch_start(const GpFetchConfig *config, GError **error)
{
    g_autoptr(GpFetch) fetch = gp_fetch_begin(config, error);
    return fetch && gp_fetch_ready(fetch, error) ? g_steal_pointer(&fetch) : NULL;
}

void gp_fetch_end(GpFetch *fetch)
{
    if (fetch)
        gp_close_fd(&fetch->control);
}

void gp_fetch_free(GpFetch *fetch)
{
    if (!fetch)
        return;
    gp_close_fd(&fetch->control);
    gp_worker_free(fetch->worker);
    gp_request_log_free(fetch->log);
    g_strfreev(fetch->plain_http);
    g_free(fetch);
}

void gp_fetch_report(const GpFetch *fetch, json_t *timings)
{
    gp_request_log_report(fetch->log, timings);
}

/* ---- locations */

GpLocation *gp_location_for(const GpReference *reference, const GpCredentials *credentials, const GpFetchConfig *config)
{
    GpLocation *location = g_new0(GpLocation, 1);
    location->host = g_strdup(strcmp(reference->domain, "docker.io") == 0 ? "registry-1.docker.io" : reference->domain);
    location->repository = g_strdup(reference->path);
    location->plain_http = is_listed(config->plain_http, location->host);
    location->credential = credentials ? gp_credentials_lookup(credentials, reference) : NULL;
    return location;
}

void gp_location_free(GpLocation *location)
{
    if (!location)
        return;
    g_free(location->host);
    g_free(location->repository);
    gp_credential_free(location->credential);
    gp_reference_free(location->reference);
    g_free(location);
}

/* ---- requests */

/* FALSE only for what JSON cannot hold: bytes that are not UTF-8. */
static gboolean set_string(json_t *object, const char *key, const char *value)
{
    return !value || json_object_set_new(object, key, json_string(value)) == 0;
}

static json_t *make_request(const char *kind, const GpLocation *location, const char *selector, GError **error)
{
    if (!gp_fetch_is_host(location->host) || !gp_fetch_is_repository(location->repository) ||
        !gp_fetch_is_selector(selector)) {
        g_autofree char *name = g_strdup_printf("%s/%s %s", location->host, location->repository, selector);
        g_autofree char *shown = gp_escape(name, -1, 300);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "not to be put into a URL: %s", shown);
        return NULL;
    }
    json_t *request =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "kind", kind, "scheme", location->plain_http ? "http" : "https", "host",
            location->host, "repository", location->repository, "selector", selector);
    if (location->insecure)
        json_object_set_new(request, "insecure", json_true());
    const GpCredential *credential = location->credential;
    if (!credential || (set_string(request, "username", credential->username) &&
                           set_string(request, "password", credential->password) &&
                           set_string(request, "identityToken", credential->identity_token)))
        return request;
    json_decref(request);
    g_set_error(error, GP_ERROR, GP_ERROR_AUTH, "the credentials for %s are not UTF-8", location->host);
    return NULL;
}

static gboolean make_pipe(int *reader, int *writer, GError **error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return FALSE;
    }
    *reader = ends[0];
    *writer = ends[1];
    return TRUE;
}

char *gp_fetch_bare_url(const char *url)
{
    g_autofree char *bare = g_strndup(url, strcspn(url, "?#"));
    const char *authority = strstr(bare, "://");
    const char *at = authority ? memchr(authority + 3, '@', strcspn(authority + 3, "/")) : NULL;
    return at ? g_strdup_printf("%.*s://%s", (int) (authority - bare), bare, at + 1) : g_steal_pointer(&bare);
}

/* What @request asks for, as it may be shown. */
static GpAsked describe(const json_t *request)
{
    const char *url = json_string_value(json_object_get(request, "url"));
    const char *kind = json_string_value(json_object_get(request, "kind"));
    const char *what = strcmp(kind, "manifest") == 0 ? "manifest"
                       : strcmp(kind, "blob") == 0   ? "blob"
                       : url                         ? "url"
                                                     : "referrers";
    if (url)
        return (GpAsked){what, gp_fetch_bare_url(url), g_get_monotonic_time()};
    char *full = g_strdup_printf("%s://%s/v2/%s/%ss/%s", json_string_value(json_object_get(request, "scheme")),
        json_string_value(json_object_get(request, "host")), json_string_value(json_object_get(request, "repository")),
        what, json_string_value(json_object_get(request, "selector")));
    return (GpAsked){what, full, g_get_monotonic_time()};
}

/* Sends @request; the reading ends of its two pipes are the result. */
static GpFetchBlob *start_request(GpFetch *fetch, const json_t *request, gboolean large, GError **error)
{
    g_autoptr(GpFetchBlob) blob = g_new0(GpFetchBlob, 1);
    blob->body = blob->reply = -1;
    blob->log = fetch->log;
    blob->asked = describe(request);
    GP_AUTOFD int reply = -1;
    GP_AUTOFD int body_writer = -1;
    GP_AUTOFD int reply_writer = -1;
    if (!make_pipe(&blob->body, &body_writer, error) || !make_pipe(&reply, &reply_writer, error))
        return NULL;
    if (large)
        (void) fcntl(body_writer, F_SETPIPE_SZ, GP_FETCH_PIPE_SIZE); /* above a user's quota: the usual 64 KiB do */
    const int fds[2] = {body_writer, reply_writer};
    if (!send_message(fetch->control, request, fds, 2, error))
        return NULL;
    blob->reply = gp_steal_fd(&reply);
    return g_steal_pointer(&blob);
}

/* Reads the one reply of @transfer. */
static gboolean read_reply(GpFetchBlob *transfer, GpFetchReply *reply, GError **error)
{
    GP_AUTOFD int fd = gp_steal_fd(&transfer->reply);
    return gp_fetch_reply_read(fd, transfer->log, &transfer->asked, reply, error);
}

/* A whole document of at most @max bytes. *@next may be NULL. */
static GBytes *run_request(GpFetch *fetch, const json_t *request, gsize max, const char *what, char **content_type,
    char **next, GError **error)
{
    g_autoptr(GpFetchBlob) transfer = start_request(fetch, request, FALSE, error);
    if (!transfer)
        return NULL;
    g_autoptr(GBytes) body = gp_read_all(transfer->body, max, what, error);
    if (!body)
        return NULL;
    gp_close_fd(&transfer->body);
    g_auto(GpFetchReply) reply = {0};
    if (!read_reply(transfer, &reply, error))
        return NULL;
    if (reply.bytes != g_bytes_get_size(body)) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX,
            "the fetch worker broke its protocol: it speaks of %" G_GUINT64_FORMAT " bytes and sent %" G_GSIZE_FORMAT,
            reply.bytes, g_bytes_get_size(body));
        return NULL;
    }
    if (content_type)
        *content_type = g_steal_pointer(&reply.content_type);
    if (next)
        *next = g_steal_pointer(&reply.next);
    return g_steal_pointer(&body);
}

GBytes *gp_fetch_manifest(
    GpFetch *fetch, const GpLocation *location, const char *selector, char **content_type, GError **error)
{
    g_autoptr(json_t) request = make_request("manifest", location, selector, error);
    if (!request)
        return NULL;
    json_object_set_new(request, "maxBytes", json_integer((json_int_t) GP_LIMIT_MANIFEST));
    return run_request(fetch, request, GP_LIMIT_MANIFEST, "manifest", content_type, NULL, error);
}

GBytes *gp_fetch_referrers(GpFetch *fetch, const GpLocation *location, const GpDigest *digest, char **page,
    char **content_type, GError **error)
{
    g_autofree char *asked = g_steal_pointer(page);
    g_autofree char *selector = gp_digest_to_string(digest);
    g_autoptr(json_t) request = make_request("referrers", location, selector, error);
    if (!request)
        return NULL;
    if (asked && !gp_fetch_is_page(asked)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the list of referrers goes on at no proper address");
        return NULL;
    }
    if (asked)
        json_object_set_new(request, "page", json_string(asked));
    json_object_set_new(request, "maxBytes", json_integer((json_int_t) GP_LIMIT_MANIFEST));
    return run_request(fetch, request, GP_LIMIT_MANIFEST, "list of referrers", content_type, page, error);
}

GBytes *gp_fetch_url(GpFetch *fetch, const char *url, gsize max, GError **error)
{
    g_autoptr(json_t) request = json_pack("{s:s, s:s?, s:I}", "kind", "url", "url", url, "maxBytes", (json_int_t) max);
    if (!request) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "a URL that is not UTF-8");
        return NULL;
    }
    return run_request(fetch, request, max, "document", NULL, NULL, error);
}

GpFetchBlob *gp_fetch_blob_open(
    GpFetch *fetch, const GpLocation *location, const GpDigest *digest, guint64 size, GError **error)
{
    if (size > GP_LIMIT_BLOB) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "a blob of %" G_GUINT64_FORMAT " bytes", size);
        return NULL;
    }
    g_autofree char *selector = gp_digest_to_string(digest);
    g_autoptr(json_t) request = make_request("blob", location, selector, error);
    if (!request)
        return NULL;
    json_object_set_new(request, "size", json_integer((json_int_t) size));
    return start_request(fetch, request, TRUE, error);
}

GpFetchBlob *gp_fetch_blob_url_open(GpFetch *fetch, const char *url, guint64 size, GError **error)
{
    g_autoptr(json_t) request = json_pack("{s:s, s:s, s:I}", "kind", "blob", "url", url, "size", (json_int_t) size);
    if (size <= GP_LIMIT_BLOB && request)
        return start_request(fetch, request, TRUE, error);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "not to be asked for: a URL that is not UTF-8, or a blob of %" G_GUINT64_FORMAT " bytes", size);
    return NULL;
}

int gp_fetch_blob_fd(const GpFetchBlob *blob)
{
    return blob->body;
}

gboolean gp_fetch_blob_finish(GpFetchBlob *blob, GError **error)
{
    gp_close_fd(&blob->body);
    g_auto(GpFetchReply) reply = {0};
    return read_reply(blob, &reply, error);
}

void gp_fetch_blob_free(GpFetchBlob *blob)
{
    if (!blob)
        return;
    gp_close_fd(&blob->body);
    if (blob->reply >= 0)
        gp_fetch_reply_give_up(blob->reply, blob->log, &blob->asked);
    gp_close_fd(&blob->reply);
    g_free(blob->asked.url);
    g_free(blob);
}
