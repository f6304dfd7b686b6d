#include "base/digest.h"
#include "base/error.h"
#include "storage/luks2_header.h"

#define COPY GP_LUKS2_METADATA_SIZE

/* As libcryptsetup 2.6.1 wrote it in a guest. */
#define KEYSLOT                                                                                                        \
    "\"type\":\"luks2\",\"key_size\":32,\"af\":{\"type\":\"luks1\",\"stripes\":4000,\"hash\":\"sha256\"},"             \
    "\"area\":{\"type\":\"raw\",\"offset\":\"32768\",\"size\":\"131072\",\"encryption\":\"aes-xts-plain64\","          \
    "\"key_size\":64},\"kdf\":{\"type\":\"argon2id\",\"time\":4,\"memory\":65536,\"cpus\":1,"                          \
    "\"salt\":\"YFkOVQpN0tLzCEZYp5KQhpC+5u7Gula9DySrv2gjDJQ=\"}"
#define SEGMENT                                                                                                        \
    "\"type\":\"crypt\",\"offset\":\"1048576\",\"size\":\"dynamic\",\"iv_tweak\":\"0\","                               \
    "\"encryption\":\"aes-gcm-random\",\"sector_size\":4096,\"integrity\":{\"type\":\"aead\","                         \
    "\"journal_encryption\":\"none\",\"journal_integrity\":\"none\"}"
#define DIGEST                                                                                                         \
    "\"type\":\"pbkdf2\",\"keyslots\":[\"0\"],\"segments\":[\"0\"],\"hash\":\"sha256\",\"iterations\":1000,"           \
    "\"salt\":\"UZqAhKe4UYXWGNhkqU29bJ+w87BX3ifrQA9WDpKcub8=\","                                                       \
    "\"digest\":\"MTV25yzBKHxesRxJGx4qvZtBqw4A/+sa7T9IRBPmF/k=\""
static const char json[] =
    "{\"keyslots\":{\"0\":{" KEYSLOT "}},\"tokens\":{},\"segments\":{\"0\":{" SEGMENT "}},\"digests\":{\"0\":{" DIGEST
    "}},\"config\":{\"json_size\":\"12288\",\"keyslots_size\":\"1015808\"}}";

static void seal(guint8 *header)
{
    GpDigest digest;
    memset(header + 448, 0, 64);
    gp_digest_of(GP_DIGEST_SHA256, header, COPY, &digest);
    memcpy(header + 448, digest.bytes, 32);
}

static void make_copy(guint8 *header, guint index, const char *text, gsize length)
{
    static const char uuid[] = "d4d2d6eb-7c6d-450f-aebf-015a60629b3e";
    memcpy(header, index ? "SKUL\xba\xbe\0\2" : "LUKS\xba\xbe\0\2", 8);
    header[8 + 6] = 0x40;
    header[16 + 7] = 3;
    g_strlcpy((char *) header + 24, "guest-pull", 48);
    g_strlcpy((char *) header + 72, "sha256", 32);
    memset(header + 104, 0x5a + (int) index, 64);
    g_strlcpy((char *) header + 168, uuid, 40);
    header[256 + 6] = index ? 0x40 : 0;
    memcpy(header + 4096, text, MIN(length, COPY - 4096));
    seal(header);
}

/* The first mebibyte of a device; the keyslot's bytes are 0x77. */
static guint8 *make_area(const char *text, gsize length)
{
    guint8 *area = g_malloc0(GP_LUKS2_DATA_OFFSET);
    make_copy(area, 0, text, length);
    make_copy(area + COPY, 1, text, length);
    memset(area + 2 * COPY, 0x77, GP_LUKS2_KEYSLOTS_SIZE);
    return area;
}

static GBytes *accept(guint8 *area, GpVolumeIntegrity integrity, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new_take(area, GP_LUKS2_DATA_OFFSET);
    return gp_luks2_accept(bytes, integrity, error);
}

static void assert_refused(guint8 *area, GpVolumeIntegrity integrity, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) header = accept(area, integrity, &error);
    g_assert_null(header);
    g_assert_nonnull(error);
    if (!strstr(error->message, reason))
        g_error("expected \"%s\", got \"%s\"", reason, error->message);
    g_assert_error(error, GP_ERROR, (int) code);
}

