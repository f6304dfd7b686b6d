/* The shape of an OpenPGP message, without GnuPG: packets put together by hand. */
#include "sigstore/openpgp_message.h"

#include <string.h>

#include <gio/gio.h>

#include "base/error.h"
#include "base/limits.h"

/* Packets with bodies that nobody looks into here: new format, old format, literal in parts. */
#define ONE_PASS "\xc4\x02xy"
#define LITERAL "\xcb\x03xyz"
#define SIGNATURE "\xc2\x02xy"
#define OLD_SIGNATURE "\x88\x02xy"
#define OLD_LITERAL_2 "\xad\x00\x01x"
#define OLD_LITERAL_4 "\xae\x00\x00\x00\x01x"
#define LITERAL_IN_PARTS "\xcb\xe1xy\xe0z\x01w"
#define LITERAL_LONG_LENGTH "\xcb\xff\x00\x00\x00\x01x"

typedef struct {
    const char *name;
    const char *bytes;
    gsize size;
    const char *reason; /* NULL: accepted */
} Row;

#define ROW(name, bytes, reason)                                                                                       \
    {                                                                                                                  \
        name, bytes, sizeof(bytes) - 1, reason                                                                         \
    }

static const Row rows[] = {
    ROW("one-pass", ONE_PASS LITERAL SIGNATURE, NULL),
    ROW("old-style", SIGNATURE LITERAL, NULL),
    ROW("old-format", OLD_SIGNATURE OLD_LITERAL_2, NULL),
    ROW("old-format-long", OLD_SIGNATURE OLD_LITERAL_4, NULL),
    ROW("parts", ONE_PASS LITERAL_IN_PARTS SIGNATURE, NULL),
    ROW("five-byte-length", ONE_PASS LITERAL_LONG_LENGTH SIGNATURE, NULL),

    ROW("empty", "", "signature-format: it is empty"),
    ROW("text", "hello", "signature-format: it is no binary OpenPGP message"),
    ROW("armour", "-----BEGIN PGP MESSAGE-----\n", "signature-format: ASCII armour"),
    ROW("armoured-signature", "Comment\n-----BEGIN PGP SIGNATURE-----\n", "signature-format: ASCII armour"),
    ROW("cleartext", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n", "cleartext-signature: "),
    ROW("cleartext-behind-blank", "\n\n-----BEGIN PGP SIGNED MESSAGE-----\n", "cleartext-signature: "),
    ROW("literal-alone", LITERAL, "signature-format: the message carries no signature"),
    ROW("one-pass-without-signature", ONE_PASS LITERAL, "signature-format: the message carries no signature"),
    ROW("detached", SIGNATURE, "signature-format: a detached signature"),
    ROW("detached-twice", SIGNATURE SIGNATURE, "signature-format: a detached signature"),
    ROW("two-one-pass", ONE_PASS ONE_PASS LITERAL SIGNATURE SIGNATURE, "several-signatures: the message carries 2 "),
    ROW("two-signatures", SIGNATURE SIGNATURE LITERAL, "several-signatures: "),
    ROW("signature-appended", ONE_PASS LITERAL SIGNATURE SIGNATURE, "several-signatures: "),
    ROW("signature-prepended", SIGNATURE ONE_PASS LITERAL SIGNATURE, "several-signatures: "),
    ROW("one-pass-extra", ONE_PASS ONE_PASS LITERAL SIGNATURE, "several-signatures: "),
    ROW("signature-before-and-after", SIGNATURE LITERAL SIGNATURE, "several-signatures: "),
    ROW("two-messages", ONE_PASS LITERAL SIGNATURE ONE_PASS LITERAL SIGNATURE, "signature-format: several messages"),
    ROW("literal-prepended", LITERAL ONE_PASS LITERAL SIGNATURE, "signature-format: several messages"),
    ROW("literal-appended", ONE_PASS LITERAL SIGNATURE LITERAL, "signature-format: several messages"),
    ROW("literal-first", LITERAL SIGNATURE, "signature-format: the packets of the message are in a wrong order"),
    ROW("one-pass-last", LITERAL SIGNATURE ONE_PASS,
        "signature-format: the packets of the message are in a wrong order"),
    ROW("one-pass-before-old-style", ONE_PASS SIGNATURE LITERAL,
        "signature-format: the packets of the message are in a wrong order"),
    ROW("marker", "\xca\x03PGP" ONE_PASS LITERAL SIGNATURE, "signature-format: an OpenPGP packet with tag 10 "),
    ROW("padding", ONE_PASS LITERAL SIGNATURE "\xd5\x01x", "signature-format: an OpenPGP packet with tag 21 "),
    ROW("public-key", "\xc6\x01x", "signature-format: an OpenPGP packet with tag 6 "),
    ROW("session-key", "\xc3\x01x\xd2\x01x", "signature-format: an OpenPGP packet with tag 3 "),
    ROW("tag-0", "\xc0\x01x", "signature-format: an OpenPGP packet with tag 0 "),
    ROW("private-tag", "\xff\x01x", "signature-format: an OpenPGP packet with tag 63 "),
    ROW("newline-behind", ONE_PASS LITERAL SIGNATURE "\n", "signature-format: bytes that are no OpenPGP packet"),
    ROW("truncated", ONE_PASS LITERAL "\xc2\x03xy", "signature-format: an OpenPGP packet with a bad length"),
    ROW("header-alone", "\xc2", "signature-format: an OpenPGP packet with a bad length"),
    ROW("half-length", "\xc2\xff\x00", "signature-format: an OpenPGP packet with a bad length"),
    ROW("half-two-byte-length", "\xc2\xc0", "signature-format: an OpenPGP packet with a bad length"),
    ROW("huge-length", "\xc2\xff\xff\xff\xff\xff", "signature-format: an OpenPGP packet with a bad length"),
    ROW("endless-parts", "\xcb\xe0x\xe0x", "signature-format: an OpenPGP packet with a bad length"),
    ROW("signature-in-parts", ONE_PASS LITERAL "\xc2\xe0x\x01y",
        "signature-format: an OpenPGP packet with a bad length"),
    ROW("open-ended-literal", SIGNATURE "\xafxyz", "signature-format: an OpenPGP packet without a length"),
    ROW("many-packets",
        ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS
            ONE_PASS ONE_PASS ONE_PASS ONE_PASS ONE_PASS,
        "signature-format: too many OpenPGP packets"),
    ROW("compressed-empty", "\xc8\x00", "signature-format: an empty compressed packet"),
    ROW("compressed-uncompressed", "\xc8\x01\x00", "signature-format: compression algorithm 0"),
    ROW("compressed-bzip2",
        "\xa3\x03"
        "BZh9",
        "signature-format: compression algorithm 3"),
    ROW("compressed-garbage", "\xa3\x01\xff\xff\xff", "signature-format: a broken compressed packet"),
    ROW("compressed-truncated", "\xa3\x01\x01\x05", "signature-format: a broken compressed packet"),
    ROW("compressed-in-parts", "\xc8\xe1\x01x\x00", "signature-format: an OpenPGP packet with a bad length"),
};

static void assert_verdict(GBytes *blob, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) message = gp_openpgp_message_check(blob, &error);
    if (!reason) {
        g_assert_no_error(error);
        g_assert_nonnull(message);
        return;
    }
    g_assert_null(message);
    g_assert_error(error, GP_ERROR, GP_ERROR_SIGNATURE);
    if (!g_str_has_prefix(error->message, reason))
        g_error("expected \"%s…\", got \"%s\"", reason, error->message);
}

