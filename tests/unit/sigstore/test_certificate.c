/* Chains, SCTs, identities and timestamps of one signature; tests/lib/minisigstore has hundreds of variations of it. */
#include "sigstore/certificate.h"

#include "base/base64.h"
#include "base/error.h"
#include "sigstore/sct.h"
#include "sigstore/timestamp.h"
#include "sigstore/trusted_root.h"
#include "tests/unit/sigstore/mini_fixture.h"

#define HOUR 3600

static GpTrustedRoot *root;
static X509 *leaf, *person;

static GBytes *decode(const char *text)
{
    GBytes *bytes = gp_base64_decode(text, strlen(text));
    g_assert_nonnull(bytes);
    return bytes;
}

static X509 *load(const char *text)
{
    g_autoptr(GBytes) der = decode(text);
    X509 *x509 = gp_certificate_from_der(der);
    g_assert_nonnull(x509);
    return x509;
}

static void assert_refused(gboolean good, GError **error, const char *word)
{
    g_assert_false(good);
    g_assert_error(*error, GP_ERROR, GP_ERROR_SIGNATURE);
    if (!g_str_has_prefix((*error)->message, word))
        g_test_message("got: %s", (*error)->message);
    g_assert_true(g_str_has_prefix((*error)->message, word));
    g_clear_error(error);
}

static gboolean verify(X509 *signer, gint64 at, GpCertificateUse use, X509 **issuer, GError **error)
{
    return gp_certificate_verify(signer, root->authorities, NULL, at, use, issuer, error);
}

static void test_times(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(X509) issuer = NULL;
    g_assert_true(verify(leaf, FIXTURE_TIME, GP_CERTIFICATE_CODE_SIGNING, &issuer, &error));
    g_assert_no_error(error);
    g_assert_nonnull(issuer);
    assert_refused(verify(leaf, FIXTURE_TIME + HOUR, GP_CERTIFICATE_CODE_SIGNING, NULL, &error), &error,
        "certificate-expired-at-time: the signer's certificate was no longer valid at 2025-06-01T13:00:00Z");
    assert_refused(verify(leaf, FIXTURE_TIME - HOUR, GP_CERTIFICATE_CODE_SIGNING, NULL, &error), &error,
        "certificate-expired-at-time: the signer's certificate was not yet valid at");
}

/* Both ends belong to it. */
static void test_first_and_last_second(void)
{
    const gint64 first = FIXTURE_TIME - 60, last = FIXTURE_TIME + 540;
    g_autoptr(GError) error = NULL;
    g_assert_true(verify(leaf, first, GP_CERTIFICATE_CODE_SIGNING, NULL, &error));
    g_assert_true(verify(leaf, last, GP_CERTIFICATE_CODE_SIGNING, NULL, &error));
    g_assert_no_error(error);
    assert_refused(verify(leaf, first - 1, GP_CERTIFICATE_CODE_SIGNING, NULL, &error), &error,
        "certificate-expired-at-time: the signer's certificate was not yet valid");
    assert_refused(verify(leaf, last + 1, GP_CERTIFICATE_CODE_SIGNING, NULL, &error), &error,
        "certificate-expired-at-time: the signer's certificate was no longer valid");
}

static void test_window_of_authority(void)
{
    g_autoptr(GError) error = NULL;
    GpTrustedAuthority *authority = root->authorities->pdata[0];
    gint64 end = authority->end;
    authority->end = FIXTURE_TIME;
    g_assert_true(verify(leaf, FIXTURE_TIME, GP_CERTIFICATE_CODE_SIGNING, NULL, &error));
    authority->end = FIXTURE_TIME - 1;
    assert_refused(verify(leaf, FIXTURE_TIME, GP_CERTIFICATE_CODE_SIGNING, NULL, &error), &error,
        "certificate-untrusted: no trusted CA was in use");
    authority->end = end;
}