/* ---- one thing wrong in the JSON */

static const struct {
    const char *name, *from, *to; /* the first occurrence of @from becomes @to */
    const char *reason;
    GpErrorCode code;
} changes[] = {
    {"null-cipher", "aes-gcm-random", "cipher_null-ecb", "$.segments.0.encryption: is \"cipher_null-ecb\", must be"},
    {"other-cipher", "aes-gcm-random", "aes-cbc-plain", "$.segments.0.encryption: is \"aes-cbc-plain\", must be"},
    {"keyslot-null-cipher", "aes-xts-plain64", "cipher_null-ecb",
        "$.keyslots.0.area.encryption: is \"cipher_null-ecb\""},
    {"shifted-segment", "\"offset\":\"1048576\"", "\"offset\":\"2097152\"",
        "$.segments.0.offset: is \"2097152\", must"},
    {"segment-in-the-header", "\"offset\":\"1048576\"", "\"offset\":\"0\"", "$.segments.0.offset: is \"0\", must be"},
    {"short-segment", "\"dynamic\"", "\"4096\"", "$.segments.0.size: is \"4096\", must be \"dynamic\""},
    {"linear-segment", "\"type\":\"crypt\"", "\"type\":\"linear\"", "$.segments.0.type: is \"linear\", must be"},
    {"tweak", "\"iv_tweak\":\"0\"", "\"iv_tweak\":\"8\"", "$.segments.0.iv_tweak: is \"8\", must be \"0\""},
    {"sector-size", "\"sector_size\":4096", "\"sector_size\":512", "$.segments.0.sector_size: is 512, must be 4096"},
    {"no-integrity",
        ",\"integrity\":{\"type\":\"aead\",\"journal_encryption\":\"none\",\"journal_integrity\":\"none\"}", "",
        "$.segments.0.integrity: must be there"},
    {"other-integrity", "\"aead\"", "\"none\"", "$.segments.0.integrity.type: is \"none\", must be \"aead\""},
    {"journal-encryption", "\"journal_encryption\":\"none\"", "\"journal_encryption\":\"x\"",
        "journal_encryption: is \"x\""},
    {"journal-integrity", "\"journal_integrity\":\"none\"", "\"journal_integrity\":\"x\"",
        "journal_integrity: is \"x\""},
    {"integrity-key", "\"journal_integrity\":\"none\"", "\"journal_integrity\":\"none\",\"key_size\":1", "key_size"},
    {"segment-flags", "\"sector_size\":4096", "\"sector_size\":4096,\"flags\":[\"backup-final\"]", "flags"},
    {"second-segment", "\"segments\":{", "\"segments\":{\"1\":{" SEGMENT "},", "$.segments: has 2 members"},
    {"no-segment", "\"segments\":{\"0\":{" SEGMENT "}}", "\"segments\":{}", "$.segments: has 0 members"},
    {"segment-number", "\"segments\":{\"0\"", "\"segments\":{\"1\"",
        "$.segments: has 1 members, must have \"0\" alone"},
    {"added-keyslot", "\"keyslots\":{", "\"keyslots\":{\"1\":{" KEYSLOT "},", "$.keyslots: has 2 members, must have"},
    {"reencryption-keyslot", "\"luks2\"", "\"reencrypt\"", "$.keyslots.0.type: is \"reencrypt\", must be \"luks2\""},
    {"keyslot-priority", "\"key_size\":32", "\"key_size\":32,\"priority\":2", "priority"},
    {"key-size", "\"key_size\":32", "\"key_size\":16", "$.keyslots.0.key_size: is 16, must be 32"},
    {"stripes", "4000", "1", "$.keyslots.0.af.stripes: is 1, must be 4000"},
    {"splitter", "\"luks1\"", "\"none\"", "$.keyslots.0.af.type: is \"none\""},
    {"splitter-hash", "\"hash\":\"sha256\"}", "\"hash\":\"md5\"}", "$.keyslots.0.af.hash: is \"md5\""},
    {"area-type", "\"raw\"", "\"checksum\"", "$.keyslots.0.area.type: is \"checksum\""},
    {"area-offset", "\"32768\"", "\"1048576\"", "$.keyslots.0.area.offset: is \"1048576\", must be \"32768\""},
    {"area-size", "\"131072\"", "\"9999999999\"", "$.keyslots.0.area.size: is \"9999999999\", must be \"131072\""},
    {"area-key-size", "\"key_size\":64", "\"key_size\":32", "$.keyslots.0.area.key_size: is 32, must be 64"},
    {"unknown-kdf", "\"argon2id\"", "\"scrypt\"", "$.keyslots.0.kdf.type: must be argon2id or pbkdf2"},
    {"kdf-memory", "\"memory\":65536", "\"memory\":4194304", "kdf.memory: is 4194304, must be from 8 to 262144",
        GP_ERROR_LIMIT},
    {"kdf-no-memory", "\"memory\":65536", "\"memory\":0", "$.keyslots.0.kdf.memory: is 0, must be from 8"},
    {"kdf-time", "\"time\":4", "\"time\":4000000", "$.keyslots.0.kdf.time: is 4000000, must be from 1", GP_ERROR_LIMIT},
    {"kdf-cpus", "\"cpus\":1", "\"cpus\":1000", "$.keyslots.0.kdf.cpus: is 1000, must be from 1 to 4", GP_ERROR_LIMIT},
    {"kdf-negative", "\"cpus\":1", "\"cpus\":-1", "$.keyslots.0.kdf.cpus: is -1, must be from 1 to 4"},
    {"kdf-salt", "YFkOVQpN0tLz", "YFkO", "$.keyslots.0.kdf.salt: must be 32 bytes in base64"},
    {"pbkdf2-iterations", "{\"type\":\"argon2id\",\"time\":4,\"memory\":65536,\"cpus\":1,",
        "{\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":2000000000,", "kdf.iterations: is 2000000000",
        GP_ERROR_LIMIT},
    {"pbkdf2-hash", "{\"type\":\"argon2id\",\"time\":4,\"memory\":65536,\"cpus\":1,",
        "{\"type\":\"pbkdf2\",\"hash\":\"sha1\",\"iterations\":1000,", "$.keyslots.0.kdf.hash: is \"sha1\""},
    {"token", "\"tokens\":{}", "\"tokens\":{\"0\":{\"type\":\"luks2-keyring\"}}", "$.tokens: must be empty"},
    {"no-tokens", "\"tokens\":{},", "", "tokens"},
    {"digest-type", "\"type\":\"pbkdf2\"", "\"type\":\"crc\"", "$.digests.0.type: is \"crc\""},
    {"digest-keyslots", "\"keyslots\":[\"0\"]", "\"keyslots\":[]", "$.digests.0.keyslots: must be [\"0\"]"},
    {"digest-segments", "\"segments\":[\"0\"]", "\"segments\":[\"0\",\"1\"]", "$.digests.0.segments: must be [\"0\"]"},
    {"digest-hash", "\"hash\":\"sha256\",\"iterations\"", "\"hash\":\"md5\",\"iterations\"",
        "$.digests.0.hash: is \"md5\""},
    {"digest-iterations", "\"iterations\":1000", "\"iterations\":99999999", "iterations: is 99999999", GP_ERROR_LIMIT},
    {"digest-salt", "UZqAhKe4", "????????", "$.digests.0.salt: must be 32 bytes in base64"},
    {"digest-value", "MTV25yzBKHxe", "", "$.digests.0.digest: must be 32 bytes in base64"},
    {"second-digest", "\"digests\":{", "\"digests\":{\"1\":{" DIGEST "},", "$.digests: has 2 members"},
    {"json-size", "\"12288\"", "\"4190208\"", "$.config.json_size: is \"4190208\", must be \"12288\""},
    {"keyslots-size", "\"1015808\"", "\"0\"", "$.config.keyslots_size: is \"0\", must be \"1015808\""},
    {"reencryption", "\"12288\"", "\"12288\",\"requirements\":{\"mandatory\":[\"online-reencrypt-v2\"]}",
        "$.config.requirements: must be absent"},
    {"flags", "\"12288\"", "\"12288\",\"flags\":[\"allow-discards\"]", "$.config.flags: must be absent"},
    {"unknown-member", "\"tokens\"", "\"new\":{},\"tokens\"", "new"},
    {"twice", "\"tokens\":{},", "\"tokens\":{},\"tokens\":{},", "duplicate"},
    {"type-of-a-value", "\"sector_size\":4096", "\"sector_size\":\"4096\"", "$.segments.0.sector_size"},
    {"garbage", "{\"keyslots\"", "\x7f\xfe{{{{", "volume header: "},
    {"array", json, "[]", "volume header: $: must be an object"},
    {"nothing", json, "", "volume header: "},
};

