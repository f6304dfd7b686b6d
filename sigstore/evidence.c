#include "sigstore/evidence.h"

void gp_signature_facts_free(GpSignatureFacts *facts)
{
    if (!facts)
        return;
    g_free(facts->docker_reference);
    g_free(facts->signer);
    g_free(facts->creator);
    g_free(facts);
}
