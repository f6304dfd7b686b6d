#include "sigstore/bundle_verify.h"

#include <string.h>

#include "base/error.h"
#include "sigstore/refusal.h"
#include "sigstore/rekor.h"
#include "sigstore/sct.h"
#include "sigstore/statement.h"
#include "sigstore/timestamp.h"

/* One verification. */
typedef struct {
    const GpBundle *bundle;
    const GpBundleRequest *request;
    X509 *leaf;           /* NULL: signed with a bare key */
    GpPublicKey *signer;  /* whose signature it is */
    GBytes *data;         /* what was signed; NULL: only data_digest is known */
    GpDigest data_digest; /* SHA-256 */
    GArray *times;        /* gint64, attested */
} Check;

static void check_clear(Check *check)
{
    g_clear_pointer(&check->leaf, X509_free);
    g_clear_pointer(&check->signer, gp_public_key_free);
    g_clear_pointer(&check->data, g_bytes_unref);
    g_clear_pointer(&check->times, g_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Check, check_clear)

/* ---- who, and over what */

static gboolean check_material(Check *check, GError **error)
{
    if (check->request->keys && check->bundle->certificate)
        return gp_refuse(error, "no-public-key", "the bundle has a certificate, but a key is asked for");
    if (!check->request->keys && !check->bundle->certificate)
        return gp_refuse(error, "no-certificate", "the bundle has a bare key, but an identity is asked for");
    if (!check->bundle->certificate)
        return TRUE;
    check->leaf = gp_certificate_from_der(check->bundle->certificate);
    if (!check->leaf)
        return gp_refuse(error, "bundle-format", "the certificate is none");
    g_autoptr(GError) cause = NULL;
    check->signer = gp_public_key_of_certificate(check->leaf, "the certificate", &cause);
    return check->signer || gp_refuse(error, "certificate-usage", "%s", cause->message);
}

/* The digest that the bundle itself names is a claim, and must not be another one. */
static gboolean check_claimed_digest(const Check *check, GError **error)
{
    const GpBundle *bundle = check->bundle;
    if (!bundle->message_digest)
        return TRUE;
    guint8 digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const EVP_MD *md = strcmp(bundle->message_digest_name, "SHA2_384") == 0 ? EVP_sha384() : EVP_sha512();
    if (strcmp(bundle->message_digest_name, "SHA2_256") == 0) {
        size = (unsigned) gp_digest_size(GP_DIGEST_SHA256);
        memcpy(digest, check->request->digest.bytes, size);
    } else if (!check->data || EVP_Digest(g_bytes_get_data(check->data, NULL), g_bytes_get_size(check->data), digest,
                                   &size, md, NULL) != 1) {
        return gp_refuse(error, "artifact-needed", "its digest is not SHA-256: the artifact itself is needed");
    }
    g_autoptr(GBytes) actual = g_bytes_new(digest, size);
    return g_bytes_equal(actual, bundle->message_digest) ||
           gp_refuse(error, "digest-mismatch", "the bundle is about something else");
}

static void find_data(Check *check)
{
    if (check->bundle->payload)
        check->data = gp_dsse_pae(check->bundle->payload_type, check->bundle->payload);
    else if (check->request->artifact)
        check->data = g_bytes_ref(check->request->artifact);
    if (check->data)
        gp_digest_of(
            GP_DIGEST_SHA256, g_bytes_get_data(check->data, NULL), g_bytes_get_size(check->data), &check->data_digest);
    else
        check->data_digest = check->request->digest;
}

static gboolean signed_by(const Check *check, const GpPublicKey *key)
{
    return check->data ? gp_public_key_verifies(key, check->data, check->bundle->signature)
                       : gp_public_key_verifies_digest(key, &check->data_digest, check->bundle->signature);
}

static gboolean check_signature(Check *check, GError **error)
{
    const GPtrArray *keys = check->request->keys;
    if (check->leaf && signed_by(check, check->signer))
        return TRUE;
    for (guint i = 0; !check->leaf && i < keys->len; i++)
        if (signed_by(check, keys->pdata[i])) {
            check->signer = gp_public_key_ref(keys->pdata[i]);
            return TRUE;
        }
    if (!check->data)
        return gp_refuse(error, "bad-signature", "not over this digest by the key (the artifact itself may be needed)");
    return gp_refuse(error, "bad-signature", "not by %s", check->leaf ? "the certificate's key" : "any of the keys");
}

static gboolean check_content(Check *check, GError **error)
{
    const GpBundle *bundle = check->bundle;
    const GpBundleRequest *request = check->request;
    find_data(check);
    if (!bundle->payload) {
        if (request->predicate_type)
            return gp_refuse(error, "statement", "a plain signature, where a statement is asked for");
        return check_claimed_digest(check, error) && check_signature(check, error);
    }
    return check_signature(check, error) &&
           gp_statement_check(bundle->payload_type, bundle->payload, &request->digest, request->predicate_type, error);
}

/* ---- since when */

static gboolean is_twice(const Check *check, guint at)
{
    const GpLogEntry *entry = check->bundle->entries->pdata[at];
    for (guint i = 0; i < at; i++) {
        const GpLogEntry *other = check->bundle->entries->pdata[i];
        if (other->log_index == entry->log_index && g_bytes_equal(other->log_id, entry->log_id))
            return TRUE;
    }
    return FALSE;
}

/* The logs (GpTrustedLog*) whose entry's time is not attested by themselves are in @timeless. */
static gboolean check_entries(Check *check, GPtrArray *timeless, GError **error)
{
    GBytes *key = gp_public_key_der(check->signer);
    GpLogBinding binding = {.signature = check->bundle->signature,
        .verifier = check->leaf ? check->bundle->certificate : key,
        .is_certificate = check->leaf != NULL,
        .key_details = gp_public_key_details(check->signer),
        .data = check->data,
        .data_digest = &check->data_digest,
        .payload = check->bundle->payload};
    g_autoptr(GHashTable) logs = g_hash_table_new(g_bytes_hash, g_bytes_equal);
    for (guint i = 0; i < check->bundle->entries->len; i++) {
        const GpLogEntry *entry = check->bundle->entries->pdata[i];
        const GpTrustedLog *log;
        gint64 time;
        if (is_twice(check, i))
            return gp_refuse(error, "duplicate-log-entry", "entry %u is there twice", i);
        if (!gp_rekor_verify(entry, check->request->root, &binding, &time, &log, error))
            return FALSE;
        if (time >= 0)
            g_array_append_val(check->times, time);
        else
            g_ptr_array_add(timeless, (gpointer) (guintptr) log);
        g_hash_table_add(logs, log->id);
    }
    guint count = g_hash_table_size(logs);
    return count >= check->request->logs ||
           gp_refuse(error, "log-entries-missing", "entries of %u logs, %u are asked for", count, check->request->logs);
}

static gboolean check_timestamps(Check *check, GError **error)
{
    g_autoptr(GHashTable) authorities = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < check->bundle->timestamps->len; i++) {
        gint64 time;
        guint index;
        if (!gp_timestamp_verify(check->bundle->timestamps->pdata[i], check->bundle->signature,
                check->request->root->timestamp_authorities, &time, &index, error))
            return FALSE;
        g_array_append_val(check->times, time);
        g_hash_table_add(authorities, GUINT_TO_POINTER(index));
    }
    guint count = g_hash_table_size(authorities);
    return count >= check->request->timestamps ||
           gp_refuse(error, "timestamps-missing", "timestamps of %u authorities, %u are asked for", count,
               check->request->timestamps);
}

