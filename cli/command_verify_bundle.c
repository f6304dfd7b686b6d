/* verify-bundle: one bundle, by the protocol of the sigstore-conformance suite. Its options are its own. */
#include <fcntl.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "sigstore/bundle_verify.h"

#define DEFAULT_ROOT "/etc/guest-pull/trusted_root.json"
#define STAGING_ROOT "/etc/guest-pull/trusted_root.staging.json"
#define REJECTED 1

typedef struct {
    char *bundle, *identity, *issuer, *key, *root;
    gboolean staging, json;
    char **words;
} Arguments;

static void arguments_clear(Arguments *a)
{
    char *const strings[] = {a->bundle, a->identity, a->issuer, a->key, a->root};
    for (gsize i = 0; i < G_N_ELEMENTS(strings); i++)
        g_free(strings[i]);
    g_strfreev(a->words);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

/* What was read from the files that the arguments name. */
typedef struct {
    GpBundle *bundle;
    GpTrustedRoot *root;
    GPtrArray *keys;
    GBytes *artifact;
} Material;

static void material_clear(Material *m)
{
    gp_bundle_free(m->bundle);
    gp_trusted_root_free(m->root);
    g_clear_pointer(&m->keys, g_ptr_array_unref);
    g_clear_pointer(&m->artifact, g_bytes_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Material, material_clear)

static gboolean parse(int argc, char **argv, Arguments *a, GError **error)
{
    const GOptionEntry entries[] = {
        {"bundle", 0, 0, G_OPTION_ARG_FILENAME, &a->bundle, "the bundle", "FILE"},
        {"certificate-identity", 0, 0, G_OPTION_ARG_STRING, &a->identity, "who must have signed: the whole SAN", "SAN"},
        {"certificate-oidc-issuer", 0, 0, G_OPTION_ARG_STRING, &a->issuer, "and who must have said so", "URL"},
        {"key", 0, 0, G_OPTION_ARG_FILENAME, &a->key, "the public key, instead of these two", "PEM"},
        {"trusted-root", 0, 0, G_OPTION_ARG_FILENAME, &a->root, "trusted_root.json; default " DEFAULT_ROOT, "FILE"},
        {"staging", 0, 0, G_OPTION_ARG_NONE, &a->staging, "default " STAGING_ROOT, NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &a->json, "one JSON object on standard output", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &a->words, NULL, NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("FILE|sha256:HEX");
    g_autoptr(GError) cause = NULL;
    g_option_context_set_summary(context, "Verifies a Sigstore bundle offline. Exit status: 0 accepted, 1 rejected, 2 "
                                          "these arguments make no sense.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &cause)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s\nSee guest-pull verify-bundle --help.", cause->message);
        return FALSE;
    }
    gboolean by_identity = a->identity && a->issuer;
    if (!a->bundle || !a->words || a->words[1] || (a->identity != NULL) != (a->issuer != NULL) ||
        by_identity == (a->key != NULL)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "needs --bundle, either --key or both --certificate-identity and --certificate-oidc-issuer, and one "
            "FILE or sha256:HEX\nSee guest-pull verify-bundle --help.");
        return FALSE;
    }
    return TRUE;
}

/* A file by the name "sha256:…" is written "./sha256:…". */
static gboolean read_artifact(const char *word, Material *m, GpDigest *digest, GError **error)
{
    if (g_str_has_prefix(word, "sha256:"))
        return gp_digest_parse(word, digest, error);
    m->artifact = gp_read_file(AT_FDCWD, word, GP_LIMIT_BLOB, "artifact", error);
    if (m->artifact)
        gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(m->artifact, NULL), g_bytes_get_size(m->artifact), digest);
    return m->artifact != NULL;
}

static gboolean read_key(const char *path, Material *m, GError **error)
{
    g_autoptr(GBytes) pem = gp_read_file(AT_FDCWD, path, GP_LIMIT_KEY, "key", error);
    GpPublicKey *key = pem ? gp_public_key_parse(pem, path, error) : NULL;
    m->keys = g_ptr_array_new_with_free_func((GDestroyNotify) gp_public_key_free);
    if (key)
        g_ptr_array_add(m->keys, key);
    return key != NULL;
}

/* With a key, and no root to be found, logs are not looked at. */
static gboolean read_root(const Arguments *a, Material *m, GError **error)
{
    const char *path = a->root ? a->root : a->staging ? STAGING_ROOT : DEFAULT_ROOT;
    if (!a->root && a->key && !g_file_test(path, G_FILE_TEST_EXISTS))
        return TRUE;
    g_autoptr(GBytes) json = gp_read_file(AT_FDCWD, path, GP_LIMIT_TRUSTED_ROOT, "trusted root", error);
    m->root = json ? gp_trusted_root_parse(json, path, error) : NULL;
    return m->root != NULL;
}

static gboolean read_material(const Arguments *a, Material *m, GpDigest *digest, GError **error)
{
    g_autoptr(GBytes) json = gp_read_file(AT_FDCWD, a->bundle, GP_LIMIT_BUNDLE + 1, "bundle", error);
    m->bundle = json ? gp_bundle_parse(json, error) : NULL;
    return m->bundle && read_artifact(a->words[0], m, digest, error) && (!a->key || read_key(a->key, m, error)) &&
           read_root(a, m, error);
}

/* Whole texts; no pattern. */
static gboolean is_wanted(const GpCertificateIdentity *identity, gpointer data)
{
    const Arguments *a = data;
    return strcmp(identity->issuer, a->issuer) == 0 && strcmp(identity->san, a->identity) == 0;
}

static GpSignatureFacts *verify(Arguments *a, GError **error)
{
    g_auto(Material) m = {0};
    GpBundleRequest request = {.logs = a->key ? 0 : 1, .scts = 1, .admits = is_wanted, .admits_data = a};
    if (!read_material(a, &m, &request.digest, error))
        return NULL;
    request.keys = m.keys;
    request.root = m.root;
    request.artifact = m.artifact;
    return gp_bundle_verify(m.bundle, &request, error);
}

static void print_facts(const GpSignatureFacts *facts, gboolean json)
{
    g_autofree char *digest = gp_digest_to_string(&facts->manifest_digest);
    if (!json) {
        gp_print("accepted: %s\n  signed by %s\n", digest, facts->signer);
        for (guint i = 0; i < facts->times->len; i++) {
            g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(g_array_index(facts->times, gint64, i));
            g_autofree char *text = time ? g_date_time_format_iso8601(time) : g_strdup("?");
            gp_print("  attested for %s\n", text);
        }
        return;
    }
    json_t *times = json_array();
    for (guint i = 0; i < facts->times->len; i++)
        json_array_append_new(times, json_integer(g_array_index(facts->times, gint64, i)));
    gp_print_json(
        json_pack("{s:b, s:s, s:s, s:o}", "accepted", 1, "digest", digest, "signer", facts->signer, "times", times));
}

int gp_verify_bundle_main(int argc, char **argv)
{
    g_auto(Arguments) a = {0};
    g_autoptr(GError) error = NULL;
    for (int i = 1; i < argc; i++)
        a.json = a.json || g_str_equal(argv[i], "--json");
    if (!parse(argc, argv, &a, &error))
        return gp_report_error(error, a.json, NULL);
    g_autoptr(GpSignatureFacts) facts = verify(&a, &error);
    if (facts)
        print_facts(facts, a.json);
    else
        (void) gp_report_error(error, a.json, NULL);
    return facts ? 0 : REJECTED;
}

gboolean gp_command_verify_bundle(GpContext *context, int *status, GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
        "verify-bundle must be the first word, before its options\nSee guest-pull verify-bundle --help.");
    return FALSE;
}
