#include "storage/worker_pax.h"

#include <string.h>

#include "base/error.h"
#include "base/limits.h"

static gboolean base256(const guint8 *field, gsize size, gint64 *value)
{
    gboolean negative = (field[0] & 0x40) != 0;
    guint64 bits = negative ? G_MAXUINT64 : 0;
    for (gsize i = 0; i < size; i++) {
        guint8 byte = field[i];
        if (i == 0) /* the top bit is the mark, the next one the sign */
            byte = (guint8) ((byte & 0x7f) | (negative ? 0x80 : 0));
        /* Of a number that fits 64 bits, whatever is shifted out is only the sign again. */
        if (bits >> 56 != (negative ? 0xffU : 0U))
            return FALSE;
        bits = bits << 8 | byte;
    }
    if ((bits >> 63 != 0) != negative)
        return FALSE;
    memcpy(value, &bits, sizeof bits);
    return TRUE;
}

gboolean gp_unpack_number(const guint8 *field, gsize size, gint64 *value)
{
    if (field[0] & 0x80)
        return base256(field, size, value);
    gsize at = 0;
    gint64 number = 0;
    while (at < size && field[at] == ' ')
        at++;
    for (; at < size && field[at] >= '0' && field[at] <= '7'; at++) {
        if (number >> 60)
            return FALSE;
        number = number << 3 | (field[at] - '0');
    }
    while (at < size && (field[at] == ' ' || field[at] == '\0'))
        at++;
    *value = number;
    return at == size;
}

void gp_unpack_pax_clear(GpUnpackPax *pax)
{
    g_free(pax->path);
    g_free(pax->link_target);
    *pax = (GpUnpackPax){0};
}

/* One record; @value is not NUL-terminated. */
typedef struct {
    const char *key;
    gsize key_length;
    const guint8 *value;
    gsize length;
} Record;

static gboolean bad(const Record *record, GpErrorCode code, const char *why, GError **error)
{
    g_autofree char *key = gp_escape(record->key, (gssize) record->key_length, 64);
    g_autofree char *value = gp_escape((const char *) record->value, (gssize) MIN(record->length, 64), 64);
    g_set_error(error, GP_ERROR, (gint) code, "layer: tar: extended header: %s \"%s\" %s", key, value, why);
    return FALSE;
}

static gboolean is(const Record *record, const char *key)
{
    return record->key_length == strlen(key) && memcmp(record->key, key, record->key_length) == 0;
}

/* [-]digits, all of it. */
static gboolean decimal(const guint8 *text, gsize length, gint64 *value)
{
    gboolean negative = length > 0 && text[0] == '-';
    guint64 number = 0;
    if (length == (gsize) negative)
        return FALSE;
    for (gsize i = negative; i < length; i++) {
        if (!g_ascii_isdigit(text[i]) || number > (guint64) (G_MAXINT64 - 9) / 10)
            return FALSE;
        number = number * 10 + (text[i] - '0');
    }
    *value = negative ? -(gint64) number : (gint64) number;
    return TRUE;
}

static gboolean read_owner(const Record *record, gboolean *said, guint32 *owner, GError **error)
{
    gint64 value = 0;
    *said = record->length > 0;
    if (!*said)
        return TRUE;
    if (!decimal(record->value, record->length, &value))
        return bad(record, GP_ERROR_INVALID, "is not a number", error);
    if (value < 0 || value >= G_MAXUINT32)
        return bad(record, GP_ERROR_INVALID, "is an owner out of range", error);
    *owner = (guint32) value;
    return TRUE;
}

/* Without a value it should take itself back, but libarchive and others take it for 0. */
static gboolean read_size(const Record *record, GpUnpackPax *pax, GError **error)
{
    pax->has_size = TRUE;
    if (!decimal(record->value, record->length, &pax->size) || pax->size < 0)
        return bad(record, GP_ERROR_INVALID, "is not a size", error);
    return TRUE;
}