static void test_ca_is_no_signer(void)
{
    g_autoptr(GError) error = NULL;
    const GpTrustedAuthority *authority = root->authorities->pdata[0];
    assert_refused(verify(authority->certificates->pdata[0], FIXTURE_TIME, GP_CERTIFICATE_UNRESTRICTED, NULL, &error),
        &error, "certificate-usage: ");
    assert_refused(verify(authority->certificates->pdata[1], FIXTURE_TIME, GP_CERTIFICATE_UNRESTRICTED, NULL, &error),
        &error, "certificate-untrusted: the signer's certificate is its own issuer");
}

static void test_authority_of_timestamps_is_no_ca(void)
{
    g_autoptr(GError) error = NULL;
    assert_refused(gp_certificate_verify(leaf, root->timestamp_authorities, NULL, FIXTURE_TIME,
                       GP_CERTIFICATE_CODE_SIGNING, NULL, &error),
        &error, "certificate-untrusted: ");
    const GpTrustedAuthority *authority = root->timestamp_authorities->pdata[0];
    X509 *signer = authority->certificates->pdata[0];
    assert_refused(gp_certificate_verify(signer, root->timestamp_authorities, NULL, FIXTURE_TIME,
                       GP_CERTIFICATE_UNRESTRICTED, NULL, &error),
        &error, "certificate-usage: ");
}

/* The root alone is trusted; the intermediate comes along and is only a step on the way. */
static void test_untrusted_intermediate(void)
{
    g_autoptr(GError) error = NULL;
    GpTrustedAuthority *authority = root->authorities->pdata[0];
    g_autoptr(GPtrArray) along = g_ptr_array_new_with_free_func((GDestroyNotify) X509_free);
    g_ptr_array_add(along, g_ptr_array_steal_index(authority->certificates, 0));
    assert_refused(
        verify(leaf, FIXTURE_TIME, GP_CERTIFICATE_CODE_SIGNING, NULL, &error), &error, "certificate-untrusted: ");
    g_assert_true(
        gp_certificate_verify(leaf, root->authorities, along, FIXTURE_TIME, GP_CERTIFICATE_CODE_SIGNING, NULL, &error));
    g_ptr_array_insert(authority->certificates, 0, g_ptr_array_steal_index(along, 0));
}

static void test_identity(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpCertificateIdentity) identity = gp_certificate_identity(leaf, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(identity->issuer, ==, "https://issuer.example");
    g_assert_cmpint(identity->type, ==, GP_SAN_URI);
    g_assert_cmpstr(identity->san, ==, "https://forge.example/team/app/.ci/release.yml@refs/heads/main");
    assert_refused(gp_certificate_identity(person, &error) != NULL, &error,
        "certificate-identity: it has several subject alternative names");
}

static void test_names(void)
{
    g_assert_true(gp_certificate_has_email(person, "me@team.example"));
    g_assert_false(gp_certificate_has_email(person, "ME@team.example"));
    g_assert_false(gp_certificate_has_email(person, "me@team.example.org"));
    g_assert_false(gp_certificate_has_email(leaf, "me@team.example"));
    g_assert_true(gp_certificate_has_hostname(person, "build.team.example"));
    g_assert_false(gp_certificate_has_hostname(person, "a.build.team.example"));
    g_assert_false(gp_certificate_has_hostname(person, "team.example"));
    g_assert_false(gp_certificate_has_hostname(leaf, "forge.example"));
}

static void test_sct(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(X509) issuer = NULL;
    g_assert_true(verify(leaf, FIXTURE_TIME, GP_CERTIFICATE_CODE_SIGNING, &issuer, &error));
    g_assert_true(gp_sct_verify(leaf, issuer, root->ctlogs, 1, &error));
    assert_refused(gp_sct_verify(leaf, issuer, root->ctlogs, 2, &error), &error, "sct-missing: ");
    /* One log, listed twice, is one log. */
    g_ptr_array_add(root->ctlogs, root->ctlogs->pdata[0]);
    g_assert_cmpuint(gp_sct_count(leaf, issuer, root->ctlogs, NULL), ==, 1);
    g_assert_nonnull(g_ptr_array_steal_index(root->ctlogs, 1));
    /* The issuer is part of what the log signed. */
    assert_refused(gp_sct_verify(leaf, leaf, root->ctlogs, 1, &error), &error, "sct-invalid: ");
    assert_refused(gp_sct_verify(person, issuer, root->ctlogs, 1, &error), &error, "sct-missing: ");
    GpTrustedLog *log = root->ctlogs->pdata[0];
    gint64 start = log->start;
    log->start = FIXTURE_TIME;
    assert_refused(gp_sct_verify(leaf, issuer, root->ctlogs, 1, &error), &error, "sct-invalid: ");
    log->start = start;
}

