#include "service/pull_report.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/limits.h"
#include "service/child.h"

#define SHOWN_IMAGE 512
#define SHOWN_MESSAGE 4096

/* Sets @error from the report's "error" object; FALSE if there is none. */
static gboolean read_failure(json_t *report, GError **error)
{
    json_t *failure = NULL, *code_value = NULL, *message = NULL, *detail = NULL;
    const GpJsonField top[] = {{"error", GP_JSON_OBJECT, GP_JSON_MANDATORY, &failure}, {0}};
    const GpJsonField inner[] = {{"code", GP_JSON_STRING, GP_JSON_MANDATORY, &code_value},
        {"message", GP_JSON_STRING, GP_JSON_MANDATORY, &message}, {"detail", GP_JSON_STRING, GP_JSON_NULLABLE, &detail},
        {0}};
    GpErrorCode code = GP_ERROR_INTERNAL;
    if (!gp_json_fields(report, "$", top, FALSE, NULL) || !gp_json_fields(failure, "$.error", inner, FALSE, NULL) ||
        !gp_error_code_from_name(json_string_value(code_value), &code))
        return FALSE;
    g_autofree char *text = gp_escape(json_string_value(message), -1, SHOWN_MESSAGE);
    g_autofree char *hint = detail ? gp_escape(json_string_value(detail), -1, SHOWN_MESSAGE) : NULL;
    g_set_error(error, GP_ERROR, (int) code, "%s%s%s", text, hint && hint[0] ? "\n" : "", hint ? hint : "");
    return TRUE;
}

static void set_unreadable(const char *end, const GError *cause, GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "the puller ended with %s and no report that can be read%s%s", end,
        cause ? ": " : "", cause ? cause->message : "");
}

json_t *gp_pull_report_parse(GBytes *output, int wait_status, GError **error)
{
    g_autofree char *end = gp_child_describe(wait_status);
    if (WIFSIGNALED(wait_status)) {
        /* SIGKILL is the kernel's way to end a program without memory, SIGTRAP and SIGABRT are GLib's. */
        int signal = WTERMSIG(wait_status);
        gboolean memory = signal == SIGKILL || signal == SIGTRAP || signal == SIGABRT;
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX, "the puller was %s%s", end,
            memory ? "\nOut of memory? This log and the kernel's say more." : "");
        return NULL;
    }
    g_autoptr(GError) cause = NULL;
    g_autoptr(json_t) report = gp_json_parse(
        g_bytes_get_data(output, NULL), g_bytes_get_size(output), GP_LIMIT_PULL_REPORT, "the puller's report", &cause);
    if (report && WEXITSTATUS(wait_status) == 0)
        return g_steal_pointer(&report);
    if (report && read_failure(report, error))
        return NULL;
    set_unreadable(end, cause, error);
    return NULL;
}

char *gp_pull_report_read(GBytes *output, int wait_status, GError **error)
{
    g_autoptr(json_t) report = gp_pull_report_parse(output, wait_status, error);
    if (!report)
        return NULL;
    json_t *digest_value;
    const GpJsonField fields[] = {{"manifestDigest", GP_JSON_STRING, GP_JSON_MANDATORY, &digest_value}, {0}};
    GpDigest digest;
    g_autoptr(GError) cause = NULL;
    if (gp_json_fields(report, "$", fields, FALSE, &cause) &&
        gp_digest_parse(json_string_value(digest_value), &digest, &cause))
        return gp_digest_to_string(&digest);
    g_autofree char *end = gp_child_describe(wait_status);
    set_unreadable(end, cause, error);
    return NULL;
}

/* The words that kata's end-to-end tests, and people's alerts, look for; chosen by code. */
static const char *known_words(const GError *why)
{
    switch (gp_error_code(why)) {
    case GP_ERROR_AUTH:
        return "Not authorized: ";
    case GP_ERROR_POLICY:
    case GP_ERROR_SIGNATURE:
        return "Image policy rejected: Denied by policy: ";
    case GP_ERROR_KEY:
        return strstr(why->message, "decrypt") ? "Failed to decrypt the image layer, please ensure that the decryption "
                                                 "key is placed and correct: "
                                               : "";
    case GP_ERROR_INTERNAL:
    case GP_ERROR_USAGE:
    case GP_ERROR_DIGEST:
    case GP_ERROR_NOT_FOUND:
    case GP_ERROR_NETWORK:
    case GP_ERROR_INVALID:
    case GP_ERROR_LIMIT:
    case GP_ERROR_SPACE:
    case GP_ERROR_UNSUPPORTED:
    case GP_ERROR_SANDBOX:
    case GP_ERROR_CANCELLED:
        return "";
    }
    return "";
}

char *gp_pull_report_text(const char *image, const GError *why)
{
    g_autofree char *shown = gp_escape(image, -1, SHOWN_IMAGE);
    g_autofree char *message = NULL;
    g_autofree char *hint = NULL;
    gp_error_split(why, &message, &hint);
    return g_strdup_printf("[CDH] [ERROR]: Image Pull error: Failed to pull image %s: %s%s (%s)%s%s", shown,
        known_words(why), message, gp_error_info((int) gp_error_code(why))->name, hint ? ". " : "", hint ? hint : "");
}
