#include "storage/object.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "storage/entry.h"

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

GpHasher *gp_object_hasher_new(guint32 uid, guint32 gid, guint32 mode, const char *target, const GArray *xattrs)
{
    g_autoptr(GVariant) header = header_new(uid, gid, mode, target ? target : "", xattrs);
    guint32 frame[2] = {GUINT32_TO_BE((guint32) g_variant_get_size(header)), 0};
    GpHasher *hasher = gp_hasher_new(GP_DIGEST_SHA256);
    gp_hasher_update(hasher, frame, sizeof frame);
    gp_hasher_update(hasher, g_variant_get_data(header), g_variant_get_size(header));
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
