/* Annotations as evidence: what is read, and that half of something is nothing. */
#include "sigstore/cosign_evidence.h"

#include "base/error.h"
#include "base/json.h"
#include "tests/unit/sigstore/mini_fixture.h"

#define PREFIX "dev.sigstore.cosign/"

static char *certificate_pem(void)
{
    return g_strdup_printf("-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n", fixture_leaf);
}

static json_t *all_annotations(void)
{
    g_autofree char *timestamp = g_strdup_printf("{\"SignedRFC3161Timestamp\":\"%s\"}", fixture_timestamp);
    g_autofree char *pem = certificate_pem();
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "dev.cosignproject.cosign/signature", fixture_signature,
        PREFIX "certificate", pem, PREFIX "chain", fixture_chain, PREFIX "bundle", fixture_promise,
        PREFIX "rfc3161timestamp", timestamp);
}

static void test_all(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) annotations = all_annotations();
    g_autoptr(GpBundle) bundle = gp_cosign_evidence_read(annotations, &error);
    g_assert_no_error(error);
    g_assert_nonnull(bundle->signature);
    g_assert_nonnull(bundle->certificate);
    g_assert_cmpuint(bundle->untrusted->len, ==, 2);
    g_assert_cmpuint(bundle->timestamps->len, ==, 1);
    g_assert_cmpuint(bundle->entries->len, ==, 1);
    const GpLogEntry *entry = bundle->entries->pdata[0];
    g_assert_cmpint(entry->integrated_time, ==, FIXTURE_TIME);
    g_assert_cmpstr(entry->kind, ==, "hashedrekord");
    g_assert_cmpstr(entry->version, ==, "0.0.1");
    g_assert_cmpuint(g_bytes_get_size(entry->log_id), ==, 32);
    g_assert_false(entry->has_proof);
}

static void test_signature_alone(void)
{
    g_autoptr(GError) error = NULL;
    /* Some producers wrap their base64; others write white space where they have nothing. */
    g_autofree char *wrapped = g_strdup_printf("%.10s\n%s\n", fixture_signature, fixture_signature + 10);
    g_autoptr(json_t) annotations = json_pack("{s:s, s:s, s:s, s:s}", "dev.cosignproject.cosign/signature", wrapped,
        PREFIX "certificate", " \n", PREFIX "chain", "", PREFIX "bundle", "\t");
    g_autoptr(GpBundle) bundle = gp_cosign_evidence_read(annotations, &error);
    g_assert_no_error(error);
    g_assert_null(bundle->certificate);
    g_assert_cmpuint(bundle->untrusted->len + bundle->timestamps->len + bundle->entries->len, ==, 0);
}

static void assert_refused(const char *name, const char *value)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) annotations = all_annotations();
    json_object_set_new(annotations, name, json_string(value));
    g_assert_null(gp_cosign_evidence_read(annotations, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    g_autofree char *start = g_strconcat("signature-format: annotation ", name, NULL);
    if (!g_str_has_prefix(error->message, start))
        g_test_message("got: %s", error->message);
    g_assert_true(g_str_has_prefix(error->message, start));
}

static void test_malformed(void)
{
    g_autofree char *pem = certificate_pem(), *two = g_strconcat(pem, pem, NULL);
    static const char *const promises[] = {"{}", "[]", "null", "{\"SignedEntryTimestamp\":\"AA==\"}", "x",
        "{\"SignedEntryTimestamp\":\"AA==\",\"Payload\":{\"body\":\"e30=\",\"integratedTime\":1,\"logIndex\":1}}",
        "{\"SignedEntryTimestamp\":\"AA==\",\"Payload\":{\"body\":\"e30=\",\"integratedTime\":1,\"logIndex\":1,"
        "\"logID\":\"00\"}}",
        "{\"SignedEntryTimestamp\":\"AA==\",\"Payload\":{\"body\":\"e30=\",\"integratedTime\":0,\"logIndex\":1,"
        "\"logID\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\"}}",
        "{\"SignedEntryTimestamp\":\"AA==\",\"Payload\":{\"body\":\"e30=\",\"integratedTime\":1,\"logIndex\":-1,"
        "\"logID\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\"}}",
        "{\"SignedEntryTimestamp\":\"\",\"Payload\":{\"body\":\"e30=\",\"integratedTime\":1,\"logIndex\":1,\"logID\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\"}}"};
    for (gsize i = 0; i < G_N_ELEMENTS(promises); i++)
        assert_refused(PREFIX "bundle", promises[i]);
    assert_refused("dev.cosignproject.cosign/signature", "");
    assert_refused("dev.cosignproject.cosign/signature", "AAA");
    assert_refused(PREFIX "certificate", two);
    assert_refused(PREFIX "certificate", "certificate");
    assert_refused(PREFIX "chain", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_refused(PREFIX "rfc3161timestamp", "{}");
    assert_refused(PREFIX "rfc3161timestamp", "{\"SignedRFC3161Timestamp\":\"?\"}");
    assert_refused(PREFIX "rfc3161timestamp", "{\"SignedRFC3161Timestamp\":\"AA==\",\"more\":1}");
}

/* A body that is no JSON is for the comparison with the signature to refuse: here it only has no kind. */
static void test_body_of_no_kind(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) annotations = all_annotations();
    json_object_set_new(annotations, PREFIX "bundle",
        json_string("{\"SignedEntryTimestamp\":\"AA==\",\"Payload\":{\"body\":\"AAAA\",\"integratedTime\":1,"
                    "\"logIndex\":1,\"logID\":"
                    "\"0000000000000000000000000000000000000000000000000000000000000000\"}}"));
    g_autoptr(GpBundle) bundle = gp_cosign_evidence_read(annotations, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(((GpLogEntry *) bundle->entries->pdata[0])->kind, ==, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sigstore/cosign-evidence/all", test_all);
    g_test_add_func("/sigstore/cosign-evidence/signature-alone", test_signature_alone);
    g_test_add_func("/sigstore/cosign-evidence/malformed", test_malformed);
    g_test_add_func("/sigstore/cosign-evidence/body-of-no-kind", test_body_of_no_kind);
    return g_test_run();
}
