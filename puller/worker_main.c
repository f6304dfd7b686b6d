/* guest-pull-fetch: the process that has the network, and nothing else. It reads one configuration, confines itself,
 * and then serves requests until the puller is gone (fetch_protocol.h). */

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto_memory.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "puller/fetch_protocol.h"
#include "puller/worker_loop.h"
#include "puller/worker_sandbox.h"

#define MAX_HOST_CONNECTIONS (16L + GP_LIMIT_PARTS)
#define MAX_CONNECTIONS 64L

static gboolean read_hosts(json_t *array, char ***hosts, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    gsize i;
    json_t *value;
    json_array_foreach(array, i, value)
    {
        if (!json_is_string(value) || !gp_fetch_is_host(json_string_value(value))) {
            g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--plain-http: not of the form HOST[:PORT]");
            return FALSE;
        }
        g_ptr_array_add(list, g_strdup(json_string_value(value)));
    }
    g_ptr_array_add(list, NULL);
    *hosts = (char **) g_ptr_array_free(g_steal_pointer(&list), FALSE);
    return TRUE;
}

static gboolean read_configuration(int control, GpWorkerContext *context, GError **error)
{
    g_autofree char *text = g_malloc(GP_LIMIT_FETCH_REQUEST);
    ssize_t length = recv(control, text, GP_LIMIT_FETCH_REQUEST, 0);
    json_t *hosts, *cert_dir, *extra_roots, *https, *http, *except, *timeout, *verbose;
    const GpJsonField fields[] = {
        {"plainHttp", GP_JSON_ARRAY, GP_JSON_MANDATORY, &hosts},
        {"certDir", GP_JSON_STRING, GP_JSON_OPTIONAL, &cert_dir},
        {"extraRoots", GP_JSON_STRING, GP_JSON_OPTIONAL, &extra_roots},
        {"httpsProxy", GP_JSON_STRING, GP_JSON_OPTIONAL, &https},
        {"httpProxy", GP_JSON_STRING, GP_JSON_OPTIONAL, &http},
        {"noProxy", GP_JSON_STRING, GP_JSON_OPTIONAL, &except},
        {"timeout", GP_JSON_INTEGER, GP_JSON_MANDATORY, &timeout},
        {"verbose", GP_JSON_BOOLEAN, GP_JSON_MANDATORY, &verbose},
        {NULL},
    };
    g_autoptr(json_t) document =
        gp_json_parse(text, (gsize) MAX(length, 0), GP_LIMIT_FETCH_REQUEST, "configuration", error);
    if (!document || !gp_json_fields(document, "$", fields, TRUE, error) ||
        !read_hosts(hosts, &context->plain_http, error))
        return FALSE;
    context->timeout = (guint) CLAMP(json_integer_value(timeout), 1, 7 * 86400);
    context->proxies = (GpProxies){
        g_strdup(json_string_value(https)), g_strdup(json_string_value(http)), g_strdup(json_string_value(except))};
    context->verbose = json_is_true(verbose);
    context->tls = gp_tls_load(json_string_value(cert_dir), json_string_value(extra_roots), error);
    return context->tls != NULL;
}

/* Everything that opens files, loads libraries or needs calls which the sandbox forbids. */
static gboolean prepare(GpWorkerContext *context, GError **error)
{
    context->tokens = gp_tokens_new();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK && (context->multi = curl_multi_init()) &&
        curl_multi_setopt(context->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX) == CURLM_OK &&
        curl_multi_setopt(context->multi, CURLMOPT_MAX_HOST_CONNECTIONS, MAX_HOST_CONNECTIONS) == CURLM_OK &&
        curl_multi_setopt(context->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, MAX_CONNECTIONS) == CURLM_OK)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "libcurl cannot be set up");
    return FALSE;
}

static void answer(int control, const GError *error)
{
    g_autoptr(json_t) message = error ? json_pack("{s:{s:s, s:s}}", "error", "code",
                                            gp_error_info((int) gp_error_code(error))->name, "message", error->message)
                                      : json_pack("{s:b}", "ready", 1);
    g_autofree char *text = message ? gp_json_to_text(message, FALSE) : NULL;
    if (text)
        (void) send(control, text, strlen(text), MSG_NOSIGNAL);
}

int main(void)
{
    g_autoptr(GError) error = NULL;
    GpWorkerContext context = {0};
    gp_crypto_ends_without_memory();
    (void) signal(SIGPIPE, SIG_IGN);
    gboolean ok = prepare(&context, &error) && read_configuration(GP_FETCH_CONTROL_FD, &context, &error) &&
                  gp_fetch_worker_confine(&error);
    answer(GP_FETCH_CONTROL_FD, ok ? NULL : error);
    if (ok)
        gp_worker_loop(&context, GP_FETCH_CONTROL_FD);
    _exit(ok ? 0 : 1);
}
