#include "storage/luks2_header.h"

#include "base/base64.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/json.h"

#define BINARY_SIZE 4096
#define JSON_SIZE (GP_LUKS2_METADATA_SIZE - BINARY_SIZE)
#define KEYSLOT_OFFSET (2 * GP_LUKS2_METADATA_SIZE)
#define KEYSLOT_CIPHER "aes-xts-plain64"
#define STRIPES 4000 /* of the anti-forensic splitter: the format knows no other number */
#define HASH_SIZE 32 /* sha256, as digest and as salt */
#define UUID_LENGTH 36

/* The binary header, of which all numbers are big-endian. */
enum {
    MAGIC = 0,
    VERSION = 6,
    HEADER_SIZE = 8,
    SEQUENCE = 16,
    LABEL = 24,
    CHECKSUM_NAME = 72,
    SALT = 104,
    UUID = 168,
    SUBSYSTEM = 208,
    OFFSET = 256,
    PADDING = 264,
    CHECKSUM = 448,
    CHECKSUM_END = 512,
};
static const guint8 magics[2][6] = {{'L', 'U', 'K', 'S', 0xba, 0xbe}, {'S', 'K', 'U', 'L', 0xba, 0xbe}};

/* All that differs between two headers of ours. */
typedef struct {
    guint64 sequence;
    char uuid[UUID_LENGTH + 1];
    const char *kdf; /* "argon2id" or "pbkdf2" */
    json_int_t time, memory, cpus, iterations, digest_iterations;
    const char *kdf_salt, *digest_salt, *digest; /* base64; they live as long as the JSON document */
} Values;

static const GpVolumeCipher ciphers[] = {
    [GP_VOLUME_AES_GCM] = {"aes", "gcm-random", "aead", 32},
    [GP_VOLUME_XTS_HMAC] = {"aes", "xts-plain64", "hmac(sha256)", 64 + 32},
    [GP_VOLUME_NO_INTEGRITY] = {"aes", "xts-plain64", NULL, 64},
};

const GpVolumeCipher *gp_volume_cipher(GpVolumeIntegrity integrity)
{
    return &ciphers[integrity];
}

static gboolean refuse(GError **error, const char *place, const char *wanted)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "volume header: %s: must be %s", place, wanted);
    return FALSE;
}

static gboolean all_zero(const guint8 *bytes, gsize length)
{
    while (length > 0 && bytes[length - 1] == 0)
        length--;
    return length == 0;
}

gboolean gp_luks2_is_blank(GBytes *area)
{
    return g_bytes_get_size(area) >= BINARY_SIZE && all_zero(g_bytes_get_data(area, NULL), BINARY_SIZE);
}

/* ---- the binary part */

static guint64 get_be(const guint8 *header, int at, gsize size)
{
    guint64 value = 0;
    for (gsize i = 0; i < size; i++)
        value = value << 8 | header[(gsize) at + i];
    return value;
}

static void put_be(guint8 *header, int at, gsize size, guint64 value)
{
    for (gsize i = 0; i < size; i++)
        header[(gsize) at + i] = (guint8) (value >> 8 * (size - 1 - i));
}

/* Over the whole copy, with zeros where the checksum itself stands. */
static void compute_checksum(const guint8 *header, guint8 *checksum)
{
    g_autofree guint8 *copy = g_memdup2(header, GP_LUKS2_METADATA_SIZE);
    memset(copy + CHECKSUM, 0, CHECKSUM_END - CHECKSUM);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, copy, GP_LUKS2_METADATA_SIZE, &digest);
    memset(checksum, 0, CHECKSUM_END - CHECKSUM);
    memcpy(checksum, digest.bytes, HASH_SIZE);
}

static gboolean is_text(const guint8 *header, int at, gsize size, const char *wanted)
{
    gsize length = strlen(wanted);
    return memcmp(header + at, wanted, length) == 0 && all_zero(header + at + length, size - length);
}

