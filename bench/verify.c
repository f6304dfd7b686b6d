/* verify bundle|cosign|gpg SECONDS FILE…: verifies the same evidence again and again for about SECONDS and prints the
 * CPU time of one verification in microseconds, children (gpg) included. bundle BUNDLE ROOT ARTIFACT [KEY]   cosign
 * PAYLOAD SIGNATURE(base64) KEY   gpg SIGNATURE KEYRING */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/io.h"
#include "base/limits.h"
#include "sigstore/bundle_verify.h"
#include "sigstore/cosign.h"
#include "sigstore/simple_signing.h"

static GBytes *file(const char *path)
{
    g_autoptr(GError) error = NULL;
    GBytes *bytes = gp_read_file(AT_FDCWD, path, GP_LIMIT_BUNDLE, path, &error);
    if (!bytes)
        g_error("%s", error->message);
    return bytes;
}

static gboolean anybody(const GpCertificateIdentity *identity, gpointer data)
{
    return TRUE;
}

/* As for a pull: everything is read anew. */
static GpSignatureFacts *verify_bundle(char **files, GError **error)
{
    g_autoptr(GBytes) json = file(files[0]), root_json = file(files[1]), artifact = file(files[2]);
    g_autoptr(GpBundle) bundle = gp_bundle_parse(json, error);
    g_autoptr(GpTrustedRoot) root = bundle ? gp_trusted_root_parse(root_json, "root", error) : NULL;
    g_autoptr(GPtrArray) keys = NULL;
    if (!root)
        return NULL;
    if (files[3]) {
        g_autoptr(GBytes) pem = file(files[3]);
        keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_public_key_free);
        g_ptr_array_add(keys, gp_public_key_parse(pem, "key", NULL));
    }
    GpBundleRequest request = {
        .keys = keys, .root = root, .admits = anybody, .artifact = artifact, .logs = 1, .scts = 1};
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(artifact, NULL), g_bytes_get_size(artifact), &request.digest);
    return gp_bundle_verify(bundle, &request, error);
}

static GpSignatureFacts *verify_cosign(char **files, GError **error)
{
    g_autoptr(GBytes) payload = file(files[0]), text = file(files[1]), pem = file(files[2]);
    g_autofree char *signature = g_strndup(g_bytes_get_data(text, NULL), g_bytes_get_size(text));
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_public_key_free);
    g_ptr_array_add(keys, gp_public_key_parse(pem, "key", NULL));
    return gp_cosign_verify(payload, signature, keys, error);
}

static GpSignatureFacts *verify_gpg(char **files, GError **error)
{
    g_autoptr(GBytes) blob = file(files[0]), keyring = file(files[1]);
    g_autoptr(GPtrArray) keyrings = g_ptr_array_new();
    g_ptr_array_add(keyrings, keyring);
    g_autoptr(GpGpgHome) keys = gp_simple_signing_import(keyrings, error);
    return keys ? gp_simple_signing_verify(blob, keys, error) : NULL;
}

static double cpu(void)
{
    double total = 0;
    for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++) {
        struct rusage usage;
        getrusage(who, &usage);
        total += (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                 (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    return total;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GpSignatureFacts *(*verify)(char **files, GError **error);
    } kinds[] = {{"bundle", verify_bundle}, {"cosign", verify_cosign}, {"gpg", verify_gpg}};
    gsize kind = 0;
    while (argc > 3 && kind < G_N_ELEMENTS(kinds) && !g_str_equal(kinds[kind].name, argv[1]))
        kind++;
    if (argc < 4 || kind == G_N_ELEMENTS(kinds))
        g_error("usage: verify bundle|cosign|gpg SECONDS FILE…");
    double before = 0, limit = g_ascii_strtod(argv[2], NULL) * 1e6;
    guint rounds = 0;
    for (gint64 started = g_get_monotonic_time(); (double) (g_get_monotonic_time() - started) < limit || rounds < 2;
         rounds++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpSignatureFacts) facts = kinds[kind].verify(argv + 3, &error);
        if (!facts)
            g_error("refused: %s", error->message);
        if (rounds == 0) /* the first one loads OpenSSL's tables */
            before = cpu();
    }
    printf("%.0f\n", (cpu() - before) / (rounds - 1));
    return 0;
}
