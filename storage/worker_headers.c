#include "storage/worker_headers.h"

#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "storage/worker_pax.h"

#define BLOCK 512

/* Where the fields are (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"). */
enum {
    AT_NAME = 0,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_LINK = 157,
    AT_MAGIC = 257,
    AT_PREFIX = 345,
    AT_GNU_EXTENDED = 482, /* of type 'S': more of the sparse map follows */
    AT_MAP_EXTENDED = 504, /* in such a block: and one more */
    AT_STAR_MAGIC = 508,
};
#define NAME_SIZE 100
#define PREFIX_SIZE 155
#define STAR_PREFIX_SIZE 131

typedef enum {
    IN_HEADER, /* between members */
    IN_BODY,   /* of an extended header or long name: kept */
    IN_MAP,    /* further blocks of an old GNU sparse header */
    IN_CONTENT,
    AT_END, /* two zero blocks were there */
} State;

struct _GpUnpackHeaders {
    State state;
    guint64 at; /* bytes fed */
    guint8 block[BLOCK];
    gsize filled; /* of @block */
    guint64 left; /* of a body or content, its padding in */
    gsize body_size;
    GByteArray *body;
    guint8 body_type;
    guint64 content; /* behind the sparse map */
    gboolean zero_block;
    gboolean
        pending; /* the next entry began already, at @start, with an extended header, a long name or a global header */
    guint64 start;
    gboolean has_pax;
    GpUnpackPax pax, global;
    char *long_name, *long_link;
    GQueue entries; /* GpUnpackHeader */
    GError *error;
};

void gp_unpack_header_free(GpUnpackHeader *header)
{
    if (!header)
        return;
    g_free(header->path);
    g_free(header->link_target);
    g_free(header);
}

GpUnpackHeaders *gp_unpack_headers_new(void)
{
    GpUnpackHeaders *headers = g_new0(GpUnpackHeaders, 1);
    headers->body = g_byte_array_new();
    g_queue_init(&headers->entries);
    return headers;
}

/* What belongs to one entry alone. */
static void forget(GpUnpackHeaders *headers)
{
    gp_unpack_pax_clear(&headers->pax);
    g_clear_pointer(&headers->long_name, g_free);
    g_clear_pointer(&headers->long_link, g_free);
    headers->has_pax = headers->pending = FALSE;
}

void gp_unpack_headers_free(GpUnpackHeaders *headers)
{
    if (!headers)
        return;
    forget(headers);
    gp_unpack_pax_clear(&headers->global);
    g_byte_array_unref(headers->body);
    GpUnpackHeader *header;
    while ((header = g_queue_pop_head(&headers->entries)))
        gp_unpack_header_free(header);
    g_clear_error(&headers->error);
    g_free(headers);
}

static gboolean refuse(GpUnpackHeaders *headers, GpErrorCode code, const char *why)
{
    g_set_error(&headers->error, GP_ERROR, (gint) code, "layer: tar: header at byte %" G_GUINT64_FORMAT ": %s",
        headers->at - BLOCK, why);
    return FALSE;
}

/* Is there something that is one entry's alone, and no entry yet? */
static gboolean owes_entry(const GpUnpackHeaders *headers)
{
    return headers->has_pax || headers->long_name || headers->long_link;
}

/* The sum of all bytes, the checksum's own taken for spaces. */
static gint sum_unsigned(const guint8 *block)
{
    gint sum = 0;
    for (gsize i = 0; i < BLOCK; i++)
        sum += block[i];
    for (gsize i = AT_CHECKSUM; i < AT_TYPE; i++)
        sum += ' ' - block[i];
    return sum;
}

/* The same as old tars have it, who took bytes for signed. */
static gint sum_signed(const guint8 *block)
{
    gint sum = 0;
    for (gsize i = 0; i < BLOCK; i++)
        sum += i >= AT_CHECKSUM && i < AT_TYPE ? ' ' : (gint8) block[i];
    return sum;
}

static gboolean checksum_is_right(const guint8 *block)
{
    gint64 told;
    return gp_unpack_number(block + AT_CHECKSUM, AT_TYPE - AT_CHECKSUM, &told) &&
           (told == sum_unsigned(block) || told == sum_signed(block));
}

static gboolean is_zero(const guint8 *block)
{
    return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0;
}

/* The block's own name: only POSIX's magic has a prefix, star's a shorter one (times stand behind it). */
static char *block_name(const guint8 *block)
{
    const char *name = (const char *) block + AT_NAME, *prefix = (const char *) block + AT_PREFIX;
    gboolean star = memcmp(block + AT_STAR_MAGIC, "tar", 4) == 0;
    if (memcmp(block + AT_MAGIC, "ustar", 6) != 0 || *prefix == '\0')
        return g_strndup(name, NAME_SIZE);
    gsize size = strnlen(prefix, star ? STAR_PREFIX_SIZE : PREFIX_SIZE);
    return g_strdup_printf("%.*s/%.*s", (int) size, prefix, NAME_SIZE, name);
}

