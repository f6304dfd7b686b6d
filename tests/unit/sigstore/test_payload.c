/* The signed JSON: each row changes one thing of a good payload. */
#include "sigstore/payload.h"

#include <string.h>

#include "base/error.h"
#include "base/limits.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX32 HEX32
#define IMAGE "\"image\":{\"docker-manifest-digest\":\"" DIGEST "\"}"
#define IDENTITY "\"identity\":{\"docker-reference\":\"example.com/a:1\"}"
#define TYPE "\"type\":\"@T\""
#define CRITICAL "\"critical\":{" TYPE "," IMAGE "," IDENTITY "}"
#define WITH_CRITICAL(inside) "{\"critical\":{" inside "},\"optional\":{}}"
#define WITH_OPTIONAL(value) "{" CRITICAL ",\"optional\":" value "}"
#define WITH_DIGEST(digest) WITH_CRITICAL(TYPE "," IDENTITY ",\"image\":{\"docker-manifest-digest\":" digest "}")
#define WITH_REFERENCE(reference) WITH_CRITICAL(TYPE "," IMAGE ",\"identity\":{\"docker-reference\":" reference "}")

static const char *const types[] = {
    [GP_PAYLOAD_ATOMIC] = "atomic container signature",
    [GP_PAYLOAD_COSIGN] = "cosign container image signature",
};

typedef struct {
    const char *name;
    const char *text;   /* @T stands for the right type */
    const char *reason; /* NULL: accepted */
} Row;