static gboolean is_uuid(const char *text)
{
    for (int i = 0; i < UUID_LENGTH; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : !g_ascii_isxdigit(text[i]))
            return FALSE;
    return text[UUID_LENGTH] == '\0';
}

/* Copy @index of the two. */
static gboolean check_binary(const guint8 *header, guint index, Values *values, GError **error)
{
    guint8 checksum[CHECKSUM_END - CHECKSUM];
    if (memcmp(header + MAGIC, magics[index], sizeof magics[index]) != 0)
        return refuse(error, "magic", "that of LUKS2");
    if (get_be(header, VERSION, 2) != 2)
        return refuse(error, "version", "2");
    if (get_be(header, HEADER_SIZE, 8) != GP_LUKS2_METADATA_SIZE)
        return refuse(error, "header size", "16384");
    if (get_be(header, OFFSET, 8) != index * GP_LUKS2_METADATA_SIZE)
        return refuse(error, "offset", "the place of this copy");
    if (!is_text(header, CHECKSUM_NAME, SALT - CHECKSUM_NAME, "sha256"))
        return refuse(error, "checksum algorithm", "sha256");
    compute_checksum(header, checksum);
    if (memcmp(checksum, header + CHECKSUM, sizeof checksum) != 0)
        return refuse(error, "checksum", "that of the header");
    if (!is_text(header, LABEL, CHECKSUM_NAME - LABEL, GP_VOLUME_NAME) ||
        !all_zero(header + SUBSYSTEM, OFFSET - SUBSYSTEM))
        return refuse(error, "label and subsystem", "\"" GP_VOLUME_NAME "\" and empty");
    if (!all_zero(header + PADDING, CHECKSUM - PADDING) || !all_zero(header + CHECKSUM_END, BINARY_SIZE - CHECKSUM_END))
        return refuse(error, "padding", "zeros");
    memcpy(values->uuid, header + UUID, sizeof values->uuid);
    if (!is_uuid(values->uuid) || !all_zero(header + UUID + UUID_LENGTH, SUBSYSTEM - UUID - UUID_LENGTH))
        return refuse(error, "uuid", "a UUID");
    values->sequence = get_be(header, SEQUENCE, 8);
    return TRUE;
}

static gboolean check_copies(const guint8 *area, Values *values, GError **error)
{
    const guint8 *second = area + GP_LUKS2_METADATA_SIZE;
    Values other;
    if (!check_binary(area, 0, values, error))
        return FALSE;
    if (!check_binary(second, 1, &other, error)) {
        g_prefix_error(error, "second copy: ");
        return FALSE;
    }
    if (other.sequence != values->sequence || strcmp(other.uuid, values->uuid) != 0 ||
        memcmp(area + BINARY_SIZE, second + BINARY_SIZE, JSON_SIZE) != 0)
        return refuse(error, "second copy", "the same as the first");
    return TRUE;
}

/* ---- the JSON part: values that may not differ */

static gboolean is_string(json_t *value, const char *path, const char *wanted, GError **error)
{
    const char *text = json_string_value(value);
    if (g_strcmp0(text, wanted) == 0)
        return TRUE;
    g_autofree char *shown = gp_escape(text ? text : "", -1, 100);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "volume header: %s: is \"%s\", must be \"%s\"", path, shown, wanted);
    return FALSE;
}

static gboolean is_number(json_t *value, const char *path, json_int_t wanted, GError **error)
{
    if (json_integer_value(value) == wanted)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "volume header: %s: is %" JSON_INTEGER_FORMAT ", must be %" JSON_INTEGER_FORMAT, path,
        json_integer_value(value), wanted);
    return FALSE;
}

/* Sizes and offsets are strings, since JSON's numbers are no 64-bit integers everywhere. */
static gboolean is_size(json_t *value, const char *path, guint64 wanted, GError **error)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, wanted);
    return is_string(value, path, text, error);
}

