#include "sigstore/openpgp_message.h"

#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "base/limits.h"

/* Packet tags (RFC 4880 §4.3). */
enum {
    TAG_SIGNATURE = 2,
    TAG_ONE_PASS = 4,
    TAG_COMPRESSED = 8,
    TAG_LITERAL = 11,
};

/* Compression algorithms (RFC 4880 §9.3). */
enum {
    COMPRESS_ZIP = 1,
    COMPRESS_ZLIB = 2,
};

typedef struct {
    const guint8 *data;
    gsize size;
    gsize offset;
} Reader;

typedef struct {
    guint tag;
    const guint8 *body; /* the first piece of the body; all of it unless the packet is in parts */
    gsize size;
    gboolean open_ended; /* old format without a length: up to the end of the data */
} Packet;

static gboolean malformed(GError **error, const char *what)
{
    g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "signature-format: %s", what);
    return FALSE;
}

static gboolean take(Reader *reader, gsize count, guint64 *number)
{
    if (reader->size - reader->offset < count)
        return FALSE;
    *number = 0;
    for (gsize i = 0; i < count; i++)
        *number = *number << 8 | reader->data[reader->offset++];
    return TRUE;
}

/* One length of the new format (RFC 4880 §4.2.2); @partial when another one follows its bytes. */
static gboolean take_new_length(Reader *reader, guint64 *length, gboolean *partial)
{
    guint64 first, second;
    *partial = FALSE;
    if (!take(reader, 1, &first))
        return FALSE;
    *length = first;
    if (first < 192)
        return TRUE;
    if (first == 255)
        return take(reader, 4, length);
    *partial = first >= 224;
    if (*partial) {
        *length = G_GUINT64_CONSTANT(1) << (first & 0x1f);
        return TRUE;
    }
    *length = take(reader, 1, &second) ? (first - 192) * 256 + second + 192 : G_MAXUINT64;
    return *length != G_MAXUINT64;
}

static gboolean skip(Reader *reader, guint64 length)
{
    if (reader->size - reader->offset < length)
        return FALSE;
    reader->offset += length;
    return TRUE;
}

static gboolean next_new_packet(Reader *reader, Packet *packet)
{
    guint64 length;
    gboolean partial, first = TRUE;
    do {
        if (!take_new_length(reader, &length, &partial))
            return FALSE;
        if (first) {
            packet->body = reader->data + reader->offset;
            packet->size = length;
        }
        /* Only data may come in parts (§4.2.2.4), and what we have to look into may not. */
        if (partial && packet->tag != TAG_LITERAL)
            return FALSE;
        first = FALSE;
        if (!skip(reader, length))
            return FALSE;
    } while (partial);
    return TRUE;
}

static gboolean next_old_packet(Reader *reader, guint length_type, Packet *packet)
{
    guint64 length;
    packet->open_ended = length_type == 3;
    if (packet->open_ended)
        length = reader->size - reader->offset;
    else if (!take(reader, (gsize) 1 << length_type, &length))
        return FALSE;
    packet->body = reader->data + reader->offset;
    packet->size = length;
    return skip(reader, length);
}

static gboolean next_packet(Reader *reader, Packet *packet, GError **error)
{
    guint64 header;
    *packet = (Packet){0};
    if (!take(reader, 1, &header) || !(header & 0x80))
        return malformed(error, "bytes that are no OpenPGP packet");
    gboolean new_format = header & 0x40;
    packet->tag = new_format ? header & 0x3f : (header >> 2) & 0x0f;
    if (new_format ? !next_new_packet(reader, packet) : !next_old_packet(reader, header & 3, packet))
        return malformed(error, "an OpenPGP packet with a bad length");
    return TRUE;
}

/* @input to the end of its deflate stream, which must be its own; FALSE: it is broken, or makes too many bytes. */
static gboolean inflate_all(z_stream *stream, GByteArray *output, GError **error)
{
    int status = Z_OK;
    while (status != Z_STREAM_END) {
        guint8 buffer[16384];
        stream->next_out = buffer;
        stream->avail_out = sizeof buffer;
        status = inflate(stream, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END)
            return malformed(error, "a broken compressed packet");
        g_byte_array_append(output, buffer, (guint) (sizeof buffer - stream->avail_out));
        if (output->len > GP_LIMIT_SIGNATURE)
            return malformed(error, "the message decompresses to too many bytes");
    }
    return stream->avail_in == 0 || malformed(error, "bytes behind the compressed message");
}

