/* FUZZ_LIBS: sigstore base
 * A bundle and, behind a NUL, a trusted root: whatever they say, nobody who is asked for signed it. */
#include "base/error.h"
#include "sigstore/bundle_verify.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static gboolean nobody(const GpCertificateIdentity *identity, gpointer data)
{
    g_assert_nonnull(identity->issuer);
    return FALSE;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    const guint8 *cut = size ? memchr(data, '\0', size) : NULL;
    gsize first = cut ? (gsize) (cut - data) : size, second = cut ? size - first - 1 : 0;
    g_autoptr(GError) error = NULL, root_error = NULL;
    g_autoptr(GBytes) json = g_bytes_new(data, first);
    g_autoptr(GBytes) root_json = g_bytes_new(cut ? cut + 1 : data, second);
    g_autoptr(GpBundle) bundle = gp_bundle_parse(json, &error);
    g_autoptr(GpTrustedRoot) root = gp_trusted_root_parse(root_json, "root", &root_error);
    g_assert_true((bundle == NULL) == (error != NULL) && (root == NULL) == (root_error != NULL));
    if (!bundle)
        return 0;
    g_autoptr(GBytes) artifact = g_bytes_new_static("an artifact\n", 12);
    GpBundleRequest request = {.root = root, .admits = nobody, .artifact = artifact, .logs = 1, .scts = 1};
    gp_digest_of(GP_DIGEST_SHA256, "an artifact\n", 12, &request.digest);
    g_assert_null(gp_bundle_verify(bundle, &request, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    return 0;
}
