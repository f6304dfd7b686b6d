#include "base/crypto_memory.h"

#include <glib.h>
#include <openssl/crypto.h>

static void *allocate(size_t size, const char *file G_GNUC_UNUSED, int line G_GNUC_UNUSED)
{
    return g_malloc(size);
}

static void *reallocate(void *memory, size_t size, const char *file G_GNUC_UNUSED, int line G_GNUC_UNUSED)
{
    return g_realloc(memory, size);
}

static void release(void *memory, const char *file G_GNUC_UNUSED, int line G_GNUC_UNUSED)
{
    g_free(memory);
}

void gp_crypto_ends_without_memory(void)
{
    /* OpenSSL refuses once it has allocated anything: whoever loads it before main() would undo the promise unseen. */
    if (CRYPTO_set_mem_functions(allocate, reallocate, release) != 1)
        g_error("OpenSSL was in use before main()");
}
