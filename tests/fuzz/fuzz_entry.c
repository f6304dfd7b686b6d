/* FUZZ_LIBS: storage base
 * The wire form of an entry, as an unpack worker that was taken over would send it: what is accepted must come out of
 * the encoder as it went in. */
#include "base/error.h"
#include "storage/entry.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpEntry) entry = gp_entry_decode(data, size, &error);
    g_assert_true((entry == NULL) == (error != NULL));
    if (!entry)
        return 0;
    g_autoptr(GBytes) again = gp_entry_encode(entry, &error);
    g_assert_no_error(error);
    gsize length;
    const guint8 *bytes = g_bytes_get_data(again, &length);
    g_assert_cmpmem(bytes, length, data, size);
    return 0;
}
