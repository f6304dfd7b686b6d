#include "storage/worker_acl.h"

#include <archive.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include "base/error.h"

typedef struct {
    guint16 tag, permissions;
    guint32 id;
} AclRow;

/* The kernel wants rows in the order of their tags' numbers, then of ids. */
static gint compare_rows(gconstpointer a, gconstpointer b)
{
    const AclRow *x = a, *y = b;
    if (x->tag != y->tag)
        return x->tag < y->tag ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static guint16 tag_of(int tag)
{
    switch (tag) {
    case ARCHIVE_ENTRY_ACL_USER_OBJ:
        return ACL_USER_OBJ;
    case ARCHIVE_ENTRY_ACL_USER:
        return ACL_USER;
    case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
        return ACL_GROUP_OBJ;
    case ARCHIVE_ENTRY_ACL_GROUP:
        return ACL_GROUP;
    case ARCHIVE_ENTRY_ACL_MASK:
        return ACL_MASK;
    case ARCHIVE_ENTRY_ACL_OTHER:
        return ACL_OTHER;
    default:
        return 0;
    }
}

static gboolean unsupported(const GpEntry *entry, const char *why, GError **error)
{
    g_autofree char *shown = gp_escape(entry->path, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED, "entry \"%s\": %s", shown, why);
    return FALSE;
}

static void add_xattr(GArray *rows, const char *name, GpEntry *entry)
{
    g_array_sort(rows, compare_rows);
    g_autoptr(GByteArray) value = g_byte_array_new();
    struct posix_acl_xattr_header head = {.a_version = GUINT32_TO_LE(POSIX_ACL_XATTR_VERSION)};
    g_byte_array_append(value, (const guint8 *) &head, sizeof head);
    for (guint i = 0; i < rows->len; i++) {
        const AclRow *row = &g_array_index(rows, AclRow, i);
        struct posix_acl_xattr_entry out = {.e_tag = GUINT16_TO_LE(row->tag),
            .e_perm = GUINT16_TO_LE(row->permissions),
            .e_id = GUINT32_TO_LE(row->id)};
        g_byte_array_append(value, (const guint8 *) &out, sizeof out);
    }
    gp_xattrs_add(entry->xattrs, name, value->data, value->len);
}

static gboolean add_acl(struct archive_entry *header, int kind, const char *name, GpEntry *entry, GError **error)
{
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(AclRow));
    int type, permissions, tag, id;
    const char *who;
    if (archive_entry_acl_reset(header, kind) == 0)
        return TRUE;
    while (archive_entry_acl_next(header, kind, &type, &permissions, &tag, &id, &who) == ARCHIVE_OK) {
        AclRow row = {.tag = tag_of(tag), .permissions = (guint16) (permissions & 7), .id = (guint32) ACL_UNDEFINED_ID};
        if (row.tag == 0)
            return unsupported(entry, "an access control list of an unknown kind", error);
        if (row.tag == ACL_USER || row.tag == ACL_GROUP) {
            if (id < 0)
                return unsupported(entry, "an access control list that names somebody by name only", error);
            row.id = (guint32) id;
        }
        g_array_append_val(rows, row);
    }
    add_xattr(rows, name, entry);
    return TRUE;
}

gboolean gp_unpack_add_acls(struct archive_entry *header, GpEntry *entry, GError **error)
{
    int types = archive_entry_acl_types(header);
    if ((types & ~ARCHIVE_ENTRY_ACL_TYPE_POSIX1E) != 0)
        return unsupported(entry, "an access control list that is not POSIX.1e", error);
    return add_acl(header, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", entry, error) &&
           add_acl(header, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", entry, error);
}
