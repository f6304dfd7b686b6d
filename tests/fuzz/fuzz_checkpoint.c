/* FUZZ_LIBS: sigstore base
 * A signed note that the log did not sign is never one that it did; behind it lies nothing that is not read. */
#include "base/error.h"
#include "sigstore/checkpoint.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static const char log_key[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                              "-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static GpTrustedLog log = {.host = (char *) (guintptr) "log.example", .start = G_MININT64, .end = G_MAXINT64};
    if (!log.key) {
        g_autoptr(GBytes) pem = g_bytes_new_static(log_key, strlen(log_key));
        log.key = gp_public_key_parse(pem, "key", NULL);
        g_assert_nonnull(log.key);
    }
    g_autofree char *note = g_strndup((const char *) data, size);
    for (int exact = 0; exact < 2; exact++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpCheckpoint) checkpoint = gp_checkpoint_verify(note, &log, exact, &error);
        g_assert_null(checkpoint);
        g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    }
    return 0;
}
