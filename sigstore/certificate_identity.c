/* Whom a certificate names. */
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "sigstore/certificate.h"
#include "sigstore/refusal.h"

#define ISSUER_V1 "1.3.6.1.4.1.57264.1.1"
#define ISSUER_V2 "1.3.6.1.4.1.57264.1.8"
#define OTHER_NAME "1.3.6.1.4.1.57264.1.7"
#define WORD "certificate-identity"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ASN1_OBJECT, ASN1_OBJECT_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GENERAL_NAMES, GENERAL_NAMES_free)

/* A text of @length bytes as a string; NULL if it is empty, has a NUL or is no UTF-8: whoever compares such a thing
 * compares only a part of it. */
static char *take_text(const guint8 *bytes, gsize length)
{
    if (length == 0 || memchr(bytes, '\0', length) || !g_utf8_validate((const char *) bytes, (gssize) length, NULL))
        return NULL;
    return g_strndup((const char *) bytes, length);
}

static char *take_string(const ASN1_STRING *string)
{
    return take_text(ASN1_STRING_get0_data(string), (gsize) ASN1_STRING_length(string));
}

/* The one DER UTF8String that @bytes are, to the byte, in its shortest form. */
static char *take_der_text(const guint8 *bytes, gsize length)
{
    const unsigned char *next = bytes;
    ASN1_UTF8STRING *string = d2i_ASN1_UTF8STRING(NULL, &next, (long) length);
    char *text = string && next == bytes + length ? take_string(string) : NULL;
    unsigned char *again = NULL;
    int size = text ? i2d_ASN1_UTF8STRING(string, &again) : -1;
    if (text && (size < 0 || (gsize) size != length || memcmp(again, bytes, length) != 0))
        g_clear_pointer(&text, g_free);
    OPENSSL_free(again);
    ASN1_UTF8STRING_free(string);
    return text;
}

/* The text of extension @number: *@text stays NULL when it is not there. FALSE if it is there twice or unreadable. */
static gboolean read_issuer(X509 *x509, const char *number, gboolean in_der, char **text)
{
    g_autoptr(ASN1_OBJECT) object = OBJ_txt2obj(number, 1);
    int place = X509_get_ext_by_OBJ(x509, object, -1);
    if (place < 0)
        return TRUE;
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509_get_ext(x509, place));
    const guint8 *bytes = ASN1_STRING_get0_data(value);
    gsize length = (gsize) ASN1_STRING_length(value);
    *text = in_der ? take_der_text(bytes, length) : take_text(bytes, length);
    return *text && X509_get_ext_by_OBJ(x509, object, place) < 0;
}

static char *read_one_issuer(X509 *x509, GError **error)
{
    g_autofree char *first = NULL, *second = NULL;
    if (!read_issuer(x509, ISSUER_V1, FALSE, &first) || !read_issuer(x509, ISSUER_V2, TRUE, &second)) {
        gp_refuse(error, WORD, "the OIDC issuer cannot be read");
        return NULL;
    }
    if (!first && !second) {
        gp_refuse(error, WORD, "it names no OIDC issuer");
        return NULL;
    }
    if (first && second && strcmp(first, second) != 0) {
        gp_refuse(error, WORD, "it names two OIDC issuers");
        return NULL;
    }
    return g_strdup(second ? second : first);
}

static GENERAL_NAMES *names_of(X509 *x509)
{
    int critical;
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, &critical, NULL);
    ERR_clear_error();
    return names;
}

static char *read_name(const GENERAL_NAME *name, GpSanType *type)
{
    switch (name->type) {
    case GEN_URI:
        *type = GP_SAN_URI;
        return take_string(name->d.uniformResourceIdentifier);
    case GEN_EMAIL:
        *type = GP_SAN_EMAIL;
        return take_string(name->d.rfc822Name);
    case GEN_OTHERNAME: {
        g_autoptr(ASN1_OBJECT) known = OBJ_txt2obj(OTHER_NAME, 1);
        *type = GP_SAN_OTHER_NAME;
        gboolean ours =
            OBJ_cmp(name->d.otherName->type_id, known) == 0 && name->d.otherName->value->type == V_ASN1_UTF8STRING;
        return ours ? take_string(name->d.otherName->value->value.utf8string) : NULL;
    }
    default:
        return NULL;
    }
}

GpCertificateIdentity *gp_certificate_identity(X509 *certificate, GError **error)
{
    g_autoptr(GpCertificateIdentity) identity = g_new0(GpCertificateIdentity, 1);
    identity->issuer = read_one_issuer(certificate, error);
    if (!identity->issuer)
        return NULL;
    g_autoptr(GENERAL_NAMES) names = names_of(certificate);
    /* Fulcio writes exactly one; of two, nobody could say which one was meant. */
    if (!names || sk_GENERAL_NAME_num(names) != 1) {
        gp_refuse(
            error, WORD, names ? "it has several subject alternative names" : "it has no subject alternative name");
        return NULL;
    }
    identity->san = read_name(sk_GENERAL_NAME_value(names, 0), &identity->type);
    if (!identity->san) {
        gp_refuse(
            error, WORD, "its subject alternative name is neither a URI, an email address nor a user name of Fulcio");
        return NULL;
    }
    return g_steal_pointer(&identity);
}

void gp_certificate_identity_free(GpCertificateIdentity *identity)
{
    if (!identity)
        return;
    g_free(identity->issuer);
    g_free(identity->san);
    g_free(identity);
}

gboolean gp_certificate_has_email(X509 *certificate, const char *email)
{
    g_autoptr(GENERAL_NAMES) names = names_of(certificate);
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        GpSanType type;
        g_autofree char *text = read_name(sk_GENERAL_NAME_value(names, i), &type);
        if (text && type == GP_SAN_EMAIL && strcmp(text, email) == 0)
            return TRUE;
    }
    return FALSE;
}

gboolean gp_certificate_has_hostname(X509 *certificate, const char *hostname)
{
    gboolean has = X509_check_host(certificate, hostname, strlen(hostname),
                       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
    ERR_clear_error();
    return has;
}