static gboolean read_owners(GpUnpackHeaders *headers, GpUnpackHeader *entry)
{
    gint64 uid = 0, gid = 0, mtime = 0;
    const GpUnpackPax *pax = headers->has_pax ? &headers->pax : &headers->global;
    if (!gp_unpack_number(headers->block + AT_UID, 8, &uid) || !gp_unpack_number(headers->block + AT_GID, 8, &gid) ||
        !gp_unpack_number(headers->block + AT_MTIME, 12, &mtime))
        return refuse(headers, GP_ERROR_INVALID, "an owner or time that is no number");
    if (pax->has_uid)
        uid = pax->uid;
    if (pax->has_gid)
        gid = pax->gid;
    if (uid < 0 || gid < 0 || uid >= G_MAXUINT32 || gid >= G_MAXUINT32)
        return refuse(headers, GP_ERROR_INVALID, "owner out of range");
    entry->uid = (guint32) uid;
    entry->gid = (guint32) gid;
    entry->mtime = pax->has_mtime ? pax->mtime : (struct timespec){.tv_sec = mtime};
    return TRUE;
}

/* @long_text and @pax_text may both be there if they are one. */
static gboolean choose(GpUnpackHeaders *headers, char **long_text, char **pax_text, char *own, char **chosen)
{
    if (*long_text && *pax_text && strcmp(*long_text, *pax_text) != 0) {
        g_free(own);
        return refuse(headers, GP_ERROR_INVALID, "two names, one GNU's and one of a pax header");
    }
    *chosen = *pax_text ? g_steal_pointer(pax_text) : *long_text ? g_steal_pointer(long_text) : NULL;
    if (*chosen)
        g_free(own);
    else
        *chosen = own;
    return TRUE;
}

static gboolean add_entry(GpUnpackHeaders *headers)
{
    const guint8 *block = headers->block;
    g_autoptr(GpUnpackHeader) entry = g_new0(GpUnpackHeader, 1);
    entry->offset = headers->pending ? headers->start : headers->at - BLOCK;
    guint8 type = block[AT_TYPE];
    char *link = type == '1' || type == '2' ? g_strndup((const char *) block + AT_LINK, NAME_SIZE) : NULL;
    if (!choose(headers, &headers->long_name, &headers->pax.path, block_name(block), &entry->path) ||
        !choose(headers, &headers->long_link, &headers->pax.link_target, link, &entry->link_target) ||
        !read_owners(headers, entry))
        return FALSE;
    if (!*entry->path)
        return refuse(headers, GP_ERROR_INVALID, "an entry without a name");
    g_queue_push_tail(&headers->entries, g_steal_pointer(&entry));
    forget(headers);
    return TRUE;
}

static gboolean start_body(GpUnpackHeaders *headers, guint8 type, gint64 size)
{
    if (size > (gint64) GP_LIMIT_TAR_HEADER)
        return refuse(headers, GP_ERROR_LIMIT, "an extended header of more than 1 MiB");
    if (!headers->pending) {
        headers->pending = TRUE;
        headers->start = headers->at - BLOCK;
    }
    g_byte_array_set_size(headers->body, 0);
    headers->body_type = type;
    headers->body_size = (gsize) size;
    headers->left = ((guint64) size + BLOCK - 1) / BLOCK * BLOCK;
    headers->state = IN_BODY;
    return TRUE;
}

static gboolean start_content(GpUnpackHeaders *headers, guint8 type, gint64 size)
{
    if (headers->pax.has_size)
        size = headers->pax.size;
    /* Links, directories, devices and fifos have nothing behind them, whatever they say (as GNU tar and Go read it). */
    gboolean has_content = type < '1' || type == '7' || type == 'S';
    headers->content = has_content ? ((guint64) size + BLOCK - 1) / BLOCK * BLOCK : 0;
    headers->state = type == 'S' && headers->block[AT_GNU_EXTENDED] ? IN_MAP : IN_CONTENT;
    headers->left = headers->content;
    return add_entry(headers);
}

static gboolean take_header(GpUnpackHeaders *headers)
{
    const guint8 *block = headers->block;
    guint8 type = block[AT_TYPE];
    gint64 size = 0;
    if (is_zero(block)) {
        if (owes_entry(headers))
            return refuse(headers, GP_ERROR_INVALID, "the end, where an extended header needs its entry");
        headers->state = headers->zero_block ? AT_END : IN_HEADER;
        headers->zero_block = TRUE;
        return TRUE;
    }
    if (headers->zero_block)
        return refuse(headers, GP_ERROR_INVALID, "an entry behind the end: some readers see it, others do not");
    if (!checksum_is_right(block))
        return refuse(headers, GP_ERROR_INVALID, "wrong checksum");
    if (!gp_unpack_number(block + AT_SIZE, 12, &size) || size < 0)
        return refuse(headers, GP_ERROR_INVALID, "a size that is none");
    if (type == 'x' && headers->has_pax)
        return refuse(headers, GP_ERROR_INVALID, "two extended headers for one entry");
    if ((type == 'L' && headers->long_name) || (type == 'K' && headers->long_link))
        return refuse(headers, GP_ERROR_INVALID, "two long names for one entry");
    if (type == 'x' || type == 'g' || type == 'L' || type == 'K')
        return start_body(headers, type, size);
    if (type == '\0' || type == 'S' || (type >= '0' && type <= '7'))
        return start_content(headers, type, size);
    return refuse(headers, GP_ERROR_UNSUPPORTED, "of a type that no layer has");
}

