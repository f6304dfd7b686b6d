#include "sigstore/evidence.h"

void gp_signature_facts_free(GpSignatureFacts *facts)
{
    if (!facts)
        return;
    g_free(facts->docker_reference);
    g_free(facts->signer);
    g_free(facts->creator);
    gp_certificate_identity_free(facts->identity);
    g_clear_pointer(&facts->times, g_array_unref);
    g_free(facts);
}
