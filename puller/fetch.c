#include "puller/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/worker.h"
#include "puller/cancel.h"
#include "puller/fetch_protocol.h"

#define START_TIMEOUT 30U /* seconds */
#define READY_MAX 8192

struct _GpFetch {
    GpWorker *worker;
    int control;
    char **plain_http;
};

struct _GpFetchBlob {
    int body;
    int reply;
};

/* What the worker said about a request. */
typedef struct {
    guint64 bytes;
    char *content_type, *next;
} Reply;

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

static void set_worker_died(GError **error)
{
    if (gp_cancelled(error))
        return;
    g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX,
        "the fetch worker died\nIf this happens again with the same registry, its answers make the worker break: "
        "report it.");
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
        set_worker_died(error);
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

/* The guard of the deadline (puller/cancel.h) is a thread, which must not exist yet: @seconds hold here too. */
static gboolean receive_ready(int socket, guint seconds, GError **error)
{
    struct pollfd wait = {.fd = socket, .events = POLLIN};
    char text[READY_MAX];
    gboolean deadline = seconds > 0 && seconds < START_TIMEOUT;
    int ready;
    while ((ready = poll(&wait, 1, (int) (deadline ? seconds : START_TIMEOUT) * 1000)) < 0 && errno == EINTR)
        ;
    ssize_t length = ready > 0 ? recv(socket, text, sizeof text, 0) : -1;
    if (length > 0)
        return parse_ready(text, (gsize) length, error);
    if (ready == 0 && deadline)
        g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
            "the fetch worker was not ready within %u seconds\nA longer time: --timeout SECONDS.", seconds);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker %s",
            ready > 0 ? "died while it was starting" : "did not start in time");
    return FALSE;
}

GpFetch *gp_fetch_start(const GpFetchConfig *config, GError **error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        gp_set_errno(error, errno, "socketpair");
        return NULL;
    }
    GP_AUTOFD int worker_end = pair[1];
    g_autoptr(GpFetch) fetch = g_new0(GpFetch, 1);
    fetch->control = pair[0];
    fetch->plain_http = g_strdupv(config->plain_http);
    fetch->worker = gp_worker_spawn(GP_FETCH_WORKER, NULL, &worker_end, 1, error);
    if (!fetch->worker)
        return NULL;
    gp_close_fd(&worker_end);
    g_autoptr(json_t) message = make_configuration(config);
    if (!send_message(fetch->control, message, NULL, 0, error) ||
        !receive_ready(fetch->control, config->timeout, error))
        return NULL;
    return g_steal_pointer(&fetch);
}

void gp_fetch_free(GpFetch *fetch)
{
    if (!fetch)
        return;
    gp_close_fd(&fetch->control);
    gp_worker_free(fetch->worker);
    g_strfreev(fetch->plain_http);
    g_free(fetch);
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

/* Sends @request; the reading ends of its two pipes are the result. */
static GpFetchBlob *start_request(GpFetch *fetch, const json_t *request, gboolean large, GError **error)
{
    g_autoptr(GpFetchBlob) blob = g_new(GpFetchBlob, 1);
    blob->body = blob->reply = -1;
    GP_AUTOFD int body_writer = -1;
    GP_AUTOFD int reply_writer = -1;
    if (!make_pipe(&blob->body, &body_writer, error) || !make_pipe(&blob->reply, &reply_writer, error))
        return NULL;
    if (large)
        (void) fcntl(body_writer, F_SETPIPE_SZ, GP_FETCH_PIPE_SIZE); /* above a user's quota: the usual 64 KiB do */
    const int fds[2] = {body_writer, reply_writer};
    if (!send_message(fetch->control, request, fds, 2, error))
        return NULL;
    return g_steal_pointer(&blob);
}

/* The codes that a worker may report; the others are the puller's own to find. */
static GpErrorCode permitted_code(const char *name)
{
    GpErrorCode code;
    if (!gp_error_code_from_name(name, &code))
        return GP_ERROR_SANDBOX;
    if (code == GP_ERROR_NETWORK || code == GP_ERROR_AUTH || code == GP_ERROR_NOT_FOUND || code == GP_ERROR_LIMIT ||
        code == GP_ERROR_INVALID || code == GP_ERROR_UNSUPPORTED)
        return code;
    return GP_ERROR_SANDBOX;
}

static void set_reported(json_t *problem, GError **error)
{
    json_t *code, *message, *hint;
    const GpJsonField fields[] = {{"code", GP_JSON_STRING, GP_JSON_MANDATORY, &code},
        {"message", GP_JSON_STRING, GP_JSON_MANDATORY, &message}, {"hint", GP_JSON_STRING, GP_JSON_OPTIONAL, &hint},
        {NULL}};
    g_autoptr(GError) broken = NULL;
    if (!gp_json_fields(problem, "$.error", fields, TRUE, &broken)) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: %s", broken->message);
        return;
    }
    g_autofree char *text = gp_escape(json_string_value(message), -1, GP_FETCH_MESSAGE_MAX);
    g_autofree char *more = hint ? gp_escape(json_string_value(hint), -1, GP_FETCH_MESSAGE_MAX) : NULL;
    g_set_error(error, GP_ERROR, (gint) permitted_code(json_string_value(code)), "%s%s%s", text, more ? "\n" : "",
        more ? more : "");
}

