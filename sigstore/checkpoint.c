#include "sigstore/checkpoint.h"

#include <string.h>

#include "base/base64.h"
#include "sigstore/refusal.h"

#define HINT_SIZE 4
#define ROOT_SIZE 32
#define MAX_SIGNATURES 64
#define DASH "\u2014 "

void gp_checkpoint_free(GpCheckpoint *checkpoint)
{
    if (!checkpoint)
        return;
    g_free(checkpoint->origin);
    g_clear_pointer(&checkpoint->root, g_bytes_unref);
    g_free(checkpoint);
}

static gboolean malformed(GError **error, const char *what)
{
    return gp_refuse(error, "checkpoint-format", "%s", what);
}

/* Decimal, with nothing in front of it. */
static gboolean parse_size(const char *text, guint64 *size)
{
    return g_ascii_isdigit(*text) && *text != '0' && g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT64, size, NULL);
}

static GpCheckpoint *read_text(const char *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GpCheckpoint) checkpoint = g_new0(GpCheckpoint, 1);
    if (g_strv_length(lines) < 4) { /* the last one is what follows the last newline */
        (void) malformed(error, "needs origin, size and root");
        return NULL;
    }
    checkpoint->origin = g_strdup(lines[0]);
    if (!*lines[0] || !parse_size(lines[1], &checkpoint->size)) {
        (void) malformed(error, *lines[0] ? "the size is no number" : "no origin");
        return NULL;
    }
    checkpoint->root = gp_base64_decode(lines[2], strlen(lines[2]));
    if (!checkpoint->root || g_bytes_get_size(checkpoint->root) != ROOT_SIZE) {
        (void) malformed(error, "the root is not the base64 of 32 bytes");
        return NULL;
    }
    return g_steal_pointer(&checkpoint);
}

/* The first bytes of the log's id: SHA-256 of an ECDSA log's key, of name and key for Ed25519 (signed-note, "Signature
 * types"). A trusted root's id may be the key's hash for Ed25519 too, so that the hint is made anew. */
static void hint_of(const GpTrustedLog *log, const char *name, guint8 hint[HINT_SIZE])
{
    GpDigest digest;
    gsize size;
    const guint8 *der = g_bytes_get_data(gp_public_key_der(log->key), &size);
    if (gp_public_key_signs_digests(log->key)) {
        gp_digest_of(GP_DIGEST_SHA256, der, size, &digest);
    } else {
        g_autoptr(GByteArray) text = g_byte_array_new();
        g_byte_array_append(text, (const guint8 *) name, (guint) strlen(name));
        g_byte_array_append(text, (const guint8 *) "\n\x01", 2);
        g_byte_array_append(text, der + size - 32, 32);
        gp_digest_of(GP_DIGEST_SHA256, text->data, text->len, &digest);
    }
    memcpy(hint, digest.bytes, HINT_SIZE);
}

/* One line "— <name> <base64 of hint and signature>". FALSE with @error only if it is no such line. */
static gboolean check_line(
    const char *line, const GpTrustedLog *log, const char *signer, GBytes *text, gboolean *good, GError **error)
{
    const char *name = g_str_has_prefix(line, DASH) ? line + strlen(DASH) : NULL;
    const char *space = name ? strchr(name, ' ') : NULL;
    g_autoptr(GBytes) raw = space && space > name ? gp_base64_decode(space + 1, strlen(space + 1)) : NULL;
    guint8 hint[HINT_SIZE];
    if (!raw || g_bytes_get_size(raw) <= HINT_SIZE)
        return malformed(error, "a signature line that is none");
    if ((gsize) (space - name) != strlen(signer) || strncmp(name, signer, strlen(signer)) != 0)
        return TRUE;
    hint_of(log, signer, hint);
    if (memcmp(hint, g_bytes_get_data(raw, NULL), HINT_SIZE) != 0)
        return TRUE;
    g_autoptr(GBytes) signature = g_bytes_new_from_bytes(raw, HINT_SIZE, g_bytes_get_size(raw) - HINT_SIZE);
    *good = *good || gp_public_key_verifies(log->key, text, signature);
    return TRUE;
}

static gboolean check_signatures(
    const char *lines, const GpTrustedLog *log, const char *signer, GBytes *text, GError **error)
{
    gboolean good = FALSE;
    g_auto(GStrv) list = g_strsplit(lines, "\n", MAX_SIGNATURES + 2);
    guint n = g_strv_length(list);
    if (n > MAX_SIGNATURES + 1 || (n > 0 && *list[n - 1]))
        return malformed(error, "needs signature lines, each with a newline at its end");
    for (guint i = 0; i + 1 < n; i++)
        if (!check_line(list[i], log, signer, text, &good, error))
            return FALSE;
    return good || gp_refuse(error, "checkpoint-signature", "the log did not sign it");
}

GpCheckpoint *gp_checkpoint_verify(const char *note, const GpTrustedLog *log, gboolean exact_origin, GError **error)
{
    const char *gap = strstr(note, "\n\n");
    if (!gap) {
        (void) malformed(error, "no empty line between text and signatures");
        return NULL;
    }
    gsize length = (gsize) (gap - note) + 1; /* with its newline: that is what is signed */
    g_autofree char *text = g_strndup(note, length);
    g_autoptr(GBytes) signed_text = g_bytes_new(text, length);
    g_autoptr(GpCheckpoint) checkpoint = read_text(text, error);
    if (!checkpoint)
        return NULL;
    const char *cut = strstr(checkpoint->origin, " - ");
    g_autofree char *signer = exact_origin ? g_strdup(log->host)
                                           : g_strndup(checkpoint->origin,
                                                 cut ? (gsize) (cut - checkpoint->origin) : strlen(checkpoint->origin));
    if (exact_origin && g_strcmp0(log->host, checkpoint->origin) != 0) {
        (void) gp_refuse(error, "checkpoint-origin", "another log's than the one that the trusted root names");
        return NULL;
    }
    return check_signatures(gap + 2, log, signer, signed_text, error) ? g_steal_pointer(&checkpoint) : NULL;
}