/* [-]seconds[.fraction]. Digits behind the ninth are dropped towards the past, as GNU tar does. */
static gboolean parse_time(const guint8 *text, gsize length, struct timespec *time)
{
    gboolean negative = length > 0 && text[0] == '-';
    const guint8 *dot = memchr(text, '.', length);
    gsize whole = dot ? (gsize) (dot - text) : length;
    gint64 seconds = 0;
    long nanoseconds = 0;
    gboolean more = FALSE;
    if (!decimal(text, whole, &seconds) || (dot && whole + 1 == length))
        return FALSE;
    for (gsize i = 0; dot && (i < 9 || whole + 1 + i < length); i++) {
        guint8 digit = whole + 1 + i < length ? dot[1 + i] : '0';
        if (!g_ascii_isdigit(digit))
            return FALSE;
        if (i < 9)
            nanoseconds = nanoseconds * 10 + (digit - '0');
        else
            more |= digit != '0';
    }
    if (negative && more)
        nanoseconds++;
    if (negative && nanoseconds > 0) {
        seconds--;
        nanoseconds = 1000000000 - nanoseconds;
    }
    *time = (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds};
    return TRUE;
}

static gboolean read_time(const Record *record, GpUnpackPax *pax, GError **error)
{
    pax->has_mtime = record->length > 0;
    if (pax->has_mtime && !parse_time(record->value, record->length, &pax->mtime))
        return bad(record, GP_ERROR_INVALID, "is not a time", error);
    return TRUE;
}

static gboolean read_text(const Record *record, char **text, GError **error)
{
    if (memchr(record->value, '\0', record->length))
        return bad(record, GP_ERROR_INVALID, "has a NUL inside", error);
    g_free(*text);
    *text = record->length > 0 ? g_strndup((const char *) record->value, record->length) : NULL;
    return TRUE;
}

static gboolean read_record(const Record *record, GpUnpackPax *pax, gboolean global, GError **error)
{
    if (is(record, "uid"))
        return read_owner(record, &pax->has_uid, &pax->uid, error);
    if (is(record, "gid"))
        return read_owner(record, &pax->has_gid, &pax->gid, error);
    if (is(record, "mtime"))
        return read_time(record, pax, error);
    gboolean path = is(record, "path"), sparse = is(record, "GNU.sparse.name"), link = is(record, "linkpath");
    gboolean attribute =
        g_str_has_prefix(record->key, "GNU.sparse.") || g_str_has_prefix(record->key, "SCHILY.xattr.") ||
        g_str_has_prefix(record->key, "SCHILY.acl.") || g_str_has_prefix(record->key, "LIBARCHIVE.xattr.");
    /* POSIX has these apply to all that follows; libarchive, Go's archive/tar and all that is built on it pass over
     * them: nobody may unpack something else than what was looked at. */
    if (global && (path || link || attribute || is(record, "size")))
        return bad(record, GP_ERROR_UNSUPPORTED, "for all entries at once", error);
    if (sparse || (path && !pax->sparse_name)) {
        pax->sparse_name = sparse;
        return read_text(record, &pax->path, error);
    }
    if (link)
        return read_text(record, &pax->link_target, error);
    return is(record, "size") ? read_size(record, pax, error) : TRUE;
}

/* "LENGTH KEY=VALUE\n", LENGTH counting all of it. Returns where the next one begins, or NULL. */
static const guint8 *split(const guint8 *at, const guint8 *end, Record *record)
{
    gsize length = 0, digits = 0;
    while (at + digits < end && g_ascii_isdigit(at[digits]) && digits < 8)
        length = length * 10 + (at[digits++] - '0');
    if (digits == 0 || at + digits == end || at[digits] != ' ' || length > (gsize) (end - at) || length < digits + 4 ||
        at[length - 1] != '\n')
        return NULL;
    const guint8 *key = at + digits + 1, *last = at + length - 1;
    const guint8 *equals = memchr(key, '=', (gsize) (last - key));
    if (!equals || equals == key || memchr(key, '\0', (gsize) (equals - key)))
        return NULL;
    *record = (Record){.key = (const char *) key,
        .key_length = (gsize) (equals - key),
        .value = equals + 1,
        .length = (gsize) (last - equals - 1)};
    return at + length;
}

gboolean gp_unpack_pax_read(GpUnpackPax *pax, const guint8 *data, gsize length, gboolean global, GError **error)
{
    /* Of nothing there may be no address to count from. */
    const guint8 *end = length > 0 ? data + length : data;
    while (data < end) {
        Record record;
        data = split(data, end, &record);
        if (!data) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer: tar: extended header: a record that is malformed");
            return FALSE;
        }
        if (!read_record(&record, pax, global, error))
            return FALSE;
    }
    return TRUE;
}