static gboolean is_within(
    json_t *value, const char *path, json_int_t min, json_int_t max, json_int_t *out, GError **error)
{
    *out = json_integer_value(value);
    if (*out >= min && *out <= max)
        return TRUE;
    g_set_error(error, GP_ERROR, *out > max ? GP_ERROR_LIMIT : GP_ERROR_INVALID,
        "volume header: %s: is %" JSON_INTEGER_FORMAT ", must be from %" JSON_INTEGER_FORMAT
        " to %" JSON_INTEGER_FORMAT,
        path, *out, min, max);
    return FALSE;
}

/* Base64 of HASH_SIZE bytes. */
static gboolean is_hash(json_t *value, const char *path, const char **out, GError **error)
{
    *out = json_string_value(value);
    gsize length = 0;
    g_autofree guint8 *bytes = gp_base64_decode_exact(*out, &length);
    return (bytes && length == HASH_SIZE) || refuse(error, path, "32 bytes in base64");
}

/* The only member of @object, which must be named "0". */
static json_t *only_member(json_t *object, const char *path, GError **error)
{
    json_t *member = json_object_get(object, "0");
    if (json_object_size(object) == 1 && json_is_object(member))
        return member;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "volume header: %s: has %" G_GSIZE_FORMAT " members, must have \"0\" alone", path, json_object_size(object));
    return NULL;
}

/* ["0"] */
static gboolean is_list_of_zero(json_t *list, const char *path, GError **error)
{
    return (json_array_size(list) == 1 && g_strcmp0(json_string_value(json_array_get(list, 0)), "0") == 0) ||
           refuse(error, path, "[\"0\"]");
}

/* gp_json_fields(), strict, its error that of this document. */
static gboolean read_fields(json_t *object, const char *path, const GpJsonField *fields, GError **error)
{
    if (gp_json_fields(object, path, fields, TRUE, error))
        return TRUE;
    g_prefix_error(error, "volume header: ");
    return FALSE;
}

/* ---- keyslot */

static gboolean check_argon2(json_t *kdf, Values *values, GError **error)
{
    json_t *type, *time, *memory, *cpus, *salt;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"time", GP_JSON_INTEGER, GP_JSON_MANDATORY, &time},
        {"memory", GP_JSON_INTEGER, GP_JSON_MANDATORY, &memory},
        {"cpus", GP_JSON_INTEGER, GP_JSON_MANDATORY, &cpus},
        {"salt", GP_JSON_STRING, GP_JSON_MANDATORY, &salt},
        {NULL},
    };
    return read_fields(kdf, "$.keyslots.0.kdf", fields, error) &&
           is_within(time, "$.keyslots.0.kdf.time", 1, GP_LIMIT_KDF_TIME, &values->time, error) &&
           is_within(memory, "$.keyslots.0.kdf.memory", 8, GP_LIMIT_KDF_MEMORY / GP_KIB, &values->memory, error) &&
           is_within(cpus, "$.keyslots.0.kdf.cpus", 1, GP_LIMIT_KDF_THREADS, &values->cpus, error) &&
           is_hash(salt, "$.keyslots.0.kdf.salt", &values->kdf_salt, error);
}

static gboolean check_pbkdf2(json_t *kdf, Values *values, GError **error)
{
    json_t *type, *hash, *iterations, *salt;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"hash", GP_JSON_STRING, GP_JSON_MANDATORY, &hash},
        {"iterations", GP_JSON_INTEGER, GP_JSON_MANDATORY, &iterations},
        {"salt", GP_JSON_STRING, GP_JSON_MANDATORY, &salt},
        {NULL},
    };
    return read_fields(kdf, "$.keyslots.0.kdf", fields, error) &&
           is_string(hash, "$.keyslots.0.kdf.hash", "sha256", error) &&
           is_within(
               iterations, "$.keyslots.0.kdf.iterations", 1000, GP_LIMIT_KDF_ITERATIONS, &values->iterations, error) &&
           is_hash(salt, "$.keyslots.0.kdf.salt", &values->kdf_salt, error);
}