static char *change(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    g_assert_nonnull(at);
    return g_strdup_printf("%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
}

static void test_json(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autofree char *text = change(json, changes[i].from, changes[i].to);
    GpErrorCode code = changes[i].code ? changes[i].code : GP_ERROR_INVALID;
    assert_refused(make_area(text, strlen(text)), GP_VOLUME_AES_GCM, code, changes[i].reason);
}

/* As deep, and as long, as a copy can hold. */
static void test_json_sizes(void)
{
    char text[COPY - 4096];
    memset(text, '[', sizeof text);
    assert_refused(make_area(text, sizeof text), GP_VOLUME_AES_GCM, GP_ERROR_LIMIT, "volume header");
    memset(text, ' ', sizeof text);
    assert_refused(make_area(text, sizeof text), GP_VOLUME_AES_GCM, GP_ERROR_INVALID, "volume header");
    memset(text, 0, sizeof text);
    memcpy(text, json, sizeof json);
    text[sizeof text - 1] = '}';
    assert_refused(make_area(text, sizeof text), GP_VOLUME_AES_GCM, GP_ERROR_INVALID, "what follows the JSON");
}

/* ---- one thing wrong in the binary part, with a good checksum */

static const struct {
    const char *name;
    gsize at;
    guint8 value;
    const char *reason;
} bytes[] = {
    {"magic", 0, 'X', "magic"},
    {"version", 7, 1, "version: must be 2"},
    {"giant-header", 13, 1, "header size: must be 16384"},
    {"tiny-header", 14, 0x10, "header size: must be 16384"},
    {"label", 24, 'G', "label and subsystem"},
    {"label-tail", 70, 'x', "label and subsystem"},
    {"subsystem", 208, 'x', "label and subsystem"},
    {"checksum-algorithm", 72, 'x', "checksum algorithm: must be sha256"},
    {"longer-algorithm", 78, '-', "checksum algorithm: must be sha256"},
    {"uuid", 170, '/', "uuid: must be a UUID"},
    {"longer-uuid", 204, 'a', "uuid: must be a UUID"},
    {"uuid-tail", 207, 'a', "uuid: must be a UUID"},
    {"offset", 262, 0x20, "offset: must be the place"},
    {"padding", 300, 1, "padding: must be zeros"},
    {"late-padding", 4000, 1, "padding: must be zeros"},
    {"sequence", 23, 9, "second copy: must be the same"},
    {"other-json", 4200, ' ', "second copy: must be the same"},
};

static void test_binary(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    for (guint copy = 0; copy < 2; copy++) {
        guint8 *area = make_area(json, strlen(json));
        area[copy * COPY + bytes[i].at] = bytes[i].value;
        seal(area + copy * COPY);
        assert_refused(area, GP_VOLUME_AES_GCM, GP_ERROR_INVALID, bytes[i].reason);
    }
}

/* Any byte of either copy that is changed without the checksum is noticed. */
static void test_checksum(void)
{
    for (gsize at = 0; at < 2 * COPY; at += 61) {
        guint8 *area = make_area(json, strlen(json));
        g_autoptr(GError) error = NULL;
        area[at] ^= 1;
        g_autoptr(GBytes) header = accept(area, GP_VOLUME_AES_GCM, &error);
        g_assert_null(header);
        g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
    }
}

static void test_short(void)
{
    g_autoptr(GBytes) area = g_bytes_new_take(g_malloc0(COPY), COPY);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_luks2_accept(area, GP_VOLUME_AES_GCM, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "size: must be 1 MiB"));
}