static const Row both_rows[] = {
    {"good", WITH_OPTIONAL("{}"), NULL},
    {"white-space", " \n" WITH_OPTIONAL("{}") "\n", NULL},
    {"escaped-key", "{\"\\u0063ritical\":{" TYPE "," IMAGE "," IDENTITY "},\"optional\":{}}", NULL},
    {"optional-creator", WITH_OPTIONAL("{\"creator\":\"c\",\"timestamp\":-1}"), NULL},
    {"optional-integral-float", WITH_OPTIONAL("{\"timestamp\":1.6e9}"), NULL},
    {"optional-other-keys", WITH_OPTIONAL("{\"anything\":[{\"x\":null}]}"), NULL},
    {"empty-reference-is-verbatim", WITH_REFERENCE("\"\""), NULL},
    {"sha512", WITH_DIGEST("\"sha512:" HEX32 HEX32 HEX32 HEX32 "\""), NULL},

    {"nothing", "", "payload: signed text: "},
    {"blank", " ", "payload: signed text: "},
    {"no-json", "hello", "payload: signed text: "},
    {"array", "[" WITH_OPTIONAL("{}") "]", "payload: $: must be an object"},
    {"string", "\"x\"", "payload: $: must be an object"},
    {"null", "null", "payload: $: must be an object"},
    {"trailing-brace", WITH_OPTIONAL("{}") "}", "payload: signed text: "},
    {"two-documents", WITH_OPTIONAL("{}") WITH_OPTIONAL("{}"), "payload: signed text: "},
    {"byte-order-mark", "\xef\xbb\xbf" WITH_OPTIONAL("{}"), "payload: signed text: "},
    {"invalid-utf8", WITH_REFERENCE("\"\xff\""), "payload: signed text: "},
    {"comment", "/**/" WITH_OPTIONAL("{}"), "payload: signed text: "},
    {"trailing-comma", WITH_OPTIONAL("{},"), "payload: signed text: "},
    {"extra-top", "{" CRITICAL ",\"optional\":{},\"x\":1}", "payload: $.x: unknown key"},
    {"extra-critical", WITH_CRITICAL(TYPE "," IMAGE "," IDENTITY ",\"x\":1"), "payload: $.critical.x: unknown key"},
    {"extra-image", WITH_CRITICAL(TYPE "," IDENTITY ",\"image\":{\"docker-manifest-digest\":\"" DIGEST "\",\"x\":1}"),
        "payload: $.critical.image.x: unknown key"},
    {"extra-identity", WITH_CRITICAL(TYPE "," IMAGE ",\"identity\":{\"docker-reference\":\"a\",\"x\":1}"),
        "payload: $.critical.identity.x: unknown key"},
    {"no-critical", "{\"optional\":{}}", "payload: $: \"critical\" is missing"},
    {"no-type", WITH_CRITICAL(IMAGE "," IDENTITY), "payload: $.critical: \"type\" is missing"},
    {"no-image", WITH_CRITICAL(TYPE "," IDENTITY), "payload: $.critical: \"image\" is missing"},
    {"no-identity", WITH_CRITICAL(TYPE "," IMAGE), "payload: $.critical: \"identity\" is missing"},
    {"no-digest", WITH_CRITICAL(TYPE "," IDENTITY ",\"image\":{}"),
        "payload: $.critical.image: \"docker-manifest-digest\" is missing"},
    {"no-reference", WITH_CRITICAL(TYPE "," IMAGE ",\"identity\":{}"),
        "payload: $.critical.identity: \"docker-reference\" is missing"},
    {"critical-null", "{\"critical\":null,\"optional\":{}}", "payload: $.critical: must be an object"},
    {"critical-array", "{\"critical\":[],\"optional\":{}}", "payload: $.critical: must be an object"},
    {"image-null", WITH_CRITICAL(TYPE "," IDENTITY ",\"image\":null"), "payload: $.critical.image: must be an object"},
    {"image-string", WITH_CRITICAL(TYPE "," IDENTITY ",\"image\":\"" DIGEST "\""),
        "payload: $.critical.image: must be an object"},
    {"identity-null", WITH_CRITICAL(TYPE "," IMAGE ",\"identity\":null"),
        "payload: $.critical.identity: must be an object"},
    {"type-number", WITH_CRITICAL("\"type\":1," IMAGE "," IDENTITY), "payload: $.critical.type: must be a string"},
    {"type-other", WITH_CRITICAL("\"type\":\"x\"," IMAGE "," IDENTITY),
        "payload: $.critical.type: is \"x\", expected "},
    {"type-longer", WITH_CRITICAL("\"type\":\"@T2\"," IMAGE "," IDENTITY), "payload: $.critical.type: is "},
    {"type-empty", WITH_CRITICAL("\"type\":\"\"," IMAGE "," IDENTITY), "payload: $.critical.type: is \"\""},
    {"key-case", "{\"Critical\":{" TYPE "," IMAGE "," IDENTITY "},\"optional\":{}}",
        "payload: $.Critical: unknown key"},
    {"duplicate-critical", "{" CRITICAL "," CRITICAL ",\"optional\":{}}", "payload: signed text: "},
    {"duplicate-escaped", WITH_CRITICAL(TYPE "," IMAGE "," IDENTITY ",\"\\u0074ype\":\"@T\""),
        "payload: signed text: "},
    {"duplicate-digest",
        WITH_CRITICAL(TYPE "," IDENTITY ",\"image\":{\"docker-manifest-digest\":\"" DIGEST
                           "\",\"docker-manifest-digest\":\"" DIGEST "\"}"),
        "payload: signed text: "},
    {"duplicate-in-optional", WITH_OPTIONAL("{\"x\":1,\"x\":2}"), "payload: signed text: "},
    {"digest-null", WITH_DIGEST("null"), "payload: $.critical.image.docker-manifest-digest: must be a string"},
    {"digest-empty", WITH_DIGEST("\"\""), "payload: $.critical.image.docker-manifest-digest: "},
    {"digest-upper-case", WITH_DIGEST("\"sha256:" HEX32 "0123456789ABCDEF0123456789ABCDEF\""),
        "payload: $.critical.image.docker-manifest-digest: "},
    {"digest-short", WITH_DIGEST("\"sha256:" HEX32 "\""), "payload: $.critical.image.docker-manifest-digest: "},
    {"digest-without-algorithm", WITH_DIGEST("\"" HEX32 HEX32 "\""),
        "payload: $.critical.image.docker-manifest-digest: "},
    {"digest-path", WITH_DIGEST("\"../../etc/passwd\""), "payload: $.critical.image.docker-manifest-digest: "},
    {"digest-nul", WITH_DIGEST("\"" DIGEST "\\u0000\""), "payload: signed text: "},
    {"digest-md5", WITH_DIGEST("\"md5:" HEX32 "\""), "payload: $.critical.image.docker-manifest-digest: "},
    {"reference-number", WITH_REFERENCE("5"), "payload: $.critical.identity.docker-reference: must be a string"},
    {"reference-null", WITH_REFERENCE("null"), "payload: $.critical.identity.docker-reference: must be a string"},
    {"reference-nul", WITH_REFERENCE("\"a\\u0000b\""), "payload: signed text: "},
    {"optional-array", WITH_OPTIONAL("[]"), "payload: $.optional: must be an object"},
    {"optional-string", WITH_OPTIONAL("\"\""), "payload: $.optional: must be an object"},
    {"creator-number", WITH_OPTIONAL("{\"creator\":1}"), "payload: $.optional.creator: must be a string"},
    {"creator-null", WITH_OPTIONAL("{\"creator\":null}"), "payload: $.optional.creator: must be a string"},
    {"timestamp-string", WITH_OPTIONAL("{\"timestamp\":\"1\"}"), "payload: $.optional.timestamp: must be an integer"},
    {"timestamp-fraction", WITH_OPTIONAL("{\"timestamp\":1.5}"), "payload: $.optional.timestamp: must be an integer"},
    {"timestamp-huge", WITH_OPTIONAL("{\"timestamp\":1e300}"), "payload: $.optional.timestamp: must be an integer"},
    {"timestamp-beyond-64-bits", WITH_OPTIONAL("{\"timestamp\":99999999999999999999}"), "payload: signed text: "},
    {"timestamp-null", WITH_OPTIONAL("{\"timestamp\":null}"), "payload: $.optional.timestamp: must be an integer"},
};