static gboolean check_kdf(json_t *kdf, Values *values, GError **error)
{
    const char *type = json_string_value(json_object_get(kdf, "type"));
    if (g_strcmp0(type, "argon2id") == 0) {
        values->kdf = "argon2id";
        return check_argon2(kdf, values, error);
    }
    values->kdf = "pbkdf2";
    return g_strcmp0(type, "pbkdf2") == 0 ? check_pbkdf2(kdf, values, error)
                                          : refuse(error, "$.keyslots.0.kdf.type", "argon2id or pbkdf2");
}

static gboolean check_splitter(json_t *af, GError **error)
{
    json_t *type, *stripes, *hash;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"stripes", GP_JSON_INTEGER, GP_JSON_MANDATORY, &stripes},
        {"hash", GP_JSON_STRING, GP_JSON_MANDATORY, &hash},
        {NULL},
    };
    return read_fields(af, "$.keyslots.0.af", fields, error) &&
           is_string(type, "$.keyslots.0.af.type", "luks1", error) &&
           is_number(stripes, "$.keyslots.0.af.stripes", STRIPES, error) &&
           is_string(hash, "$.keyslots.0.af.hash", "sha256", error);
}

/* What the splitter makes of the key, in whole blocks. */
static guint64 keyslot_size(const GpVolumeCipher *cipher)
{
    return (cipher->key_size * STRIPES + 4095) / 4096 * 4096;
}

static gboolean check_area(json_t *area, const GpVolumeCipher *cipher, GError **error)
{
    json_t *type, *offset, *size, *encryption, *key_size;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"offset", GP_JSON_STRING, GP_JSON_MANDATORY, &offset},
        {"size", GP_JSON_STRING, GP_JSON_MANDATORY, &size},
        {"encryption", GP_JSON_STRING, GP_JSON_MANDATORY, &encryption},
        {"key_size", GP_JSON_INTEGER, GP_JSON_MANDATORY, &key_size},
        {NULL},
    };
    return read_fields(area, "$.keyslots.0.area", fields, error) &&
           is_string(type, "$.keyslots.0.area.type", "raw", error) &&
           is_size(offset, "$.keyslots.0.area.offset", KEYSLOT_OFFSET, error) &&
           is_size(size, "$.keyslots.0.area.size", keyslot_size(cipher), error) &&
           is_string(encryption, "$.keyslots.0.area.encryption", KEYSLOT_CIPHER, error) &&
           is_number(key_size, "$.keyslots.0.area.key_size", 64, error);
}

static gboolean check_keyslots(json_t *keyslots, const GpVolumeCipher *cipher, Values *values, GError **error)
{
    json_t *keyslot = only_member(keyslots, "$.keyslots", error);
    json_t *type, *key_size, *af, *area, *kdf;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"key_size", GP_JSON_INTEGER, GP_JSON_MANDATORY, &key_size},
        {"af", GP_JSON_OBJECT, GP_JSON_MANDATORY, &af},
        {"area", GP_JSON_OBJECT, GP_JSON_MANDATORY, &area},
        {"kdf", GP_JSON_OBJECT, GP_JSON_MANDATORY, &kdf},
        {NULL},
    };
    return keyslot && is_string(json_object_get(keyslot, "type"), "$.keyslots.0.type", "luks2", error) &&
           read_fields(keyslot, "$.keyslots.0", fields, error) &&
           is_number(key_size, "$.keyslots.0.key_size", (json_int_t) cipher->key_size, error) &&
           check_splitter(af, error) && check_area(area, cipher, error) && check_kdf(kdf, values, error);
}

/* ---- segment, digest, configuration */