static gboolean take_long(GpUnpackHeaders *headers, char **text)
{
    const char *body = (const char *) headers->body->data;
    gsize length = headers->body->len ? strnlen(body, headers->body->len) : 0;
    for (gsize i = length; i < headers->body->len; i++)
        if (body[i] != '\0')
            return refuse(headers, GP_ERROR_INVALID, "a long name with a NUL inside");
    if (length == 0)
        return refuse(headers, GP_ERROR_INVALID, "an entry without a name");
    *text = g_strndup(body, length);
    return TRUE;
}

static gboolean take_body(GpUnpackHeaders *headers)
{
    const GByteArray *body = headers->body;
    headers->state = IN_HEADER;
    switch (headers->body_type) {
    case 'L':
        return take_long(headers, &headers->long_name);
    case 'K':
        return take_long(headers, &headers->long_link);
    case 'g':
        if (owes_entry(headers))
            return refuse(headers, GP_ERROR_INVALID, "a global header between an entry and its extended header");
        return gp_unpack_pax_read(&headers->global, body->data, body->len, TRUE, &headers->error);
    default:
        headers->has_pax = TRUE;
        headers->pax = headers->global;
        return gp_unpack_pax_read(&headers->pax, body->data, body->len, FALSE, &headers->error);
    }
}

/* Gathers one block; FALSE while it is not full. */
static gboolean fill_block(GpUnpackHeaders *headers, const guint8 **data, gsize *length)
{
    gsize part = MIN(*length, BLOCK - headers->filled);
    memcpy(headers->block + headers->filled, *data, part);
    headers->filled += part;
    headers->at += part;
    *data += part;
    *length -= part;
    if (headers->filled < BLOCK)
        return FALSE;
    headers->filled = 0;
    return TRUE;
}

/* Passes over content or keeps a body; FALSE while more of it must come. */
static gboolean pass(GpUnpackHeaders *headers, const guint8 **data, gsize *length)
{
    gsize part = (gsize) MIN(*length, headers->left);
    if (headers->state == IN_BODY) {
        gsize wanted = headers->body_size - headers->body->len;
        g_byte_array_append(headers->body, *data, (guint) MIN(part, wanted));
    }
    headers->left -= part;
    headers->at += part;
    *data += part;
    *length -= part;
    return headers->left == 0;
}

static gboolean step(GpUnpackHeaders *headers, const guint8 **data, gsize *length)
{
    switch (headers->state) {
    case IN_HEADER:
        return !fill_block(headers, data, length) || take_header(headers);
    case IN_BODY:
        return !pass(headers, data, length) || take_body(headers);
    case IN_MAP:
        if (fill_block(headers, data, length) && !headers->block[AT_MAP_EXTENDED])
            headers->state = IN_CONTENT;
        return TRUE;
    case IN_CONTENT:
        if (pass(headers, data, length))
            headers->state = IN_HEADER;
        return TRUE;
    case AT_END:
        break;
    }
    *length = 0;
    return TRUE;
}

void gp_unpack_headers_feed(GpUnpackHeaders *headers, const guint8 *data, gsize length)
{
    while (length > 0 && !headers->error)
        if (!step(headers, &data, &length))
            return;
}

static GError *disagreement(guint64 offset)
{
    return g_error_new(GP_ERROR, GP_ERROR_INVALID,
        "layer: tar: header at byte %" G_GUINT64_FORMAT ": ambiguous: different readers would see different entries",
        offset);
}

GpUnpackHeader *gp_unpack_headers_next(GpUnpackHeaders *headers, guint64 offset, GError **error)
{
    g_autoptr(GpUnpackHeader) header = g_queue_pop_head(&headers->entries);
    if (header && header->offset == offset)
        return g_steal_pointer(&header);
    if (!header && headers->error)
        g_propagate_error(error, g_error_copy(headers->error));
    else
        g_propagate_error(error, disagreement(header ? MIN(header->offset, offset) : offset));
    return NULL;
}

gboolean gp_unpack_headers_finish(GpUnpackHeaders *headers, GError **error)
{
    const GpUnpackHeader *more = g_queue_peek_head(&headers->entries);
    if (!more && headers->error)
        g_propagate_error(error, g_error_copy(headers->error));
    else if (more)
        g_propagate_error(error, disagreement(more->offset));
    else if (owes_entry(headers) || headers->state == IN_BODY)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer: tar: it ends behind an extended header");
    else
        return TRUE;
    return FALSE;
}
