#include <string.h>

#include "service/pull_report.h"

#define EXITED(status) ((status) << 8)
#define DIGEST "sha256:0123456789012345678901234567890123456789012345678901234567890123"

static char *read_report(const char *text, int wait_status, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));
    return gp_pull_report_read(bytes, wait_status, error);
}

static void test_success(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *digest =
        read_report("{\"image\":\"x\",\"manifestDigest\":\"" DIGEST "\",\"layers\":[]}\n", 0, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(digest, ==, DIGEST);
}

static void test_refused(void)
{
    static const struct {
        const char *text;
        int wait_status;
        GpErrorCode code;
        const char *words;
    } rows[] = {
        {"", 0, GP_ERROR_INTERNAL, "exit status 0 and no report that can be read: the puller's report"},
        {"{}", 0, GP_ERROR_INTERNAL, "no report that can be read: $"},
        {"{\"manifestDigest\":\"sha256:12\"}", 0, GP_ERROR_INTERNAL, "no report that can be read"},
        {"{\"manifestDigest\":7}", 0, GP_ERROR_INTERNAL, "no report that can be read: $.manifestDigest"},
        {"[]", 0, GP_ERROR_INTERNAL, "no report that can be read: $: must be an object"},
        {"{\"manifestDigest\":\"" DIGEST "\"} {}", 0, GP_ERROR_INTERNAL, "no report that can be read"},
        /* a digest does not make a failure a success */
        {"{\"manifestDigest\":\"" DIGEST "\"}", EXITED(3), GP_ERROR_INTERNAL, "exit status 3 and no report"},
        {"{\"manifestDigest\":\"" DIGEST "\"}", 9, GP_ERROR_SANDBOX,
            "the puller was killed by signal 9 (Killed)\nOut of memory?"},
        {"", 5, GP_ERROR_SANDBOX, "Out of memory?"},
        {"", 6, GP_ERROR_SANDBOX, "Out of memory?"},
        {"{\"error\":{\"code\":\"policy\",\"message\":\"no\"}}", 0, GP_ERROR_INTERNAL, "exit status 0 and no report"},
        {"{\"error\":{\"code\":\"policy\",\"message\":\"no\"}}", EXITED(3), GP_ERROR_POLICY, "no"},
        {"{\"error\":{\"code\":\"auth\",\"message\":\"no\",\"detail\":null}}", EXITED(6), GP_ERROR_AUTH, "no"},
        {"{\"error\":{\"code\":\"key\",\"message\":\"a\\u001b[1m\",\"detail\":\"b\"}}", EXITED(13), GP_ERROR_KEY,
            "a\\x1b[1m\nb"},
        {"{\"error\":{\"code\":\"none\",\"message\":\"no\"}}", EXITED(1), GP_ERROR_INTERNAL, "exit status 1"},
        {"{\"error\":\"x\"}", EXITED(1), GP_ERROR_INTERNAL, "exit status 1"},
        {"7", EXITED(1), GP_ERROR_INTERNAL, "exit status 1"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(read_report(rows[i].text, rows[i].wait_status, &error));
        g_assert_error(error, GP_ERROR, (int) rows[i].code);
        if (!strstr(error->message, rows[i].words))
            g_error("%s: %s", rows[i].text, error->message);
    }
}

static void test_text(void)
{
    static const struct {
        GpErrorCode code;
        const char *message, *text;
    } rows[] = {
        {GP_ERROR_POLICY, "no", "Image policy rejected: Denied by policy: no (policy)"},
        {GP_ERROR_SIGNATURE, "no\nSign it.", "Image policy rejected: Denied by policy: no (signature). Sign it."},
        {GP_ERROR_AUTH, "no", "Not authorized: no (auth)"},
        {GP_ERROR_KEY, "kbs:///a/b/c: absent", "kbs:///a/b/c: absent (key)"},
        {GP_ERROR_KEY, "cannot decrypt",
            "Failed to decrypt the image layer, please ensure that the decryption key is placed and correct: cannot "
            "decrypt (key)"},
        {GP_ERROR_NETWORK, "no route", "no route (network)"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = g_error_new_literal(GP_ERROR, (int) rows[i].code, rows[i].message);
        g_autofree char *text = gp_pull_report_text("a\nb", error);
        g_autofree char *expected =
            g_strconcat("[CDH] [ERROR]: Image Pull error: Failed to pull image a\\x0ab: ", rows[i].text, NULL);
        g_assert_cmpstr(text, ==, expected);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/service/pull-report/success", test_success);
    g_test_add_func("/service/pull-report/everything-else-is-a-failure", test_refused);
    g_test_add_func("/service/pull-report/text-keeps-katas-words", test_text);
    return g_test_run();
}
