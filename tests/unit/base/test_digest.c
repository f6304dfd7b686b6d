#include "base/digest.h"
#include "base/error.h"

#define EMPTY_256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_256 "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_512                                                                                                        \
    "sha512:"                                                                                                          \
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce8"   \
    "0e2a9ac94fa54ca49f"

static void known_answers(void)
{
    GpDigest digest;
    static const struct {
        GpDigestAlgorithm algorithm;
        const char *data, *expected;
    } rows[] = {
        {GP_DIGEST_SHA256, "", EMPTY_256}, {GP_DIGEST_SHA256, "abc", ABC_256}, {GP_DIGEST_SHA512, "abc", ABC_512}};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        gp_digest_of(rows[i].algorithm, rows[i].data, strlen(rows[i].data), &digest);
        g_autofree char *text = gp_digest_to_string(&digest);
        g_assert_cmpstr(text, ==, rows[i].expected);
        GpDigest parsed;
        g_assert_true(gp_digest_parse(text, &parsed, NULL));
        g_assert_true(gp_digest_equal(&parsed, &digest));
    }
}

static void malformed_digests_are_refused(void)
{
    static const struct {
        const char *text;
        int code;
    } rows[] = {
        {"", GP_ERROR_INVALID},
        {"sha256:", GP_ERROR_INVALID},
        {"sha256", GP_ERROR_INVALID},
        {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", GP_ERROR_INVALID},
        {"sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", GP_ERROR_INVALID},
        {"SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", GP_ERROR_INVALID},
        {" " EMPTY_256, GP_ERROR_INVALID},
        {EMPTY_256 " ", GP_ERROR_INVALID},
        {EMPTY_256 "0", GP_ERROR_INVALID},
        {"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85", GP_ERROR_INVALID},
        {"sha256:../../../../../../../../../../../../../../../../../../etc/passwd", GP_ERROR_INVALID},
        {"sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", GP_ERROR_INVALID},
        {"sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", GP_ERROR_INVALID},
        {"sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
            GP_ERROR_UNSUPPORTED},
        {"md5:d41d8cd98f00b204e9800998ecf8427e", GP_ERROR_UNSUPPORTED},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        GpDigest digest = {0};
        g_autoptr(GError) error = NULL;
        g_assert_false(gp_digest_parse(rows[i].text, &digest, &error));
        g_assert_error(error, GP_ERROR, rows[i].code);
        g_assert_nonnull(strstr(error->message, "digest"));
        g_assert_cmpint((int) digest.algorithm, ==, 0);
    }
}

static void difference_names_both(void)
{
    GpDigest expected;
    g_assert_true(gp_digest_parse(EMPTY_256, &expected, NULL));
    g_autoptr(GBytes) data = g_bytes_new_static("abc", 3);
    g_autoptr(GError) error = NULL;
    g_assert_false(gp_digest_check_bytes(&expected, data, "layer 1", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_DIGEST);
    g_assert_cmpstr(error->message, ==, "layer 1 is " ABC_256 ", expected " EMPTY_256);
}

static void zeroed_memory_equals_nothing(void)
{
    GpDigest a = {0}, b = {0};
    g_assert_false(gp_digest_equal(&a, &b));
}

static void streaming_equals_one_go(void)
{
    GpDigest streamed, whole;
    g_autoptr(GpHasher) hasher = gp_hasher_new(GP_DIGEST_SHA256);
    gp_hasher_update(hasher, "a", 1);
    gp_hasher_update(hasher, "", 0);
    gp_hasher_update(hasher, "bc", 2);
    gp_hasher_finish(hasher, &streamed);
    gp_digest_of(GP_DIGEST_SHA256, "abc", 3, &whole);
    g_assert_true(gp_digest_equal(&streamed, &whole));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/digest/known-answers", known_answers);
    g_test_add_func("/base/digest/malformed-digests-are-refused", malformed_digests_are_refused);
    g_test_add_func("/base/digest/difference-names-both", difference_names_both);
    g_test_add_func("/base/digest/zeroed-memory-equals-nothing", zeroed_memory_equals_nothing);
    g_test_add_func("/base/digest/streaming-equals-one-go", streaming_equals_one_go);
    return g_test_run();
}
