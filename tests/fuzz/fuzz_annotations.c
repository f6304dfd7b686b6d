/* FUZZ_LIBS: sigstore base
 * Annotations of a cosign signature, a JSON object: read as evidence or refused with a reason, never half. */
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "sigstore/cosign_evidence.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);
int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(json_t) annotations = gp_json_parse(data, size, GP_LIMIT_MANIFEST, "annotations", NULL);
    if (!json_is_object(annotations))
        return 0;
    g_autoptr(GError) error = NULL;
    g_autoptr(GpBundle) bundle = gp_cosign_evidence_read(annotations, &error);
    g_assert_true((bundle == NULL) == (error != NULL));
    if (!bundle) {
        g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
        return 0;
    }
    g_assert_nonnull(bundle->signature);
    g_assert_null(bundle->payload);
    for (guint i = 0; i < bundle->entries->len; i++) {
        const GpLogEntry *entry = bundle->entries->pdata[i];
        g_assert_true(entry->promise && entry->body && entry->kind && entry->version && !entry->has_proof);
        g_assert_cmpuint(g_bytes_get_size(entry->log_id), ==, 32);
    }
    return 0;
}
