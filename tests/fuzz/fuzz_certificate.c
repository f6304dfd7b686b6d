/* FUZZ_LIBS: sigstore base
 * A signer's certificate: its identity, its SCTs. */
#include "base/error.h"
#include "sigstore/certificate.h"
#include "sigstore/sct.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GBytes) der = g_bytes_new(data, size);
    g_autoptr(X509) certificate = gp_certificate_from_der(der);
    if (!certificate)
        return 0;
    g_autoptr(GError) error = NULL, untrusted = NULL;
    g_autoptr(GpCertificateIdentity) identity = gp_certificate_identity(certificate, &error);
    g_assert_true((identity == NULL) == (error != NULL));
    g_assert_true(!identity || (*identity->issuer && *identity->san));
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_assert_cmpuint(gp_sct_count(certificate, certificate, none, NULL), ==, 0);
    g_assert_false(
        gp_certificate_verify(certificate, none, NULL, 1748779200, GP_CERTIFICATE_CODE_SIGNING, NULL, &untrusted));
    (void) gp_certificate_has_email(certificate, "me@team.example");
    (void) gp_certificate_has_hostname(certificate, "forge.example");
    return 0;
}
