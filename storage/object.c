#include "storage/object.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/limits.h"
#include "storage/entry.h"

/* The integers, the longest target with its NUL, two bytes of offset. */
#define PLAIN_HEADER (16 + GP_LIMIT_LINK_TARGET + 1 + 2)

/* The header's type in GVariant's terms: uid, gid, mode, rdev (always 0), link target, xattrs as names with their NUL
 * and values. */
static GVariant *header_new(guint32 uid, guint32 gid, guint32 mode, const char *target, const GArray *xattrs)
{
    GVariantBuilder list;
    g_variant_builder_init(&list, G_VARIANT_TYPE("a(ayay)"));
    for (guint i = 0; xattrs && i < xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(xattrs, GpXattr, i);
        /* libostree does not see attributes without a value when it reads a file: hashed, they would make its fsck
         * fail. */
        if (xattr->size == 0)
            continue;
        g_variant_builder_add(&list, "(^ay@ay)", xattr->name,
            g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, xattr->value, xattr->size, 1));
    }
    /* An ordinary string variant would refuse a target that is not UTF-8; libostree hashes the bytes as they are.
     * @target is borrowed: it outlives the header. */
    GVariant *text = g_variant_new_from_data(G_VARIANT_TYPE_STRING, target, strlen(target) + 1, TRUE, NULL, NULL);
    return g_variant_ref_sink(
        g_variant_new("(uuuu@sa(ayay))", GUINT32_TO_BE(uid), GUINT32_TO_BE(gid), GUINT32_TO_BE(mode), 0U, text, &list));
}

/* The same bytes for what nearly every file is, one without attributes, at a tenth of the time: the integers, the text
 * with its NUL, no attributes, and where the text ends, in as few bytes as reach over the whole (GVariant
 * specification, 2.5.4). Returns the length. */
static gsize plain_header(guint32 uid, guint32 gid, guint32 mode, const char *target, guint8 out[PLAIN_HEADER])
{
    const guint32 fixed[4] = {GUINT32_TO_BE(uid), GUINT32_TO_BE(gid), GUINT32_TO_BE(mode), 0};
    gsize text = strlen(target) + 1, end = sizeof fixed + text;
    memcpy(out, fixed, sizeof fixed);
    memcpy(out + sizeof fixed, target, text);
    out[end] = (guint8) end;
    if (end + 1 <= G_MAXUINT8)
        return end + 1;
    out[end + 1] = (guint8) (end >> 8);
    return end + 2;
}

static void add_header(GpHasher *hasher, const void *header, gsize size)
{
    guint32 frame[2] = {GUINT32_TO_BE((guint32) size), 0};
    gp_hasher_update(hasher, frame, sizeof frame);
    gp_hasher_update(hasher, header, size);
}

void gp_object_hasher_start(
    GpHasher *hasher, guint32 uid, guint32 gid, guint32 mode, const char *target, const GArray *xattrs)
{
    gp_hasher_restart(hasher);
    if (!target)
        target = "";
    if ((!xattrs || xattrs->len == 0) && strlen(target) <= GP_LIMIT_LINK_TARGET) {
        guint8 header[PLAIN_HEADER];
        add_header(hasher, header, plain_header(uid, gid, mode, target, header));
        return;
    }
    g_autoptr(GVariant) header = header_new(uid, gid, mode, target, xattrs);
    add_header(hasher, g_variant_get_data(header), g_variant_get_size(header));
}

GpHasher *gp_object_hasher_new(guint32 uid, guint32 gid, guint32 mode, const char *target, const GArray *xattrs)
{
    GpHasher *hasher = gp_hasher_new(GP_DIGEST_SHA256);
    gp_object_hasher_start(hasher, uid, gid, mode, target, xattrs);
    return hasher;
}

void gp_object_path(const guint8 object[32], char path[GP_OBJECT_PATH_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *at = path;
    for (int i = 0; i < 32; i++) {
        *at++ = digits[object[i] >> 4];
        *at++ = digits[object[i] & 15];
        if (i == 0)
            *at++ = '/';
    }
    memcpy(at, ".file", sizeof ".file");
}

gboolean gp_object_link(int objects_fd, const guint8 object[32], int directory_fd, const char *name, GError **error)
{
    char path[GP_OBJECT_PATH_SIZE];
    gp_object_path(object, path);
    int status = linkat(directory_fd, name, objects_fd, path, 0);
    if (status < 0 && errno == ENOENT) {
        char prefix[3] = {path[0], path[1], '\0'};
        if (mkdirat(objects_fd, prefix, 0775) < 0 && errno != EEXIST) {
            gp_set_errno(error, errno, "store: creating objects/%s", prefix);
            return FALSE;
        }
        status = linkat(directory_fd, name, objects_fd, path, 0);
    }
    if (status < 0 && errno != EEXIST) {
        gp_set_errno(error, errno, "store: linking object %s", path);
        return FALSE;
    }
    return TRUE;
}
