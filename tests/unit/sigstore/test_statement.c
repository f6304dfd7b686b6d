/* DSSE's encoding and in-toto statements. */
#include "sigstore/statement.h"

#include <string.h>

#include "base/error.h"

#define HEX "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" /* of "x" */
#define SUBJECT "\"subject\":[{\"name\":\"app\",\"digest\":{\"sha256\":\"" HEX "\"}}]"
#define V1 "\"_type\":\"https://in-toto.io/Statement/v1\""
#define SIGN "\"predicateType\":\"https://sigstore.dev/cosign/sign/v1\""

/* The protocol's own example. */
static void test_encoding(void)
{
    g_autoptr(GBytes) payload = g_bytes_new_static("hello world", 11);
    g_autoptr(GBytes) encoded = gp_dsse_pae("http://example.com/HelloWorld", payload);
    static const char expected[] = "DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    g_assert_cmpmem(g_bytes_get_data(encoded, NULL), g_bytes_get_size(encoded), expected, strlen(expected));
}

static void test_statements(void)
{
    static const struct {
        const char *type, *text;
        const char *reason; /* NULL: accepted */
    } rows[] = {
        {NULL, "{" V1 "," SUBJECT "," SIGN ",\"predicate\":{}}", NULL},
        {NULL, "{" V1 ",\"subject\":[{\"digest\":{\"sha256\":\"00\"}},{\"digest\":{\"sha256\":\"" HEX "\"}}]," SIGN "}",
            NULL},
        {NULL, "{\"_type\":\"https://in-toto.io/Statement/v0.1\"," SUBJECT "," SIGN "}", NULL},
        {"text/plain", "{" V1 "," SUBJECT "," SIGN "}", "statement: the payload is \"text/plain\""},
        {"application/vnd.in-toto+json ", "{" V1 "," SUBJECT "," SIGN "}", "statement: "},
        {NULL, "{" SUBJECT "," SIGN "}", "statement: $: \"_type\" is missing"},
        {NULL, "{" V1 "," SIGN "}", "statement: $: \"subject\" is missing"},
        {NULL, "{" V1 "," SUBJECT "}", "statement: $: \"predicateType\" is missing"},
        {NULL, "{" V1 "," V1 "," SUBJECT "," SIGN "}", "statement: $: line 1"},
        {NULL, "{\"_type\":\"https://in-toto.io/Statement/v2\"," SUBJECT "," SIGN "}",
            "statement: \"https://in-toto.io/Statement/v2\""},
        {NULL, "[]", "statement: "},
        {NULL, "{" V1 "," SUBJECT ",\"predicateType\":\"https://slsa.dev/provenance/v1\"}",
            "predicate-type: an attestation of type \"https://slsa.dev/provenance/v1\""},
        {NULL, "{" V1 "," SUBJECT ",\"predicateType\":\"https://sigstore.dev/cosign/sign/v1 \"}", "predicate-type: "},
        {NULL, "{" V1 ",\"subject\":[]," SIGN "}", "digest-mismatch: "},
        {NULL, "{" V1 ",\"subject\":[{\"digest\":{\"sha512\":\"" HEX "\"}}]," SIGN "}", "digest-mismatch: "},
        {NULL, "{" V1 ",\"subject\":[{\"digest\":{\"SHA256\":\"" HEX "\"}}]," SIGN "}", "digest-mismatch: "},
        {NULL, "{" V1 ",\"subject\":[\"" HEX "\",{\"digest\":\"" HEX "\"},{\"digest\":{\"sha256\":1}}]," SIGN "}",
            "digest-mismatch: "},
    };
    GpDigest digest;
    g_assert_true(gp_digest_parse("sha256:" HEX, &digest, NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) payload = g_bytes_new_static(rows[i].text, strlen(rows[i].text));
        gboolean good = gp_statement_check(rows[i].type ? rows[i].type : GP_STATEMENT_PAYLOAD_TYPE, payload, &digest,
            GP_PREDICATE_COSIGN_SIGN, &error);
        if (!rows[i].reason) {
            g_assert_no_error(error);
            g_assert_true(good);
            continue;
        }
        g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
        if (!g_str_has_prefix(error->message, rows[i].reason))
            g_error("\"%s\": \"%s\", not \"%s\"", rows[i].text, error->message, rows[i].reason);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/statement/encoding", test_encoding);
    g_test_add_func("/statement/statements", test_statements);
    return g_test_run();
}
