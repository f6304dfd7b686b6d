#include "sigstore/sct.h"

#include <string.h>

#include <openssl/ct.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/digest.h"
#include "base/limits.h"
#include "sigstore/refusal.h"

/* What the log signed: the certificate as it was before the promises were put into it, and who was going to issue it.
 */
typedef struct {
    GBytes *tbs;
    GpDigest issuer_key;
} Precertificate;

static void put_number(GByteArray *out, guint64 number, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        g_byte_array_append(out, (guint8[]){(guint8) (number >> (8 * i))}, 1);
}

static GBytes *take_der(unsigned char *bytes, int size)
{
    GBytes *der = size > 0 ? g_bytes_new(bytes, (gsize) size) : NULL;
    OPENSSL_free(bytes);
    return der;
}

static gboolean make_precertificate(X509 *leaf, X509 *issuer, Precertificate *pre)
{
    X509 *copy = X509_dup(leaf);
    int place = copy ? X509_get_ext_by_NID(copy, NID_ct_precert_scts, -1) : -1;
    if (place >= 0)
        X509_EXTENSION_free(X509_delete_ext(copy, place));
    unsigned char *bytes = NULL;
    int size = place >= 0 ? i2d_re_X509_tbs(copy, &bytes) : -1;
    pre->tbs = take_der(bytes, size);
    X509_free(copy);

    bytes = NULL;
    size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(issuer), &bytes);
    g_autoptr(GBytes) key = take_der(bytes, size);
    if (key)
        gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(key, NULL), g_bytes_get_size(key), &pre->issuer_key);
    return pre->tbs && key;
}

/* digitally-signed struct of RFC 6962 §3.2, entry_type precert_entry. */
static GBytes *signed_bytes(const Precertificate *pre, const SCT *sct)
{
    unsigned char *extensions;
    gsize length = SCT_get0_extensions(sct, &extensions);
    GByteArray *out = g_byte_array_new();
    put_number(out, 0, 1); /* v1 */
    put_number(out, 0, 1); /* certificate_timestamp */
    put_number(out, SCT_get_timestamp(sct), 8);
    put_number(out, 1, 2); /* precert_entry */
    g_byte_array_append(out, pre->issuer_key.bytes, 32);
    put_number(out, g_bytes_get_size(pre->tbs), 3);
    g_byte_array_append(out, g_bytes_get_data(pre->tbs, NULL), (guint) g_bytes_get_size(pre->tbs));
    put_number(out, length, 2);
    g_byte_array_append(out, extensions, (guint) length);
    return g_byte_array_free_to_bytes(out);
}

static const GpTrustedLog *find_log(GPtrArray *logs, const SCT *sct, gint64 seconds, gboolean *known)
{
    unsigned char *id;
    gsize length = SCT_get0_log_id(sct, &id);
    for (guint i = 0; i < logs->len; i++) {
        const GpTrustedLog *log = logs->pdata[i];
        if (g_bytes_get_size(log->id) != length || memcmp(g_bytes_get_data(log->id, NULL), id, length) != 0)
            continue;
        *known = TRUE;
        if (gp_in_window(log->start, log->end, seconds))
            return log;
    }
    return NULL;
}

static gboolean is_signed(const Precertificate *pre, const SCT *sct, const GpTrustedLog *log)
{
    unsigned char *bytes;
    gsize length = SCT_get0_signature(sct, &bytes);
    int kind = SCT_get_signature_nid(sct);
    if (kind != NID_ecdsa_with_SHA256 && kind != NID_sha256WithRSAEncryption)
        return FALSE;
    g_autoptr(GBytes) signature = g_bytes_new(bytes, length), data = signed_bytes(pre, sct);
    return gp_public_key_verifies(log->key, data, signature);
}

/* How many logs promised; *@bad says what was wrong with one that did not. */
static guint count_good(STACK_OF(SCT) * scts, const Precertificate *pre, GPtrArray *logs, const char **bad)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_bytes_hash, g_bytes_equal);
    for (int i = 0; i < sk_SCT_num(scts); i++) {
        const SCT *sct = sk_SCT_value(scts, i);
        if (SCT_get_version(sct) != SCT_VERSION_V1) {
            *bad = "one is of an unknown version";
            continue;
        }
        gboolean known = FALSE;
        guint64 milliseconds = SCT_get_timestamp(sct);
        gint64 seconds = milliseconds / 1000 > G_MAXINT64 ? G_MAXINT64 : (gint64) (milliseconds / 1000);
        const GpTrustedLog *log = find_log(logs, sct, seconds, &known);
        if (!known)
            continue;
        if (!log)
            *bad = "one was made when the log's key was not in use";
        else if (!is_signed(pre, sct, log))
            *bad = "a signature is not the log's, or of another certificate";
        else
            g_hash_table_add(seen, log->id);
    }
    return g_hash_table_size(seen);
}

guint gp_sct_count(X509 *leaf, X509 *issuer, GPtrArray *logs, const char **bad)
{
    int found = -1;
    STACK_OF(SCT) *scts = X509_get_ext_d2i(leaf, NID_ct_precert_scts, &found, NULL);
    Precertificate pre = {0};
    const char *problem = scts || found == -1 ? NULL : "they cannot be read";
    guint good = 0;
    if (scts && sk_SCT_num(scts) > GP_LIMIT_SCTS)
        problem = "there are too many";
    else if (scts && make_precertificate(leaf, issuer, &pre))
        good = count_good(scts, &pre, logs, &problem);
    g_clear_pointer(&pre.tbs, g_bytes_unref);
    SCT_LIST_free(scts);
    ERR_clear_error();
    if (bad)
        *bad = problem;
    return good;
}

gboolean gp_sct_verify(X509 *leaf, X509 *issuer, GPtrArray *logs, guint wanted, GError **error)
{
    const char *bad = NULL;
    guint good = wanted > 0 ? gp_sct_count(leaf, issuer, logs, &bad) : 0;
    if (good >= wanted)
        return TRUE;
    return gp_refuse(error, bad ? "sct-invalid" : "sct-missing",
        "the certificate has timestamps of %u known logs, wanted %u%s%s", good, wanted, bad ? ": " : "",
        bad ? bad : "");
}
