/* OpenSSL without memory: the process ends. */
#include "base/crypto_memory.h"

#include <glib.h>
#include <openssl/crypto.h>
#include <sys/resource.h>

static void the_process_ends_without_memory(void)
{
#ifdef GP_SANITIZED
    g_test_skip("the sanitizer's own memory is larger than any limit");
    return;
#endif
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*failed to allocate*");
        return;
    }
    gp_crypto_ends_without_memory();
    const struct rlimit room = {1 << 30, 1 << 30};
    g_assert_cmpint(setrlimit(RLIMIT_AS, &room), ==, 0);
    OPENSSL_free(OPENSSL_malloc((size_t) 2 << 30));
}

static void too_late_is_no_promise(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*OpenSSL was in use before*");
        return;
    }
    OPENSSL_free(OPENSSL_malloc(1));
    gp_crypto_ends_without_memory();
}

static void with_memory_nothing_is_different(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    gp_crypto_ends_without_memory();
    char *text = OPENSSL_strdup("text");
    text = OPENSSL_realloc(text, 1 << 20);
    g_assert_cmpstr(text, ==, "text");
    OPENSSL_clear_free(text, 1 << 20);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/crypto-memory/the-process-ends-without-memory", the_process_ends_without_memory);
    g_test_add_func("/base/crypto-memory/too-late-is-no-promise", too_late_is_no_promise);
    g_test_add_func("/base/crypto-memory/with-memory-nothing-is-different", with_memory_nothing_is_different);
    return g_test_run();
}
