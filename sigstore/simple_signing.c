#include "sigstore/simple_signing.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "sigstore/openpgp_message.h"
#include "sigstore/payload.h"

static gboolean refuse(GError **error, const char *reason, const char *format, ...) G_GNUC_PRINTF(3, 4);

static gboolean refuse(GError **error, const char *reason, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "%s: %s", reason, text);
    return FALSE;
}

static gboolean import_keys(GpGpgHome *home, GPtrArray *keyrings, GError **error)
{
    if (keyrings->len == 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_KEY, "no-usable-key: no key to verify with");
        return FALSE;
    }
    for (guint i = 0; i < keyrings->len; i++) {
        g_autofree char *what = g_strdup_printf("key file %u of %u", i + 1, keyrings->len);
        if (!gp_gpg_home_import(home, g_ptr_array_index(keyrings, i), what, error))
            return FALSE;
    }
    return TRUE;
}

/* gpgme's write callback: the signed text, at most GP_LIMIT_SIGNATURE bytes of it. */
static ssize_t collect(void *handle, const void *buffer, size_t size)
{
    GByteArray *text = handle;
    if (text->len + size > GP_LIMIT_SIGNATURE) {
        errno = EFBIG;
        return -1;
    }
    g_byte_array_append(text, buffer, (guint) size);
    return (ssize_t) size;
}

/* Runs the verification; what GnuPG emits goes to @text. */
static gpgme_verify_result_t run_verify(GpGpgHome *home, GBytes *message, GByteArray *text, GError **error)
{
    static struct gpgme_data_cbs callbacks = {.write = collect};
    gpgme_ctx_t ctx = gp_gpg_home_context(home);
    gpgme_data_t input = NULL, output = NULL;
    gpgme_error_t err = gpgme_data_new_from_mem(&input, g_bytes_get_data(message, NULL), g_bytes_get_size(message), 0);
    if (!err)
        err = gpgme_data_new_from_cbs(&output, &callbacks, text);
    gp_gpg_home_begin(home);
    if (!err)
        err = gpgme_op_verify(ctx, input, NULL, output);
    gpgme_data_release(input);
    gpgme_data_release(output);
    gp_gpg_home_ends_without_memory(err);
    if (!gp_gpg_home_in_time(home, error))
        return NULL;
    gpgme_verify_result_t result = err ? NULL : gpgme_op_verify_result(ctx);
    if (!result)
        refuse(error, "signature-format", "GnuPG cannot read it: %s", gpgme_strerror(err));
    return result;
}

/* Maps the status of the one signature. An expired or revoked one comes with gpg's VALIDSIG as well, so only "no error
 * at all" is good. */
static gboolean check_status(gpgme_signature_t signature, GError **error)
{
    const char *key = signature->fpr ? signature->fpr : "unknown";
    if (signature->wrong_key_usage)
        return refuse(error, "wrong-key-usage", "key %s is not meant for signatures", key);
    switch ((int) gpgme_err_code(signature->status)) {
    case GPG_ERR_NO_ERROR:
        return TRUE;
    case GPG_ERR_SIG_EXPIRED:
        return refuse(error, "expired-signature", "the signature by key %s has expired", key);
    case GPG_ERR_KEY_EXPIRED:
        return refuse(error, "expired-key", "key %s has expired", key);
    case GPG_ERR_CERT_REVOKED:
        return refuse(error, "revoked-key", "key %s is revoked", key);
    case GPG_ERR_NO_PUBKEY:
        return refuse(error, "unknown-key", "key %s is not among the accepted ones", key);
    case GPG_ERR_WRONG_KEY_USAGE:
        return refuse(error, "wrong-key-usage", "key %s is not meant for signatures", key);
    default:
        return refuse(error, "bad-signature", "signature by key %s: %s", key, gpgme_strerror(signature->status));
    }
}

