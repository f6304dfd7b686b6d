/* FUZZ_LIBS: policy base
 * auth.json: what is found is a whole credential, of one kind. */
#include "base/error.h"
#include "policy/credentials.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static const char *const names[] = {"docker.io/library/debian:12", "r.example:5000/ns/app:1", "r.example/app"};
    g_autoptr(GBytes) bytes = g_bytes_new(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpCredentials) credentials = gp_credentials_parse(bytes, "auth.json", &error);
    g_assert_true((credentials == NULL) == (error != NULL));
    for (gsize i = 0; credentials && i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GpReference) reference = gp_reference_parse(names[i], NULL);
        g_autoptr(GpCredential) found = gp_credentials_lookup(credentials, reference);
        if (!found)
            continue;
        g_assert_true((found->identity_token == NULL) == (found->username != NULL));
        g_assert_true((found->username == NULL) == (found->password == NULL));
        g_assert_true(!found->username || (*found->username && !strchr(found->username, ':')));
    }
    return 0;
}