static void test_row(gconstpointer data)
{
    const Row *row = data;
    /* An exact heap copy: a byte read too far is seen by the sanitizer. */
    g_autoptr(GBytes) blob = g_bytes_new(row->bytes, row->size);
    assert_verdict(blob, row->reason);
}

/* @inner in a compressed packet of the old format without a length, or of the new one with a length of five bytes. */
static GByteArray *compress(const void *inner, gsize size, GZlibCompressorFormat format, gboolean new_format)
{
    g_autoptr(GZlibCompressor) deflater = g_zlib_compressor_new(format, 9);
    g_autofree guint8 *buffer = g_malloc(size + 1024);
    gsize used, made;
    g_assert_cmpint(g_converter_convert(G_CONVERTER(deflater), inner, size, buffer, size + 1024,
                        G_CONVERTER_INPUT_AT_END, &used, &made, NULL),
        ==, G_CONVERTER_FINISHED);
    GByteArray *packet = g_byte_array_new();
    if (new_format) {
        guint32 length = GUINT32_TO_BE((guint32) made + 1);
        g_byte_array_append(packet, (const guint8 *) "\xc8\xff", 2);
        g_byte_array_append(packet, (const guint8 *) &length, 4);
    } else {
        g_byte_array_append(packet, (const guint8 *) "\xa3", 1);
    }
    g_byte_array_append(packet, (const guint8 *) (format == G_ZLIB_COMPRESSOR_FORMAT_RAW ? "\x01" : "\x02"), 1);
    g_byte_array_append(packet, buffer, (guint) made);
    return packet;
}