/* What gpg accepts and we do not. */
static gboolean check_details(gpgme_signature_t signature, GError **error)
{
    if (signature->summary & GPGME_SIGSUM_SIG_EXPIRED)
        return refuse(error, "expired-signature", "the signature has expired");
    if (signature->summary & GPGME_SIGSUM_KEY_EXPIRED)
        return refuse(error, "expired-key", "the key has expired");
    if (signature->summary & GPGME_SIGSUM_KEY_REVOKED)
        return refuse(error, "revoked-key", "the key is revoked");
    if ((signature->summary & (GPGME_SIGSUM_RED | GPGME_SIGSUM_KEY_MISSING | GPGME_SIGSUM_SYS_ERROR)) ||
        signature->validity == GPGME_VALIDITY_NEVER)
        return refuse(error, "bad-signature", "GnuPG does not consider the signature valid");
    /* Collisions are affordable: whoever gets one harmless text signed could have prepared its twin. */
    if (signature->hash_algo == GPGME_MD_MD5 || signature->hash_algo == GPGME_MD_SHA1 ||
        signature->hash_algo == GPGME_MD_RMD160)
        return refuse(
            error, "bad-signature", "made with the broken hash %s", gpgme_hash_algo_name(signature->hash_algo));
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    if ((gint64) signature->timestamp > now + GP_LIMIT_CLOCK_SKEW)
        return refuse(error, "bad-signature",
            "dated in the future (%lu, now is %" G_GINT64_FORMAT ")\nCheck the clock.", signature->timestamp, now);
    return TRUE;
}

static gboolean check_key(gpgme_key_t key, const char *signing_fingerprint, GError **error)
{
    gpgme_subkey_t used = NULL;
    for (gpgme_subkey_t subkey = key->subkeys; subkey; subkey = subkey->next)
        if (g_strcmp0(subkey->fpr, signing_fingerprint) == 0)
            used = subkey;
    if (!used)
        return refuse(error, "unknown-key", "key %s is not among the accepted ones", signing_fingerprint);
    if (key->revoked || used->revoked)
        return refuse(error, "revoked-key", "key %s is revoked", signing_fingerprint);
    if (key->expired || used->expired)
        return refuse(error, "expired-key", "key %s has expired", signing_fingerprint);
    if (key->disabled || key->invalid || used->disabled || used->invalid)
        return refuse(error, "bad-signature", "key %s is not valid", signing_fingerprint);
    if (!used->can_sign)
        return refuse(error, "wrong-key-usage", "key %s is not meant for signatures", signing_fingerprint);
    return TRUE;
}

/* The signer of @message, and the signed bytes in @text. */
static char *verify(GpGpgHome *home, GBytes *message, GByteArray *text, GError **error)
{
    gpgme_verify_result_t result = run_verify(home, message, text, error);
    if (!result)
        return NULL;
    gpgme_signature_t signature = result->signatures;
    if (!signature)
        return refuse(error, "signature-format", "the message carries no signature"), NULL;
    if (signature->next)
        return refuse(error, "several-signatures", "exactly one signature is accepted"), NULL;
    if (!check_status(signature, error) || !check_details(signature, error))
        return NULL;
    if (!signature->fpr)
        return refuse(error, "unknown-key", "GnuPG does not say which key signed"), NULL;
    gpgme_key_t key = gp_gpg_home_key_of(home, signature->fpr);
    if (!key)
        return refuse(error, "unknown-key", "key %s is not among the accepted ones", signature->fpr), NULL;
    return check_key(key, signature->fpr, error) ? g_strdup_printf("GPG key %s", key->fpr) : NULL;
}

GpGpgHome *gp_simple_signing_import(GPtrArray *keyrings, GError **error)
{
    g_autoptr(GpGpgHome) home = gp_gpg_home_new(NULL, GP_LIMIT_GPG_TIMEOUT, error);
    if (!home || !import_keys(home, keyrings, error) || !gp_gpg_home_list_keys(home, error))
        return NULL;
    return g_steal_pointer(&home);
}

GpSignatureFacts *gp_simple_signing_verify(GBytes *blob, GpGpgHome *keys, GError **error)
{
    g_autoptr(GBytes) message = gp_openpgp_message_check(blob, error);
    if (!message)
        return NULL;
    g_autoptr(GByteArray) text = g_byte_array_new();
    g_autofree char *signer = verify(keys, message, text, error);
    if (!signer)
        return NULL;
    g_autoptr(GBytes) payload = g_byte_array_free_to_bytes(g_steal_pointer(&text));
    return gp_payload_parse(payload, GP_PAYLOAD_ATOMIC, signer, error);
}