static gboolean parse_reply(const guint8 *payload, gsize length, Reply *reply, GError **error)
{
    json_t *status, *bytes, *content_type, *next, *problem;
    const GpJsonField fields[] = {
        {"status", GP_JSON_INTEGER, GP_JSON_MANDATORY, &status},
        {"bytes", GP_JSON_INTEGER, GP_JSON_MANDATORY, &bytes},
        {"contentType", GP_JSON_STRING, GP_JSON_OPTIONAL, &content_type},
        {"next", GP_JSON_STRING, GP_JSON_OPTIONAL, &next},
        {"error", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &problem},
        {NULL},
    };
    g_autoptr(GError) broken = NULL;
    g_autoptr(json_t) answer = gp_json_parse(payload, length, GP_LIMIT_FETCH_REPLY, "reply", &broken);
    if (!answer || !gp_json_fields(answer, "$", fields, TRUE, &broken) || json_integer_value(bytes) < 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: %s",
            broken ? broken->message : "negative count");
        return FALSE;
    }
    if (problem) {
        set_reported(problem, error);
        return FALSE;
    }
    reply->bytes = (guint64) json_integer_value(bytes);
    reply->content_type = content_type ? g_strdup(json_string_value(content_type)) : NULL;
    reply->next = next ? g_strdup(json_string_value(next)) : NULL;
    return TRUE;
}

/* Reads the one frame of the reply pipe. */
static gboolean read_reply(int fd, Reply *reply, GError **error)
{
    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(fd, GP_LIMIT_FETCH_REPLY);
    guint32 type;
    const guint8 *payload;
    gsize length;
    g_autoptr(GError) broken = NULL;
    if (!gp_frame_reader_next(reader, &type, &payload, &length, &broken) || type == 0) {
        /* Half a frame and none are the same: it did not live to say it. */
        set_worker_died(error);
        return FALSE;
    }
    if (type != GP_FETCH_FRAME_REPLY) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the fetch worker broke its protocol: frame type %u", type);
        return FALSE;
    }
    return parse_reply(payload, length, reply, error);
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
    Reply reply = {0};
    if (!read_reply(transfer->reply, &reply, error))
        return NULL;
    g_autofree char *type = reply.content_type;
    g_autofree char *following = reply.next;
    if (reply.bytes != g_bytes_get_size(body)) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX,
            "the fetch worker broke its protocol: it speaks of %" G_GUINT64_FORMAT " bytes and sent %" G_GSIZE_FORMAT,
            reply.bytes, g_bytes_get_size(body));
        return NULL;
    }
    if (content_type)
        *content_type = g_steal_pointer(&type);
    if (next)
        *next = g_steal_pointer(&following);
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

int gp_fetch_blob_fd(const GpFetchBlob *blob)
{
    return blob->body;
}

gboolean gp_fetch_blob_finish(GpFetchBlob *blob, GError **error)
{
    gp_close_fd(&blob->body);
    Reply reply = {0};
    gboolean ok = read_reply(blob->reply, &reply, error);
    g_free(reply.content_type);
    g_free(reply.next);
    return ok;
}

void gp_fetch_blob_free(GpFetchBlob *blob)
{
    if (!blob)
        return;
    gp_close_fd(&blob->body);
    gp_close_fd(&blob->reply);
    g_free(blob);
}