static gboolean check_integrity(json_t *integrity, const GpVolumeCipher *cipher, GError **error)
{
    json_t *type, *encryption, *journal;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"journal_encryption", GP_JSON_STRING, GP_JSON_MANDATORY, &encryption},
        {"journal_integrity", GP_JSON_STRING, GP_JSON_MANDATORY, &journal},
        {NULL},
    };
    if (!cipher->integrity || !integrity)
        return cipher->integrity == NULL && integrity == NULL
                   ? TRUE
                   : refuse(error, "$.segments.0.integrity", integrity ? "absent" : "there");
    return read_fields(integrity, "$.segments.0.integrity", fields, error) &&
           is_string(type, "$.segments.0.integrity.type", cipher->integrity, error) &&
           is_string(encryption, "$.segments.0.integrity.journal_encryption", "none", error) &&
           is_string(journal, "$.segments.0.integrity.journal_integrity", "none", error);
}

static gboolean check_segments(json_t *segments, const GpVolumeCipher *cipher, GError **error)
{
    json_t *segment = only_member(segments, "$.segments", error);
    json_t *type, *offset, *size, *tweak, *encryption, *sector_size, *integrity;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"offset", GP_JSON_STRING, GP_JSON_MANDATORY, &offset},
        {"size", GP_JSON_STRING, GP_JSON_MANDATORY, &size},
        {"iv_tweak", GP_JSON_STRING, GP_JSON_MANDATORY, &tweak},
        {"encryption", GP_JSON_STRING, GP_JSON_MANDATORY, &encryption},
        {"sector_size", GP_JSON_INTEGER, GP_JSON_MANDATORY, &sector_size},
        {"integrity", GP_JSON_OBJECT, GP_JSON_OPTIONAL, &integrity},
        {NULL},
    };
    g_autofree char *wanted = g_strdup_printf("%s-%s", cipher->cipher, cipher->mode);
    return segment && is_string(json_object_get(segment, "type"), "$.segments.0.type", "crypt", error) &&
           read_fields(segment, "$.segments.0", fields, error) &&
           is_size(offset, "$.segments.0.offset", GP_LUKS2_DATA_OFFSET, error) &&
           is_string(size, "$.segments.0.size", "dynamic", error) &&
           is_string(tweak, "$.segments.0.iv_tweak", "0", error) &&
           is_string(encryption, "$.segments.0.encryption", wanted, error) &&
           is_number(sector_size, "$.segments.0.sector_size", GP_LUKS2_SECTOR_SIZE, error) &&
           check_integrity(integrity, cipher, error);
}

static gboolean check_digests(json_t *digests, Values *values, GError **error)
{
    json_t *digest = only_member(digests, "$.digests", error);
    json_t *type, *keyslots, *segments, *hash, *iterations, *salt, *value;
    const GpJsonField fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"keyslots", GP_JSON_ARRAY, GP_JSON_MANDATORY, &keyslots},
        {"segments", GP_JSON_ARRAY, GP_JSON_MANDATORY, &segments},
        {"hash", GP_JSON_STRING, GP_JSON_MANDATORY, &hash},
        {"iterations", GP_JSON_INTEGER, GP_JSON_MANDATORY, &iterations},
        {"salt", GP_JSON_STRING, GP_JSON_MANDATORY, &salt},
        {"digest", GP_JSON_STRING, GP_JSON_MANDATORY, &value},
        {NULL},
    };
    return digest && read_fields(digest, "$.digests.0", fields, error) &&
           is_string(type, "$.digests.0.type", "pbkdf2", error) &&
           is_list_of_zero(keyslots, "$.digests.0.keyslots", error) &&
           is_list_of_zero(segments, "$.digests.0.segments", error) &&
           is_string(hash, "$.digests.0.hash", "sha256", error) &&
           is_within(iterations, "$.digests.0.iterations", 1000, GP_LIMIT_KDF_ITERATIONS, &values->digest_iterations,
               error) &&
           is_hash(salt, "$.digests.0.salt", &values->digest_salt, error) &&
           is_hash(value, "$.digests.0.digest", &values->digest, error);
}