static void test_compressed(void)
{
    static const char inner[] = ONE_PASS LITERAL SIGNATURE;
    for (guint i = 0; i < 4; i++) {
        GZlibCompressorFormat format = i & 1 ? G_ZLIB_COMPRESSOR_FORMAT_RAW : G_ZLIB_COMPRESSOR_FORMAT_ZLIB;
        g_autoptr(GByteArray) packet = compress(inner, sizeof inner - 1, format, i & 2);
        g_autoptr(GBytes) blob = g_bytes_new(packet->data, packet->len);
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) message = gp_openpgp_message_check(blob, &error);
        g_assert_no_error(error);
        g_assert_cmpmem(g_bytes_get_data(message, NULL), g_bytes_get_size(message), inner, sizeof inner - 1);

        g_byte_array_append(packet, (const guint8 *) "\xcb\x01x", 3);
        g_autoptr(GBytes) longer = g_bytes_new(packet->data, packet->len);
        assert_verdict(longer, "signature-format: bytes behind the compressed message");
        g_autoptr(GBytes) shorter = g_bytes_new(packet->data, packet->len - 5);
        assert_verdict(shorter, "signature-format: ");
    }
}

static void test_nested(void)
{
    static const char inner[] = ONE_PASS LITERAL SIGNATURE;
    g_autoptr(GByteArray) once = compress(inner, sizeof inner - 1, G_ZLIB_COMPRESSOR_FORMAT_RAW, TRUE);
    g_autoptr(GByteArray) twice = compress(once->data, once->len, G_ZLIB_COMPRESSOR_FORMAT_RAW, TRUE);
    g_autoptr(GBytes) blob = g_bytes_new(twice->data, twice->len);
    assert_verdict(blob, "signature-format: an OpenPGP packet with tag 8 ");
    g_autoptr(GByteArray) nothing = compress("", 0, G_ZLIB_COMPRESSOR_FORMAT_ZLIB, TRUE);
    g_autoptr(GBytes) empty = g_bytes_new(nothing->data, nothing->len);
    assert_verdict(empty, "signature-format: the message carries no signature");
}

static void test_bomb(void)
{
    gsize size = 64 * GP_MIB;
    g_autofree guint8 *zeros = g_malloc0(size);
    g_autoptr(GByteArray) packet = compress(zeros, size, G_ZLIB_COMPRESSOR_FORMAT_RAW, FALSE);
    g_autoptr(GBytes) blob = g_bytes_new(packet->data, packet->len);
    assert_verdict(blob, "signature-format: the message decompresses to too many bytes");
}

/* No input may crash it; a fixed seed keeps a failure repeatable. */
static void test_mutations(void)
{
    static const char inner[] = ONE_PASS LITERAL_IN_PARTS SIGNATURE;
    g_autoptr(GByteArray) packet = compress(inner, sizeof inner - 1, G_ZLIB_COMPRESSOR_FORMAT_RAW, TRUE);
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    for (guint round = 0; round < 20000; round++) {
        gboolean bare = round & 1;
        const guint8 *from = bare ? (const guint8 *) inner : packet->data;
        gsize size = bare ? sizeof inner - 1 : packet->len;
        g_autofree guint8 *copy = g_memdup2(from, size);
        for (guint change = 0; change < 3; change++)
            copy[g_rand_int_range(random, 0, (gint) size)] = (guint8) g_rand_int(random);
        g_autoptr(GBytes) blob = g_bytes_new(copy, (gsize) g_rand_int_range(random, 0, (gint) size + 1));
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) message = gp_openpgp_message_check(blob, &error);
        g_assert_true((message != NULL) == (error == NULL));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path =
            g_strdup_printf("/sigstore/openpgp-message/%s/%s", rows[i].reason ? "refused" : "accepted", rows[i].name);
        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/sigstore/openpgp-message/compressed", test_compressed);
    g_test_add_func("/sigstore/openpgp-message/nested-compression-is-refused", test_nested);
    g_test_add_func("/sigstore/openpgp-message/bomb-is-refused", test_bomb);
    g_test_add_func("/sigstore/openpgp-message/mutations", test_mutations);
    return g_test_run();
}