static const Row atomic_rows[] = {
    {"optional-absent", "{" CRITICAL "}", "payload: $: \"optional\" is missing"},
    {"optional-null", WITH_OPTIONAL("null"), "payload: $.optional: must be an object"},
    {"type-of-cosign", WITH_CRITICAL("\"type\":\"cosign container image signature\"," IMAGE "," IDENTITY),
        "payload: $.critical.type: is \"cosign container image signature\", expected \"atomic container signature\""},
};

static const Row cosign_rows[] = {
    {"optional-absent", "{" CRITICAL "}", NULL},
    {"optional-null", WITH_OPTIONAL("null"), NULL},
    {"type-of-simple-signing", WITH_CRITICAL("\"type\":\"atomic container signature\"," IMAGE "," IDENTITY),
        "payload: $.critical.type: is \"atomic container signature\", expected \"cosign container image signature\""},
};

typedef struct {
    const Row *row;
    GpPayloadKind kind;
} Case;

static GBytes *payload_of(const Case *test)
{
    g_auto(GStrv) parts = g_strsplit(test->row->text, "@T", -1);
    char *text = g_strjoinv(types[test->kind], parts);
    return g_bytes_new_take(text, strlen(text));
}

static void test_row(gconstpointer data)
{
    const Case *test = data;
    g_autoptr(GBytes) payload = payload_of(test);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSignatureFacts) facts = gp_payload_parse(payload, test->kind, "the signer", &error);
    if (!test->row->reason) {
        g_assert_no_error(error);
        g_assert_cmpstr(facts->signer, ==, "the signer");
        g_assert_nonnull(facts->docker_reference);
        g_assert_cmpint((int) facts->manifest_digest.algorithm, !=, 0);
        return;
    }
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    g_assert_null(facts);
    if (!g_str_has_prefix(error->message, test->row->reason))
        g_error("expected \"%s…\", got \"%s\"", test->row->reason, error->message);
}

static void test_facts(void)
{
    g_autoptr(GError) error = NULL;
    const Row row = {"", WITH_OPTIONAL("{\"creator\":\"me\",\"timestamp\":12.0}"), NULL};
    g_autoptr(GBytes) payload = payload_of(&(Case){&row, GP_PAYLOAD_COSIGN});
    g_autoptr(GpSignatureFacts) facts = gp_payload_parse(payload, GP_PAYLOAD_COSIGN, "s", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(facts->creator, ==, "me");
    g_assert_cmpint(facts->timestamp, ==, 12);
    g_assert_cmpstr(facts->docker_reference, ==, "example.com/a:1");
    g_autofree char *digest = gp_digest_to_string(&facts->manifest_digest);
    g_assert_cmpstr(digest, ==, DIGEST);

    const Row bare = {"", WITH_OPTIONAL("{}"), NULL};
    g_autoptr(GBytes) second = payload_of(&(Case){&bare, GP_PAYLOAD_ATOMIC});
    g_autoptr(GpSignatureFacts) none = gp_payload_parse(second, GP_PAYLOAD_ATOMIC, "s", &error);
    g_assert_no_error(error);
    g_assert_null(none->creator);
    g_assert_cmpint(none->timestamp, ==, -1);
}

static void assert_too_much(char *text, gsize size, const char *reason)
{
    g_autoptr(GBytes) payload = g_bytes_new_take(text, size);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_payload_parse(payload, GP_PAYLOAD_ATOMIC, "s", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    g_assert_true(g_str_has_prefix(error->message, reason));
}

static void test_limits(void)
{
    assert_too_much(g_strnfill(100000, '['), 100000, "payload: signed text: JSON nested deeper than 32 levels");
    assert_too_much(g_strnfill(GP_LIMIT_SIGNATURE + 1, ' '), GP_LIMIT_SIGNATURE + 1,
        "payload: signed text: 4194305 bytes, at most 4194304 allowed");
}

static void add_rows(GpPayloadKind kind, const char *kind_name, const Row *rows, gsize n_rows)
{
    for (gsize i = 0; i < n_rows; i++) {
        Case *test = g_new(Case, 1);
        *test = (Case){&rows[i], kind};
        g_autofree char *path = g_strdup_printf(
            "/sigstore/payload/%s/%s/%s", kind_name, rows[i].reason ? "refused" : "accepted", rows[i].name);
        g_test_add_data_func_full(path, test, test_row, g_free);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sigstore/payload/facts", test_facts);
    g_test_add_func("/sigstore/payload/limits", test_limits);
    add_rows(GP_PAYLOAD_ATOMIC, "atomic", both_rows, G_N_ELEMENTS(both_rows));
    add_rows(GP_PAYLOAD_ATOMIC, "atomic", atomic_rows, G_N_ELEMENTS(atomic_rows));
    add_rows(GP_PAYLOAD_COSIGN, "cosign", both_rows, G_N_ELEMENTS(both_rows));
    add_rows(GP_PAYLOAD_COSIGN, "cosign", cosign_rows, G_N_ELEMENTS(cosign_rows));
    return g_test_run();
}
