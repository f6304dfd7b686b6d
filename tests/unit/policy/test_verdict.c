#include "base/json.h"
#include "policy/verdict.h"

static void zeroed_verdict_rejects(void)
{
    GpVerdict verdict = {0};
    GpVerdictRequirement requirement = {0};
    g_assert_cmpint(verdict.result, ==, GP_VERDICT_REJECT);
    g_assert_cmpint(requirement.result, ==, GP_VERDICT_REJECT);
}

/* Weakness 2 of the current implementation: an empty requirement list accepts there. */
static void no_requirement_rejects(void)
{
    g_autoptr(GpVerdict) verdict = gp_verdict_new("default", NULL);
    verdict->result = GP_VERDICT_ACCEPT;
    gp_verdict_conclude(verdict);
    g_assert_cmpint(verdict->result, ==, GP_VERDICT_REJECT);
}

static void new_requirement_rejects(void)
{
    g_autoptr(GpVerdict) verdict = gp_verdict_new("default", NULL);
    GpVerdictRequirement *requirement = gp_verdict_add(verdict, "signedBy", "$.default[0]");
    gp_verdict_attempt(requirement, "signature-1", TRUE, "someone", "accepted");
    gp_verdict_conclude(verdict);
    g_assert_cmpint(verdict->result, ==, GP_VERDICT_REJECT);
    g_assert_cmpstr(requirement->reason, ==, "not evaluated");
}

static void every_requirement_must_accept(void)
{
    for (int bits = 0; bits < 8; bits++) {
        g_autoptr(GpVerdict) verdict = gp_verdict_new("default", NULL);
        for (int i = 0; i < 3; i++) {
            GpVerdictRequirement *requirement = gp_verdict_add(verdict, "signedBy", "$.default[0]");
            gp_verdict_settle(requirement, bits & (1 << i) ? GP_VERDICT_ACCEPT : GP_VERDICT_REJECT, NULL, "because");
        }
        gp_verdict_conclude(verdict);
        g_assert_cmpint(verdict->result, ==, bits == 7 ? GP_VERDICT_ACCEPT : GP_VERDICT_REJECT);
    }
}

static void last_settlement_counts(void)
{
    g_autoptr(GpVerdict) verdict = gp_verdict_new("default", NULL);
    GpVerdictRequirement *requirement = gp_verdict_add(verdict, "signedBy", "$.default[0]");
    gp_verdict_settle(requirement, GP_VERDICT_ACCEPT, "key", "good");
    gp_verdict_settle(requirement, GP_VERDICT_REJECT, NULL, "bad");
    gp_verdict_conclude(verdict);
    g_assert_cmpint(verdict->result, ==, GP_VERDICT_REJECT);
    g_assert_null(requirement->by);
    g_assert_cmpstr(requirement->reason, ==, "bad");
}

static void json_says_all_of_it(void)
{
    g_autoptr(GpVerdict) verdict = gp_verdict_new("docker: quay.io", "sha256:00");
    GpVerdictRequirement *requirement = gp_verdict_add(verdict, "signedBy", "$.default[0]");
    gp_verdict_attempt(requirement, "signature-1", FALSE, NULL, "unknown-key: nobody");
    gp_verdict_attempt(requirement, "signature-2", TRUE, "GPG key AB", "accepted");
    gp_verdict_settle(requirement, GP_VERDICT_ACCEPT, "GPG key AB", "signature-2 is good");
    gp_verdict_conclude(verdict);
    g_autoptr(json_t) value = gp_verdict_to_json(verdict);
    g_autofree char *text = gp_json_to_text(value, FALSE);
    g_assert_cmpstr(text, ==,
        "{\"scope\":\"docker: quay.io\",\"policyDigest\":\"sha256:00\",\"accepted\":true,\"requirements\":[{"
        "\"type\":\"signedBy\",\"accepted\":true,\"by\":\"GPG key AB\",\"reason\":\"signature-2 is good\","
        "\"place\":\"$.default[0]\",\"signatures\":[{\"source\":\"signature-1\",\"accepted\":false,\"signer\":null,"
        "\"reason\":\"unknown-key: nobody\"},{\"source\":\"signature-2\",\"accepted\":true,\"signer\":\"GPG key AB\","
        "\"reason\":\"accepted\"}]}]}");
}

/* A text that is no UTF-8 must not take its key out of the report. */
static void json_survives_odd_bytes(void)
{
    g_autoptr(GpVerdict) verdict = gp_verdict_new("default", NULL);
    GpVerdictRequirement *requirement = gp_verdict_add(verdict, "signedBy", "$.default[0]");
    gp_verdict_attempt(requirement, "signature-\xff", FALSE, "\xc3", "bad \xfe reason");
    g_autoptr(json_t) value = gp_verdict_to_json(verdict);
    json_t *first = json_array_get(json_object_get(value, "requirements"), 0);
    json_t *attempt = json_array_get(json_object_get(first, "signatures"), 0);
    g_assert_cmpstr(json_string_value(json_object_get(attempt, "source")), ==, "signature-\xef\xbf\xbd");
    g_assert_cmpstr(json_string_value(json_object_get(attempt, "reason")), ==, "bad \xef\xbf\xbd reason");
    g_assert_nonnull(json_object_get(attempt, "signer"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/verdict/zeroed-verdict-rejects", zeroed_verdict_rejects);
    g_test_add_func("/policy/verdict/no-requirement-rejects-weakness-2", no_requirement_rejects);
    g_test_add_func("/policy/verdict/new-requirement-rejects", new_requirement_rejects);
    g_test_add_func("/policy/verdict/every-requirement-must-accept", every_requirement_must_accept);
    g_test_add_func("/policy/verdict/last-settlement-counts", last_settlement_counts);
    g_test_add_func("/policy/verdict/json-says-all-of-it", json_says_all_of_it);
    g_test_add_func("/policy/verdict/json-survives-odd-bytes", json_survives_odd_bytes);
    return g_test_run();
}