static void test_timestamp(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) response = decode(fixture_timestamp), signature = decode(fixture_signature);
    g_autoptr(GBytes) strange = decode(fixture_strange_timestamp);
    gint64 time = 0;
    guint index = 7;
    GPtrArray *trusted = root->timestamp_authorities;
    g_assert_true(gp_timestamp_verify(response, signature, trusted, &time, &index, &error));
    g_assert_no_error(error);
    g_assert_cmpint(time, ==, FIXTURE_TIME + 5);
    g_assert_cmpuint(index, ==, 0);
    assert_refused(
        gp_timestamp_verify(response, response, trusted, &time, NULL, &error), &error, "timestamp-mismatch: ");
    assert_refused(
        gp_timestamp_verify(strange, signature, trusted, &time, NULL, &error), &error, "timestamp-untrusted: ");
    assert_refused(gp_timestamp_verify(response, signature, root->authorities, &time, NULL, &error), &error,
        "timestamp-untrusted: ");
    GpTrustedAuthority *authority = trusted->pdata[0];
    gint64 end = authority->end;
    authority->end = FIXTURE_TIME + 4;
    assert_refused(gp_timestamp_verify(response, signature, trusted, &time, NULL, &error), &error,
        "timestamp-authority-expired: ");
    authority->end = end;
}

/* No byte of it can be changed, and none can be missing. */
static void test_timestamp_mutations(void)
{
    g_autoptr(GBytes) response = decode(fixture_timestamp), signature = decode(fixture_signature);
    gsize size, accepted = 0;
    const guint8 *bytes = g_bytes_get_data(response, &size);
    g_autofree guint8 *copy = g_memdup2(bytes, size);
    for (gsize i = 0; i < size; i++) {
        gint64 time;
        copy[i] ^= 0x01;
        g_autoptr(GBytes) changed = g_bytes_new(copy, size), cut = g_bytes_new(bytes, i);
        accepted += gp_timestamp_verify(changed, signature, root->timestamp_authorities, &time, NULL, NULL) &&
                    time != FIXTURE_TIME + 5;
        g_assert_false(gp_timestamp_verify(cut, signature, root->timestamp_authorities, &time, NULL, NULL));
        copy[i] ^= 0x01;
    }
    g_assert_cmpuint(accepted, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) json = g_bytes_new_static(fixture_root, strlen(fixture_root));
    root = gp_trusted_root_parse(json, "the fixture", &error);
    g_assert_no_error(error);
    leaf = load(fixture_leaf);
    person = load(fixture_person);
    g_test_add_func("/sigstore/certificate/times", test_times);
    g_test_add_func("/sigstore/certificate/first-and-last-second", test_first_and_last_second);
    g_test_add_func("/sigstore/certificate/window-of-authority", test_window_of_authority);
    g_test_add_func("/sigstore/certificate/ca-is-no-signer", test_ca_is_no_signer);
    g_test_add_func("/sigstore/certificate/authority-of-timestamps-is-no-ca", test_authority_of_timestamps_is_no_ca);
    g_test_add_func("/sigstore/certificate/untrusted-intermediate", test_untrusted_intermediate);
    g_test_add_func("/sigstore/certificate/identity", test_identity);
    g_test_add_func("/sigstore/certificate/names", test_names);
    g_test_add_func("/sigstore/sct/of-known-logs", test_sct);
    g_test_add_func("/sigstore/timestamp/of-known-authorities", test_timestamp);
    g_test_add_func("/sigstore/timestamp/mutations", test_timestamp_mutations);
    int status = g_test_run();
    X509_free(leaf);
    X509_free(person);
    gp_trusted_root_free(root);
    return status;
}