static void test_integrity_as_configured(void)
{
    assert_refused(make_area(json, strlen(json)), GP_VOLUME_XTS_HMAC, GP_ERROR_INVALID, "$.segments.0.encryption");
    assert_refused(make_area(json, strlen(json)), GP_VOLUME_NO_INTEGRITY, GP_ERROR_INVALID, "$.segments.0.encryption");
    g_autofree char *xts = change(json, "aes-gcm-random", "aes-xts-plain64");
    assert_refused(make_area(xts, strlen(xts)), GP_VOLUME_NO_INTEGRITY, GP_ERROR_INVALID,
        "$.segments.0.integrity: must be absent");
}

/* ---- what is accepted */

/* It is written anew: what counted for nothing is gone, and it is accepted again. */
static void test_accepted(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) header = accept(make_area(json, strlen(json)), GP_VOLUME_AES_GCM, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) again = gp_luks2_accept(header, GP_VOLUME_AES_GCM, &error);
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(header, again));
    const guint8 *area = g_bytes_get_data(header, NULL);
    g_assert_cmpstr((const char *) area + 4096, ==, json);
    g_assert_cmpuint(area[104], ==, 0);
    g_assert_cmpuint(area[2 * COPY], ==, 0x77);
    g_assert_cmpuint(area[2 * COPY + 131072 - 1], ==, 0x77);
    g_assert_cmpuint(area[2 * COPY + 131072], ==, 0);
}