static gboolean check_config(json_t *config, GError **error)
{
    json_t *json_size, *keyslots_size, *flags, *requirements;
    const GpJsonField fields[] = {
        {"json_size", GP_JSON_STRING, GP_JSON_MANDATORY, &json_size},
        {"keyslots_size", GP_JSON_STRING, GP_JSON_MANDATORY, &keyslots_size},
        {"flags", GP_JSON_ANY, GP_JSON_OPTIONAL, &flags},
        {"requirements", GP_JSON_ANY, GP_JSON_OPTIONAL, &requirements},
        {NULL},
    };
    if (!read_fields(config, "$.config", fields, error))
        return FALSE;
    if (requirements)
        return refuse(error, "$.config.requirements", "absent: reencryption and the like are not done here");
    if (flags)
        return refuse(error, "$.config.flags", "absent: how the volume is activated is not the header's to say");
    return is_size(json_size, "$.config.json_size", JSON_SIZE, error) &&
           is_size(keyslots_size, "$.config.keyslots_size", GP_LUKS2_KEYSLOTS_SIZE, error);
}

static gboolean check_document(json_t *document, const GpVolumeCipher *cipher, Values *values, GError **error)
{
    json_t *keyslots, *tokens, *segments, *digests, *config;
    const GpJsonField fields[] = {
        {"keyslots", GP_JSON_OBJECT, GP_JSON_MANDATORY, &keyslots},
        {"tokens", GP_JSON_OBJECT, GP_JSON_MANDATORY, &tokens},
        {"segments", GP_JSON_OBJECT, GP_JSON_MANDATORY, &segments},
        {"digests", GP_JSON_OBJECT, GP_JSON_MANDATORY, &digests},
        {"config", GP_JSON_OBJECT, GP_JSON_MANDATORY, &config},
        {NULL},
    };
    if (!read_fields(document, "$", fields, error))
        return FALSE;
    if (json_object_size(tokens) > 0)
        return refuse(error, "$.tokens", "empty: keys come from the KBS alone");
    return check_config(config, error) && check_segments(segments, cipher, error) &&
           check_keyslots(keyslots, cipher, values, error) && check_digests(digests, values, error);
}

/* The JSON of a copy: text, then zeros. New reference. */
static json_t *read_json(const guint8 *header, GError **error)
{
    const char *text = (const char *) header + BINARY_SIZE;
    gsize length = strnlen(text, JSON_SIZE);
    if (!all_zero((const guint8 *) text + length, JSON_SIZE - length)) {
        (void) refuse(error, "what follows the JSON", "zeros");
        return NULL;
    }
    json_t *document = gp_json_parse(text, length, JSON_SIZE, "volume header", error);
    if (json_is_object(document))
        return document;
    if (document) {
        json_decref(document);
        (void) refuse(error, "$", "an object");
    }
    return NULL;
}

/* ---- the header that we write from the values */

static json_t *make_kdf(const Values *values)
{
    if (g_str_equal(values->kdf, "argon2id"))
        return json_pack("{s:s, s:I, s:I, s:I, s:s}", "type", values->kdf, "time", values->time, "memory",
            values->memory, "cpus", values->cpus, "salt", values->kdf_salt);
    return json_pack("{s:s, s:s, s:I, s:s}", "type", values->kdf, "hash", "sha256", "iterations", values->iterations,
        "salt", values->kdf_salt);
}

static json_t *make_keyslot(const GpVolumeCipher *cipher, const Values *values)
{
    g_autofree char *offset = g_strdup_printf("%" G_GUINT64_FORMAT, KEYSLOT_OFFSET);
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, keyslot_size(cipher));
    json_t *af = json_pack("{s:s, s:i, s:s}", "type", "luks1", "stripes", STRIPES, "hash", "sha256");
    json_t *area = json_pack("{s:s, s:s, s:s, s:s, s:i}", "type", "raw", "offset", offset, "size", size, "encryption",
        KEYSLOT_CIPHER, "key_size", 64);
    return json_pack("{s:s, s:I, s:o, s:o, s:o}", "type", "luks2", "key_size", (json_int_t) cipher->key_size, "af", af,
        "area", area, "kdf", make_kdf(values));
}

