#include "puller/worker_answer.h"

#include <sys/random.h>

#include "puller/worker_header.h"

#define BACKOFF_MS 250

static gboolean refuse(GError **error, const char *why)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s", why);
    return FALSE;
}

/* RFC 9110 14.4, strictly: a server that answers with another part than asked for is not believed at all. */
static gboolean check_partial(const GpAnswer *answer, const GpAnswerPlan *plan, GError **error)
{
    guint64 start, end, total;
    if (!plan->is_blob || plan->range_start == 0)
        return refuse(error, "the server sends a part although all of it was asked for");
    if (!answer->content_range || !gp_content_range_parse(answer->content_range, &start, &end, &total))
        return refuse(error, "the server does not say properly which part it sends");
    guint64 behind = plan->range_length ? plan->range_start + plan->range_length : plan->size;
    if (start == plan->range_start && total == plan->size && end + 1 == behind)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "the server sends bytes %" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
        ", asked for were %" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT,
        start, end, total, plan->range_start, behind - 1, plan->size);
    return FALSE;
}

gboolean gp_answer_check(const GpAnswer *answer, const GpAnswerPlan *plan, GError **error)
{
    if (answer->status != 200 && answer->status != 206)
        return TRUE;
    if (answer->content_encoding && g_ascii_strcasecmp(answer->content_encoding, "identity") != 0)
        return refuse(error, "the server sends an encoded answer, which was not asked for");
    if (answer->status == 206 && !check_partial(answer, plan, error))
        return FALSE;
    guint64 expected = answer->status != 206 ? plan->size
                       : plan->range_length  ? plan->range_length
                                             : plan->size - plan->range_start;
    if (!plan->is_blob || !answer->has_length || answer->length == expected)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "the server announces %" G_GUINT64_FORMAT " bytes, the manifest leaves %" G_GUINT64_FORMAT, answer->length,
        expected);
    return FALSE;
}

gboolean gp_status_is_temporary(int status)
{
    return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

gboolean gp_status_lacks_referrers(int status)
{
    return status == 404 || status == 400 || status == 405 || status == 406 || status == 410 || status == 415 ||
           status == 501;
}

GpErrorCode gp_status_error_code(int status, const char *code)
{
    if (status == 404 || status == 410)
        return GP_ERROR_NOT_FOUND;
    if (status == 401 || status == 403 || status == 407)
        return GP_ERROR_AUTH;
    if (status >= 500)
        return GP_ERROR_NETWORK;
    if (g_strcmp0(code, "MANIFEST_UNKNOWN") == 0 || g_strcmp0(code, "NAME_UNKNOWN") == 0 ||
        g_strcmp0(code, "BLOB_UNKNOWN") == 0)
        return GP_ERROR_NOT_FOUND;
    return GP_ERROR_INVALID;
}

guint gp_answer_retry_after(const GpAnswer *answer, guint max)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    return answer->retry_after ? gp_retry_after_parse(answer->retry_after, now, max) : 0;
}

guint gp_backoff_ms(guint tries)
{
    guint8 random = 128;
    (void) !getrandom(&random, sizeof random, GRND_NONBLOCK);
    return (BACKOFF_MS << MIN(tries - 1, 10)) * (128 + random) / 256;
}

static const struct {
    CURLcode result;
    GpErrorCode code;
    gboolean temporary;
} results[] = {
    {CURLE_COULDNT_RESOLVE_HOST, GP_ERROR_NETWORK, TRUE},
    {CURLE_COULDNT_CONNECT, GP_ERROR_NETWORK, TRUE},
    {CURLE_OPERATION_TIMEDOUT, GP_ERROR_NETWORK, TRUE},
    {CURLE_GOT_NOTHING, GP_ERROR_NETWORK, TRUE},
    {CURLE_SEND_ERROR, GP_ERROR_NETWORK, TRUE},
    {CURLE_RECV_ERROR, GP_ERROR_NETWORK, TRUE},
    {CURLE_PARTIAL_FILE, GP_ERROR_NETWORK, TRUE},
    {CURLE_HTTP2, GP_ERROR_NETWORK, TRUE},
    {CURLE_HTTP2_STREAM, GP_ERROR_NETWORK, TRUE},
    {CURLE_SSL_CONNECT_ERROR, GP_ERROR_NETWORK, FALSE},
    {CURLE_PEER_FAILED_VERIFICATION, GP_ERROR_NETWORK, FALSE},
    {CURLE_WEIRD_SERVER_REPLY, GP_ERROR_INVALID, FALSE},
    {CURLE_UNSUPPORTED_PROTOCOL, GP_ERROR_INVALID, FALSE},
    {CURLE_URL_MALFORMAT, GP_ERROR_INVALID, FALSE},
    {CURLE_BAD_CONTENT_ENCODING, GP_ERROR_INVALID, FALSE},
    /* libcurl's word for a header line beyond its own ceiling. */
    {CURLE_OUT_OF_MEMORY, GP_ERROR_LIMIT, FALSE},
};

GpErrorCode gp_curl_error_code(CURLcode result)
{
    for (gsize i = 0; i < G_N_ELEMENTS(results); i++)
        if (results[i].result == result)
            return results[i].code;
    return GP_ERROR_NETWORK;
}

gboolean gp_curl_is_temporary(CURLcode result)
{
    for (gsize i = 0; i < G_N_ELEMENTS(results); i++)
        if (results[i].result == result)
            return results[i].temporary;
    return FALSE;
}
