/* FUZZ_LIBS: sigstore base
 * What GnuPG is shown of a simple signature: one message of a known shape, uncompressed, and no larger than allowed. */
#include "base/error.h"
#include "base/limits.h"
#include "sigstore/openpgp_message.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GBytes) blob = g_bytes_new(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) message = gp_openpgp_message_check(blob, &error);
    g_assert_true((message == NULL) == (error != NULL));
    if (!message)
        return 0;
    g_assert_cmpuint(g_bytes_get_size(message), <=, GP_LIMIT_SIGNATURE);
    /* What was uncompressed is of that shape itself. */
    g_autoptr(GBytes) again = gp_openpgp_message_check(message, &error);
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(again, message));
    return 0;
}
