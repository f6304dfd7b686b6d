/* FUZZ_LIBS: sigstore base
 * The body of a log's entry, of each kind that it may say it is. */
#include "base/error.h"
#include "sigstore/rekor_body.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static const char *const kinds[][2] = {
        {"hashedrekord", "0.0.1"}, {"hashedrekord", "0.0.2"}, {"dsse", "0.0.1"}, {"intoto", "0.0.2"}};
    g_autoptr(GBytes) body = g_bytes_new(data, size);
    g_autoptr(GBytes) signature = g_bytes_new_static("signature", 9);
    g_autoptr(GBytes) verifier = g_bytes_new_static("key", 3);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, "x", 1, &digest);
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        GpLogEntry entry = {
            .kind = (char *) (guintptr) kinds[i][0], .version = (char *) (guintptr) kinds[i][1], .body = body};
        GpLogBinding binding = {.signature = signature,
            .verifier = verifier,
            .is_certificate = i & 1,
            .key_details = "PKIX_ED25519",
            .data = signature,
            .data_digest = &digest,
            .payload = signature};
        g_autoptr(GError) error = NULL;
        gboolean good = gp_rekor_body_check(&entry, &binding, &error);
        g_assert_true(good == (error == NULL));
    }
    return 0;
}
