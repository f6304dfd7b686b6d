/* FUZZ_LIBS: sigstore base
 * A timestamp response that nobody trusted made. */
#include "base/error.h"
#include "sigstore/timestamp.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GBytes) response = g_bytes_new(data, size);
    g_autoptr(GBytes) signature = g_bytes_new_static("signature", 9);
    g_autoptr(GPtrArray) nobody = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    gint64 time;
    g_assert_false(gp_timestamp_verify(response, signature, nobody, &time, NULL, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    return 0;
}