/* A log that does not say when must have been trusted whenever the others say. */
static gboolean check_windows(const Check *check, const GPtrArray *timeless, GError **error)
{
    for (guint i = 0; i < timeless->len; i++) {
        const GpTrustedLog *log = timeless->pdata[i];
        for (guint k = 0; k < check->times->len; k++)
            if (!gp_in_window(log->start, log->end, g_array_index(check->times, gint64, k)))
                return gp_refuse(error, "log-key-not-valid-then", "the log's key does not count for the attested time");
    }
    return TRUE;
}

static gboolean check_times(Check *check, GError **error)
{
    const GpBundleRequest *request = check->request;
    g_autoptr(GPtrArray) timeless = g_ptr_array_new();
    if (!request->root) {
        if (check->leaf || request->logs || request->timestamps)
            return gp_refuse(error, "log-unknown", "no trusted root is configured");
        return TRUE;
    }
    if (!check_entries(check, timeless, error) || !check_timestamps(check, error))
        return FALSE;
    if (check->leaf && check->times->len == 0)
        return gp_refuse(error, "no-verified-time", "neither a log nor an authority attests when it was signed");
    return check_windows(check, timeless, error);
}

/* ---- by whom */

static GPtrArray *untrusted_certificates(const GpBundle *bundle)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify) X509_free);
    for (guint i = 0; i < bundle->untrusted->len; i++) {
        X509 *certificate = gp_certificate_from_der(bundle->untrusted->pdata[i]);
        if (certificate)
            g_ptr_array_add(list, certificate);
    }
    return list;
}

/* At every attested time: one that suits must not hide another that does not. */
static gboolean check_chain(const Check *check, GError **error)
{
    g_autoptr(GPtrArray) untrusted = untrusted_certificates(check->bundle);
    for (guint i = 0; i < check->times->len; i++) {
        g_autoptr(X509) issuer = NULL;
        if (!gp_certificate_verify(check->leaf, check->request->root->authorities, untrusted,
                g_array_index(check->times, gint64, i), GP_CERTIFICATE_CODE_SIGNING, &issuer, error) ||
            !gp_sct_verify(check->leaf, issuer, check->request->root->ctlogs, check->request->scts, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean check_identity(const Check *check, GpSignatureFacts *facts, GError **error)
{
    facts->identity = gp_certificate_identity(check->leaf, error);
    if (!facts->identity)
        return FALSE;
    g_autofree char *san = gp_escape(facts->identity->san, -1, 300);
    g_autofree char *issuer = gp_escape(facts->identity->issuer, -1, 300);
    facts->signer = g_strdup_printf("identity %s by %s", san, issuer);
    const GpBundleRequest *request = check->request;
    return (request->admits && request->admits(facts->identity, request->admits_data)) ||
           gp_refuse(error, "identity-mismatch", "signed by %s, whom %s vouches for", san, issuer);
}

GpSignatureFacts *gp_bundle_verify(const GpBundle *bundle, const GpBundleRequest *request, GError **error)
{
    g_auto(Check) check = {.bundle = bundle, .request = request, .times = g_array_new(FALSE, FALSE, sizeof(gint64))};
    if (!check_material(&check, error) || !check_content(&check, error) || !check_times(&check, error))
        return NULL;
    if (check.leaf && !check_chain(&check, error))
        return NULL;
    g_autoptr(GpSignatureFacts) facts = g_new0(GpSignatureFacts, 1);
    facts->kind = GP_SIGNATURE_BUNDLE;
    facts->manifest_digest = request->digest;
    facts->timestamp = -1;
    if (check.leaf ? !check_identity(&check, facts, error) : FALSE)
        return NULL;
    if (!check.leaf)
        facts->signer = g_strdup_printf("key %s", gp_public_key_id(check.signer));
    facts->times = g_steal_pointer(&check.times);
    return g_steal_pointer(&facts);
}