static void test_accepted_kinds(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *pbkdf2 = change(json, "{\"type\":\"argon2id\",\"time\":4,\"memory\":65536,\"cpus\":1,",
        "{\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1000,");
    g_autoptr(GBytes) first = accept(make_area(pbkdf2, strlen(pbkdf2)), GP_VOLUME_AES_GCM, &error);
    g_assert_no_error(error);
    g_autofree char *key = change(json, "\"key_size\":32", "\"key_size\":96");
    g_autofree char *size = change(key, "131072", "385024");
    g_autofree char *cipher = change(size, "aes-gcm-random", "aes-xts-plain64");
    g_autofree char *hmac = change(cipher, "\"aead\"", "\"hmac(sha256)\"");
    g_autoptr(GBytes) second = accept(make_area(hmac, strlen(hmac)), GP_VOLUME_XTS_HMAC, &error);
    g_assert_no_error(error);
}

static void test_blank(void)
{
    g_autofree guint8 *zeros = g_malloc0(GP_LUKS2_DATA_OFFSET);
    g_autoptr(GBytes) blank = g_bytes_new(zeros, GP_LUKS2_DATA_OFFSET);
    zeros[4095] = 1;
    g_autoptr(GBytes) used = g_bytes_new(zeros, GP_LUKS2_DATA_OFFSET);
    g_autoptr(GBytes) tiny = g_bytes_new(zeros, 4095);
    g_assert_true(gp_luks2_is_blank(blank));
    g_assert_false(gp_luks2_is_blank(used));
    g_assert_false(gp_luks2_is_blank(tiny));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autofree char *name = g_strdup_printf("/storage/luks2_header/json/%s", changes[i].name);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_json);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bytes); i++) {
        g_autofree char *name = g_strdup_printf("/storage/luks2_header/binary/%s", bytes[i].name);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_binary);
    }
    g_test_add_func("/storage/luks2_header/json/sizes", test_json_sizes);
    g_test_add_func("/storage/luks2_header/binary/checksum", test_checksum);
    g_test_add_func("/storage/luks2_header/binary/short", test_short);
    g_test_add_func("/storage/luks2_header/integrity-as-configured", test_integrity_as_configured);
    g_test_add_func("/storage/luks2_header/accepted", test_accepted);
    g_test_add_func("/storage/luks2_header/accepted-kinds", test_accepted_kinds);
    g_test_add_func("/storage/luks2_header/blank", test_blank);
    return g_test_run();
}
