#include "sigstore/timestamp.h"

#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ts.h>
#include <openssl/x509v3.h>

#include "base/limits.h"
#include "sigstore/certificate.h"
#include "sigstore/refusal.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TS_RESP, TS_RESP_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_STORE, X509_STORE_free)

/* ---- what it says */

static TS_RESP *parse(GBytes *response, GError **error)
{
    gsize size;
    const unsigned char *bytes = g_bytes_get_data(response, &size), *next = bytes;
    g_autoptr(TS_RESP) parsed = size > 0 && size <= GP_LIMIT_TIMESTAMP ? d2i_TS_RESP(NULL, &next, (long) size) : NULL;
    if (!parsed || next != bytes + size) {
        gp_refuse(error, "timestamp-format", "not one timestamp response in DER");
        return NULL;
    }
    gint64 status = -1;
    const ASN1_INTEGER *number = TS_STATUS_INFO_get0_status(TS_RESP_get_status_info(parsed));
    /* granted, or granted with modifications (RFC 3161 §2.4.2) */
    if (ASN1_INTEGER_get_int64(&status, number) != 1 || (status != 0 && status != 1) || !TS_RESP_get_tst_info(parsed) ||
        TS_TST_INFO_get_version(TS_RESP_get_tst_info(parsed)) != 1) {
        gp_refuse(error, "timestamp-format", "the response grants no timestamp of version 1");
        return NULL;
    }
    return g_steal_pointer(&parsed);
}

static gboolean check_extensions(TS_TST_INFO *info, GError **error)
{
    for (int i = 0; i < TS_TST_INFO_get_ext_count(info); i++)
        if (X509_EXTENSION_get_critical(TS_TST_INFO_get_ext(info, i)))
            return gp_refuse(error, "timestamp-format", "it has a critical extension that is not known");
    return TRUE;
}

static gboolean check_imprint(TS_TST_INFO *info, GBytes *data, GError **error)
{
    TS_MSG_IMPRINT *imprint = TS_TST_INFO_get_msg_imprint(info);
    const ASN1_OBJECT *algorithm;
    X509_ALGOR_get0(&algorithm, NULL, NULL, TS_MSG_IMPRINT_get_algo(imprint));
    int kind = OBJ_obj2nid(algorithm);
    if (kind != NID_sha256 && kind != NID_sha384 && kind != NID_sha512)
        return gp_refuse(error, "timestamp-mismatch", "its imprint is made with a hash that is not accepted");
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    const ASN1_OCTET_STRING *stated = TS_MSG_IMPRINT_get_msg(imprint);
    if (EVP_Digest(g_bytes_get_data(data, NULL), g_bytes_get_size(data), hash, &length, EVP_get_digestbynid(kind),
            NULL) == 1 &&
        ASN1_STRING_length(stated) == (int) length && memcmp(ASN1_STRING_get0_data(stated), hash, length) == 0)
        return TRUE;
    return gp_refuse(error, "timestamp-mismatch", "it is of something else than this signature");
}

static gboolean read_time(const TS_TST_INFO *info, gint64 *time, GError **error)
{
    struct tm parts = {0};
    const ASN1_GENERALIZEDTIME *stated = TS_TST_INFO_get_time(info);
    if (!stated || ASN1_TIME_to_tm(stated, &parts) != 1)
        return gp_refuse(error, "timestamp-format", "its time cannot be read");
    *time = (gint64) timegm(&parts);
    return TRUE;
}

/* ---- who says it */

/* TS_RESP_verify_signature() checks the signature, the attribute that names the signer's certificate (RFC 5035), its
 * chain for the purpose of timestamps; which certificate that has to be is ours to say. */
static gboolean is_made_by(PKCS7 *token, const GpTrustedAuthority *authority, gint64 time)
{
    X509 *root = authority->certificates->pdata[authority->certificates->len - 1];
    g_autoptr(X509_STORE) store = gp_certificate_store(root, time);
    STACK_OF(X509) *known = sk_X509_new_null();
    for (guint i = 0; known && i < authority->certificates->len; i++)
        sk_X509_push(known, authority->certificates->pdata[i]);
    X509 *signer = NULL;
    gboolean good = store && known && TS_RESP_verify_signature(token, known, store, &signer) == 1 && signer;
    X509 *own = authority->certificates->pdata[0];
    if (good && !(X509_get_extension_flags(own) & EXFLAG_CA))
        good = X509_cmp(signer, own) == 0;
    X509_free(signer);
    sk_X509_free(known);
    ERR_clear_error();
    return good;
}

gboolean gp_timestamp_verify(
    GBytes *response, GBytes *data, GPtrArray *authorities, gint64 *time, guint *index, GError **error)
{
    g_autoptr(TS_RESP) parsed = parse(response, error);
    if (!parsed)
        return FALSE;
    TS_TST_INFO *info = TS_RESP_get_tst_info(parsed);
    if (!check_extensions(info, error) || !check_imprint(info, data, error) || !read_time(info, time, error))
        return FALSE;
    gboolean made = FALSE;
    for (guint i = 0; i < authorities->len; i++) {
        const GpTrustedAuthority *authority = authorities->pdata[i];
        if (!is_made_by(TS_RESP_get_token(parsed), authority, *time))
            continue;
        made = TRUE;
        if (gp_in_window(authority->start, authority->end, *time)) {
            if (index)
                *index = i;
            return TRUE;
        }
    }
    return gp_refuse(error, made ? "timestamp-authority-expired" : "timestamp-untrusted",
        made ? "its authority was not in use at that time"
             : "no trusted authority made it, or its certificate was not valid at that time");
}