static json_t *make_segment(const GpVolumeCipher *cipher)
{
    g_autofree char *offset = g_strdup_printf("%" G_GUINT64_FORMAT, GP_LUKS2_DATA_OFFSET);
    g_autofree char *encryption = g_strdup_printf("%s-%s", cipher->cipher, cipher->mode);
    json_t *segment = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "type", "crypt", "offset", offset, "size", "dynamic",
        "iv_tweak", "0", "encryption", encryption, "sector_size", GP_LUKS2_SECTOR_SIZE);
    if (cipher->integrity)
        json_object_set_new(segment, "integrity",
            json_pack("{s:s, s:s, s:s}", "type", cipher->integrity, "journal_encryption", "none", "journal_integrity",
                "none"));
    return segment;
}

static json_t *make_document(const GpVolumeCipher *cipher, const Values *values)
{
    g_autofree char *json_size = g_strdup_printf("%" G_GUINT64_FORMAT, JSON_SIZE);
    g_autofree char *keyslots_size = g_strdup_printf("%" G_GUINT64_FORMAT, GP_LUKS2_KEYSLOTS_SIZE);
    json_t *digest =
        json_pack("{s:s, s:[s], s:[s], s:s, s:I, s:s, s:s}", "type", "pbkdf2", "keyslots", "0", "segments", "0", "hash",
            "sha256", "iterations", values->digest_iterations, "salt", values->digest_salt, "digest", values->digest);
    return json_pack("{s:{s:o}, s:{}, s:{s:o}, s:{s:o}, s:{s:s, s:s}}", "keyslots", "0", make_keyslot(cipher, values),
        "tokens", "segments", "0", make_segment(cipher), "digests", "0", digest, "config", "json_size", json_size,
        "keyslots_size", keyslots_size);
}

/* The salt of a copy counts for its checksum alone: any will do. */
static void write_copy(guint8 *header, guint index, const Values *values, const char *json)
{
    memcpy(header + MAGIC, magics[index], sizeof magics[index]);
    put_be(header, VERSION, 2, 2);
    put_be(header, HEADER_SIZE, 8, GP_LUKS2_METADATA_SIZE);
    put_be(header, SEQUENCE, 8, values->sequence);
    g_strlcpy((char *) header + LABEL, GP_VOLUME_NAME, CHECKSUM_NAME - LABEL);
    g_strlcpy((char *) header + CHECKSUM_NAME, "sha256", SALT - CHECKSUM_NAME);
    g_strlcpy((char *) header + UUID, values->uuid, SUBSYSTEM - UUID);
    put_be(header, OFFSET, 8, index * GP_LUKS2_METADATA_SIZE);
    g_strlcpy((char *) header + BINARY_SIZE, json, JSON_SIZE);
    compute_checksum(header, header + CHECKSUM);
}

GBytes *gp_luks2_accept(GBytes *area, GpVolumeIntegrity integrity, GError **error)
{
    gsize size;
    const guint8 *bytes = g_bytes_get_data(area, &size);
    const GpVolumeCipher *cipher = gp_volume_cipher(integrity);
    Values values = {0};
    if (size != GP_LUKS2_DATA_OFFSET) {
        (void) refuse(error, "size", "1 MiB");
        return NULL;
    }
    if (!check_copies(bytes, &values, error))
        return NULL;
    g_autoptr(json_t) document = read_json(bytes, error);
    if (!document || !check_document(document, cipher, &values, error))
        return NULL;
    g_autoptr(json_t) again = make_document(cipher, &values);
    g_autofree char *json = gp_json_to_text(again, FALSE);
    guint8 *copy = g_malloc0(GP_LUKS2_DATA_OFFSET);
    write_copy(copy, 0, &values, json);
    write_copy(copy + GP_LUKS2_METADATA_SIZE, 1, &values, json);
    memcpy(copy + KEYSLOT_OFFSET, bytes + KEYSLOT_OFFSET, keyslot_size(cipher));
    return g_bytes_new_take(copy, GP_LUKS2_DATA_OFFSET);
}