/* Inflates @packet, and requires that the deflate stream ends where the packet ends. */
static GBytes *inflate_packet(const Packet *packet, GError **error)
{
    if (packet->size < 1)
        return malformed(error, "an empty compressed packet"), NULL;
    guint8 algorithm = packet->body[0];
    if (algorithm != COMPRESS_ZIP && algorithm != COMPRESS_ZLIB) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "signature-format: compression algorithm %u\nSign with ZIP, zlib or no compression.", algorithm);
        return NULL;
    }
    z_stream stream = {.next_in = (Bytef *) (guintptr) (packet->body + 1), .avail_in = (uInt) (packet->size - 1)};
    if (inflateInit2(&stream, algorithm == COMPRESS_ZIP ? -MAX_WBITS : MAX_WBITS) != Z_OK)
        g_error("zlib: no memory");
    g_autoptr(GByteArray) output = g_byte_array_new();
    gboolean ok = inflate_all(&stream, output, error);
    (void) inflateEnd(&stream);
    return ok ? g_byte_array_free_to_bytes(g_steal_pointer(&output)) : NULL;
}

/* What is wrong with a message of these packets; the counts say more than the first odd packet would. */
static gboolean check_sequence(const GArray *tags, GError **error)
{
    guint signatures = 0, one_pass = 0, literals = 0;
    for (guint i = 0; i < tags->len; i++) {
        guint tag = g_array_index(tags, guint, i);
        signatures += tag == TAG_SIGNATURE;
        one_pass += tag == TAG_ONE_PASS;
        literals += tag == TAG_LITERAL;
        if (tag != TAG_SIGNATURE && tag != TAG_ONE_PASS && tag != TAG_LITERAL) {
            g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
                "signature-format: an OpenPGP packet with tag %u has no place in a signed message", tag);
            return FALSE;
        }
    }
    if (literals > 1)
        return malformed(error, "several messages in one signature");
    if (signatures == 0)
        return malformed(error, "the message carries no signature");
    if (literals == 0)
        return malformed(error, "a detached signature, without the text that it signs");
    if (signatures > 1 || one_pass > 1) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "several-signatures: the message carries %u signatures, exactly one is accepted",
            MAX(signatures, one_pass));
        return FALSE;
    }
    const guint *tag = (const guint *) tags->data;
    gboolean one_pass_form = tags->len == 3 && tag[0] == TAG_ONE_PASS && tag[1] == TAG_LITERAL;
    gboolean old_form = tags->len == 2 && tag[0] == TAG_SIGNATURE;
    return one_pass_form || old_form ? TRUE : malformed(error, "the packets of the message are in a wrong order");
}

static gboolean looks_armoured(GBytes *blob, GError **error)
{
    g_autofree char *head = g_strndup(g_bytes_get_data(blob, NULL), MIN(g_bytes_get_size(blob), 1024));
    const char *armour = strstr(head, "-----BEGIN PGP ");
    if (!armour)
        return FALSE;
    if (g_str_has_prefix(armour, "-----BEGIN PGP SIGNED MESSAGE")) {
        g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE,
            "cleartext-signature: the cleartext framework leaves open what was signed\nSign with gpg --sign, not "
            "--clearsign.");
        return TRUE;
    }
    malformed(error, "ASCII armour\nSign without --armor: the format is binary.");
    return TRUE;
}

GBytes *gp_openpgp_message_check(GBytes *blob, GError **error)
{
    Reader reader = {g_bytes_get_data(blob, NULL), g_bytes_get_size(blob), 0};
    if (reader.size == 0)
        return malformed(error, "it is empty"), NULL;
    if (reader.size > GP_LIMIT_SIGNATURE)
        return malformed(error, "it has too many bytes"), NULL;
    if (!(reader.data[0] & 0x80)) {
        if (!looks_armoured(blob, error))
            malformed(error, "it is no binary OpenPGP message");
        return NULL;
    }

    Packet packet;
    if (!next_packet(&reader, &packet, error))
        return NULL;
    g_autoptr(GBytes) message = NULL;
    if (packet.tag == TAG_COMPRESSED) {
        if (reader.offset != reader.size)
            return malformed(error, "bytes behind the compressed message"), NULL;
        message = inflate_packet(&packet, error);
        if (!message)
            return NULL;
        reader = (Reader){g_bytes_get_data(message, NULL), g_bytes_get_size(message), 0};
    } else {
        message = g_bytes_ref(blob);
        reader.offset = 0;
    }

    g_autoptr(GArray) tags = g_array_new(FALSE, FALSE, sizeof(guint));
    while (reader.offset < reader.size) {
        if (!next_packet(&reader, &packet, error))
            return NULL;
        if (packet.open_ended)
            return malformed(error, "an OpenPGP packet without a length"), NULL;
        /* More packets than any message that we accept: no need to count a million of them. */
        if (tags->len >= 16)
            return malformed(error, "too many OpenPGP packets"), NULL;
        g_array_append_val(tags, packet.tag);
    }
    return check_sequence(tags, error) ? g_steal_pointer(&message) : NULL;
}
