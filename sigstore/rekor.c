#include "sigstore/rekor.h"

#include "sigstore/checkpoint.h"
#include "sigstore/merkle.h"
#include "sigstore/refusal.h"

static gboolean has_id(const GpTrustedLog *log, GBytes *id)
{
    return g_bytes_equal(log->id, id);
}

/* Several keys of one log may have one id only if they are one key; the window decides between rows that differ in
 * it. */
static const GpTrustedLog *find_log(const GpTrustedRoot *root, const GpLogEntry *entry)
{
    const GpTrustedLog *found = NULL;
    for (guint i = 0; i < root->tlogs->len; i++) {
        const GpTrustedLog *log = root->tlogs->pdata[i];
        if (has_id(log, entry->log_id) && (!found || gp_in_window(log->start, log->end, entry->integrated_time)))
            found = log;
    }
    return found;
}

static char *hex_of(GBytes *bytes)
{
    GString *text = g_string_new(NULL);
    const guint8 *data = g_bytes_get_data(bytes, NULL);
    for (gsize i = 0; i < g_bytes_get_size(bytes); i++)
        g_string_append_printf(text, "%02x", data[i]);
    return g_string_free(text, FALSE);
}

/* The log signs this JSON in this spelling (RFC 8785). */
static gboolean check_promise(const GpLogEntry *entry, const GpTrustedLog *log, GError **error)
{
    gsize size;
    const guchar *raw = g_bytes_get_data(entry->body, &size);
    g_autofree char *body = g_base64_encode(raw, size);
    g_autofree char *id = hex_of(entry->log_id);
    char *text = g_strdup_printf("{\"body\":\"%s\",\"integratedTime\":%" G_GINT64_FORMAT
                                 ",\"logID\":\"%s\",\"logIndex\":%" G_GUINT64_FORMAT "}",
        body, entry->integrated_time, id, entry->log_index);
    g_autoptr(GBytes) signed_text = g_bytes_new_take(text, strlen(text));
    return gp_public_key_verifies(log->key, signed_text, entry->promise) ||
           gp_refuse(error, "set-signature", "the log's promise is not its own, or about other values");
}

static gboolean check_proof(const GpLogEntry *entry, const GpTrustedLog *log, gboolean v2, GError **error)
{
    g_autoptr(GpCheckpoint) checkpoint = gp_checkpoint_verify(entry->checkpoint, log, v2, error);
    GpDigest leaf;
    if (!checkpoint)
        return FALSE;
    if (checkpoint->size != entry->tree_size || !g_bytes_equal(checkpoint->root, entry->root_hash))
        return gp_refuse(error, "checkpoint-mismatch", "the log signed another tree than the proof's");
    gp_merkle_leaf(entry->body, &leaf);
    return gp_merkle_includes(&leaf, entry->proof_index, entry->tree_size, entry->hashes, entry->root_hash) ||
           gp_refuse(error, "inclusion-proof", "the hashes do not lead from the entry to the root");
}

gboolean gp_rekor_verify(const GpLogEntry *entry, const GpTrustedRoot *root, const GpLogBinding *binding, gint64 *time,
    const GpTrustedLog **found, GError **error)
{
    const GpTrustedLog *log = find_log(root, entry);
    gboolean v2 = gp_rekor_is_v2(entry);
    gboolean promised = entry->promise && !v2;
    *time = -1;
    *found = log;
    if (!log)
        return gp_refuse(error, "log-unknown", "an entry of a log that is not trusted");
    if (!promised && !entry->has_proof)
        return gp_refuse(error, "inclusion-proof", "an entry with neither promise nor proof");
    if (promised && !check_promise(entry, log, error))
        return FALSE;
    if (promised && !gp_in_window(log->start, log->end, entry->integrated_time))
        return gp_refuse(error, "log-key-not-valid-then", "the log's key does not count for the entry's time");
    if (entry->has_proof && !check_proof(entry, log, v2, error))
        return FALSE;
    if (promised)
        *time = entry->integrated_time;
    return gp_rekor_body_check(entry, binding, error);
}
