#include "sigstore/certificate.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/error.h"
#include "sigstore/refusal.h"
#include "sigstore/trusted_root.h"

#define SECURITY_LEVEL 2 /* OpenSSL's: 112 bits; SHA-1 signatures and RSA below 2048 are out */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_STORE, X509_STORE_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_STORE_CTX, X509_STORE_CTX_free)

/* RFC 5280 §4.1.2.5: the last second of a certificate belongs to its validity. OpenSSL thinks otherwise. */
static int admit_last_second(int good, X509_STORE_CTX *context)
{
    if (good || X509_STORE_CTX_get_error(context) != X509_V_ERR_CERT_HAS_EXPIRED)
        return good;
    time_t at = X509_VERIFY_PARAM_get_time(X509_STORE_CTX_get0_param(context));
    if (ASN1_TIME_cmp_time_t(X509_get0_notAfter(X509_STORE_CTX_get_current_cert(context)), at) != 0)
        return 0;
    X509_STORE_CTX_set_error(context, X509_V_OK);
    return 1;
}

X509_STORE *gp_certificate_store(X509 *root, gint64 at)
{
    g_autoptr(X509_STORE) store = X509_STORE_new();
    if (!store || X509_STORE_add_cert(store, root) != 1)
        return NULL;
    X509_VERIFY_PARAM *parameters = X509_STORE_get0_param(store);
    X509_VERIFY_PARAM_set_time(parameters, (time_t) at);
    X509_VERIFY_PARAM_set_auth_level(parameters, SECURITY_LEVEL);
    /* A trusted root need not be self-signed. */
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
    X509_STORE_set_verify_cb(store, admit_last_second);
    return g_steal_pointer(&store);
}

static void push_all(STACK_OF(X509) * stack, GPtrArray *certificates, guint count)
{
    for (guint i = 0; i < count; i++)
        sk_X509_push(stack, certificates->pdata[i]);
}

/* OpenSSL 3.0 has no purpose for signing code. @must: a usage that is not restricted is not enough. */
static gboolean may_sign_code(X509 *x509, gboolean must)
{
    if (!(X509_get_extension_flags(x509) & EXFLAG_XKUSAGE))
        return !must;
    return (X509_get_extended_key_usage(x509) & XKU_CODE_SIGN) != 0;
}

static gboolean check_use(STACK_OF(X509) * chain, GpCertificateUse use, GError **error)
{
    X509 *leaf = sk_X509_value(chain, 0);
    if (X509_get_extension_flags(leaf) & EXFLAG_CA)
        return gp_refuse(error, "certificate-usage", "the signer's certificate is a CA's");
    if ((X509_get_extension_flags(leaf) & EXFLAG_KUSAGE) && !(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
        return gp_refuse(error, "certificate-usage", "the signer's certificate is not meant for signatures");
    /* OpenSSL takes old forms of CA certificates too, that say it in other ways. The last one is trusted as it is. */
    for (int i = 1; i + 1 < sk_X509_num(chain); i++)
        if (X509_check_ca(sk_X509_value(chain, i)) != 1)
            return gp_refuse(error, "certificate-usage", "a certificate of the chain is no CA's");
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (!may_sign_code(sk_X509_value(chain, i), i == 0 && use == GP_CERTIFICATE_CODE_SIGNING))
            return gp_refuse(error, "certificate-usage", "%s is not meant for signing code",
                i == 0 ? "the signer's certificate" : "a CA of the chain");
    return TRUE;
}

static gboolean refuse_chain(const X509_STORE_CTX *context, gint64 at, GError **error)
{
    int problem = X509_STORE_CTX_get_error(context);
    gboolean early = problem == X509_V_ERR_CERT_NOT_YET_VALID, late = problem == X509_V_ERR_CERT_HAS_EXPIRED;
    if (!early && !late)
        return gp_refuse(error, "certificate-untrusted", "%s", X509_verify_cert_error_string(problem));
    g_autoptr(GDateTime) moment = g_date_time_new_from_unix_utc(at);
    g_autofree char *text = moment ? g_date_time_format_iso8601(moment) : g_strdup("that time");
    return gp_refuse(error, "certificate-expired-at-time", "%s was %s at %s",
        X509_STORE_CTX_get_error_depth(context) == 0 ? "the signer's certificate" : "a CA of the chain",
        early ? "not yet valid" : "no longer valid", text);
}

static gboolean run(X509_STORE_CTX *context, gint64 at, GpCertificateUse use, X509 **issuer, GError **error)
{
    /* What cannot be read would look as if it were not there. */
    if (X509_verify_cert(context) != 1)
        return refuse_chain(context, at, error);
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(context);
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (X509_get_extension_flags(sk_X509_value(chain, i)) & (EXFLAG_INVALID | EXFLAG_INVALID_POLICY))
            return gp_refuse(error, "certificate-untrusted", "an extension of the chain cannot be read");
    if (sk_X509_num(chain) < 2)
        return gp_refuse(error, "certificate-untrusted", "the signer's certificate is its own issuer");
    if (!check_use(chain, use, error))
        return FALSE;
    if (issuer) {
        *issuer = sk_X509_value(chain, 1);
        X509_up_ref(*issuer);
    }
    return TRUE;
}

static gboolean verify_by(X509 *leaf, const GpTrustedAuthority *authority, GPtrArray *untrusted, gint64 at,
    GpCertificateUse use, X509 **issuer, GError **error)
{
    guint last = authority->certificates->len - 1;
    g_autoptr(X509_STORE) store = gp_certificate_store(authority->certificates->pdata[last], at);
    g_autoptr(X509_STORE_CTX) context = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    gboolean good = FALSE;
    if (between) {
        push_all(between, authority->certificates, last);
        push_all(between, untrusted, untrusted ? untrusted->len : 0);
    }
    if (store && context && between && X509_STORE_CTX_init(context, store, leaf, between) == 1)
        good = run(context, at, use, issuer, error);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "OpenSSL cannot verify a certificate");
    sk_X509_free(between);
    ERR_clear_error();
    return good;
}

gboolean gp_certificate_verify(X509 *leaf, GPtrArray *authorities, GPtrArray *untrusted, gint64 at,
    GpCertificateUse use, X509 **issuer, GError **error)
{
    g_autoptr(GError) best = NULL;
    for (guint i = 0; i < authorities->len; i++) {
        const GpTrustedAuthority *authority = authorities->pdata[i];
        if (!gp_in_window(authority->start, authority->end, at))
            continue;
        g_autoptr(GError) here = NULL;
        if (verify_by(leaf, authority, untrusted, at, use, issuer, &here))
            return TRUE;
        /* Of several accounts, the one of an authority that did issue it tells most. */
        if (!best || g_str_has_prefix(best->message, "certificate-untrusted")) {
            g_clear_error(&best);
            best = g_steal_pointer(&here);
        }
    }
    if (best)
        g_propagate_error(error, g_steal_pointer(&best));
    else
        gp_refuse(error, "certificate-untrusted", "no trusted CA was in use at that time");
    return FALSE;
}
