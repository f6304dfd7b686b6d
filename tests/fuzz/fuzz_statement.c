/* FUZZ_LIBS: sigstore base
 * A DSSE envelope's type and payload, as signed by somebody: a line of type, then the payload. */
#include "base/error.h"
#include "sigstore/statement.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    const guint8 *cut = size ? memchr(data, '\n', size) : NULL;
    gsize first = cut ? (gsize) (cut - data) : 0;
    g_autofree char *type = g_strndup((const char *) data, first);
    g_autoptr(GBytes) payload = g_bytes_new(cut ? cut + 1 : data, cut ? size - first - 1 : size);
    g_autoptr(GError) error = NULL;
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, "x", 1, &digest);
    g_autoptr(GBytes) encoded = gp_dsse_pae(*type ? type : GP_STATEMENT_PAYLOAD_TYPE, payload);
    g_assert_cmpuint(g_bytes_get_size(encoded), >, g_bytes_get_size(payload));
    gboolean good = gp_statement_check(
        *type ? type : GP_STATEMENT_PAYLOAD_TYPE, payload, &digest, GP_PREDICATE_COSIGN_SIGN, &error);
    g_assert_true(good == (error == NULL));
    return 0;
}
