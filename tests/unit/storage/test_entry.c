/* The wire form of an entry: round trip, and everything that a lying worker could put into it. */
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits.h"
#include "storage/entry.h"

/* Fields in the order and width of the wire, so that a change of the form is noticed. */
typedef struct {
    guint8 flags; /* 1 hard link, 2 has a link target */
    guint32 mode, uid, gid;
    gint64 seconds;
    guint32 nanoseconds;
    guint64 size;
    guint32 major, minor;
    const char *path, *link;
    const char *xattr; /* name of one xattr with value "v", or NULL */
} Wire;

static void add(GByteArray *out, guint64 value, guint size)
{
    for (guint i = 0; i < size; i++) {
        guint8 byte = (guint8) (value >> (8 * i));
        g_byte_array_append(out, &byte, 1);
    }
}

static GByteArray *wire_new(const Wire *wire)
{
    GByteArray *out = g_byte_array_new();
    gsize path = wire->path ? strlen(wire->path) : 0, link = wire->link ? strlen(wire->link) : 0;
    add(out, wire->flags, 1);
    add(out, wire->mode, 4);
    add(out, wire->uid, 4);
    add(out, wire->gid, 4);
    add(out, (guint64) wire->seconds, 8);
    add(out, wire->nanoseconds, 4);
    add(out, wire->size, 8);
    add(out, wire->major, 4);
    add(out, wire->minor, 4);
    add(out, path, 2);
    add(out, link, 2);
    add(out, wire->xattr ? 1 : 0, 2);
    g_byte_array_append(out, (const guint8 *) (wire->path ? wire->path : ""), (guint) path);
    g_byte_array_append(out, (const guint8 *) (wire->link ? wire->link : ""), (guint) link);
    if (wire->xattr) {
        add(out, strlen(wire->xattr), 2);
        add(out, 1, 4);
        g_byte_array_append(out, (const guint8 *) wire->xattr, (guint) strlen(wire->xattr));
        add(out, 'v', 1);
    }
    return out;
}

#define NAME_256                                                                                                       \
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" \
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" \
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

static const struct {
    const char *name;
    Wire wire;
    int code; /* -1: accepted */
    const char *reason;
} cases[] = {
    {"file", {.mode = S_IFREG | 04755, .path = "a/b", .size = 9}, -1, NULL},
    {"root-directory", {.mode = S_IFDIR | 0755, .path = ""}, -1, NULL},
    {"newline-and-bytes-in-a-name", {.mode = S_IFREG | 0644, .path = "a\n\xff\xfe"}, -1, NULL},
    {"three-dots", {.mode = S_IFREG | 0644, .path = "..a/.../b.."}, -1, NULL},
    {"symlink-anywhere", {.flags = 2, .mode = S_IFLNK | 0777, .path = "l", .link = "../../etc/passwd"}, -1, NULL},
    {"hard-link", {.flags = 3, .path = "h", .link = "a/b"}, -1, NULL},
    {"device", {.mode = S_IFCHR | 0600, .path = "null", .major = 1, .minor = 3}, -1, NULL},
    {"before-1970", {.mode = S_IFREG | 0600, .path = "old", .seconds = -5, .nanoseconds = 999999999}, -1, NULL},
    {"xattr-of-userxattr-mounts", {.mode = S_IFREG | 0600, .path = "x", .xattr = "user.overlay.origin"}, -1, NULL},
    {"xattr", {.mode = S_IFREG | 0600, .path = "x", .xattr = "user.a"}, -1, NULL},

    {"absolute", {.mode = S_IFREG, .path = "/etc/passwd"}, GP_ERROR_INVALID,
        "forbidden path \"/etc/passwd\": it is absolute"},
    {"dot-dot", {.mode = S_IFREG, .path = "a/../../b"}, GP_ERROR_INVALID, "\"..\" leads out of the layer"},
    {"dot-dot-alone", {.mode = S_IFDIR, .path = ".."}, GP_ERROR_INVALID, "\"..\" leads out of the layer"},
    {"dot-dot-last", {.mode = S_IFDIR, .path = "a/.."}, GP_ERROR_INVALID, "\"..\" leads out of the layer"},
    {"dot", {.mode = S_IFDIR, .path = "a/./b"}, GP_ERROR_INVALID, "a component is \".\""},
    {"dot-alone", {.mode = S_IFDIR, .path = "."}, GP_ERROR_INVALID, "a component is \".\""},
    {"double-slash", {.mode = S_IFREG, .path = "a//b"}, GP_ERROR_INVALID, "a component is empty"},
    {"trailing-slash", {.mode = S_IFDIR, .path = "a/"}, GP_ERROR_INVALID, "a component is empty"},
    {"name-of-256-bytes", {.mode = S_IFREG, .path = NAME_256}, GP_ERROR_LIMIT, "a name is longer than 255 bytes"},
    {"root-that-is-a-file", {.mode = S_IFREG, .path = ""}, GP_ERROR_INVALID, "root can only be a directory"},
    {"whiteout-in-disguise", {.mode = S_IFCHR, .path = "w"}, GP_ERROR_INVALID, "a whiteout in disguise"},
    {"socket", {.mode = S_IFSOCK, .path = "s"}, GP_ERROR_INVALID, "a socket cannot be part of a layer"},
    {"no-type", {.mode = 0644, .path = "n"}, GP_ERROR_INVALID, "of no known type"},
    {"unknown-mode-bits", {.mode = S_IFREG | 0x100000, .path = "n"}, GP_ERROR_INVALID, "unknown mode bits"},
    {"size-of-a-directory", {.mode = S_IFDIR, .path = "d", .size = 1}, GP_ERROR_INVALID,
        "only a regular file has a size"},
    {"size-beyond-63-bits", {.mode = S_IFREG, .path = "d", .size = 1ULL << 63}, GP_ERROR_INVALID, "size out of range"},
    {"device-number-of-a-file", {.mode = S_IFREG, .path = "d", .minor = 1}, GP_ERROR_INVALID, "only a device has"},
    {"major-out-of-range", {.mode = S_IFBLK, .path = "d", .major = 0x1000}, GP_ERROR_INVALID, "beyond Linux's range"},
    {"minor-out-of-range", {.mode = S_IFBLK, .path = "d", .minor = 0x100000}, GP_ERROR_INVALID, "beyond Linux's range"},
    {"owner-minus-one", {.mode = S_IFREG, .path = "o", .uid = G_MAXUINT32}, GP_ERROR_INVALID, "is no owner"},
    {"group-minus-one", {.mode = S_IFREG, .path = "o", .gid = G_MAXUINT32}, GP_ERROR_INVALID, "is no owner"},
    {"nanoseconds", {.mode = S_IFREG, .path = "o", .nanoseconds = 1000000000}, GP_ERROR_INVALID, "nanoseconds out of"},
    {"target-of-a-file", {.flags = 2, .mode = S_IFREG, .path = "o", .link = "x"}, GP_ERROR_INVALID,
        "something that is no link"},
    {"symlink-without-target", {.mode = S_IFLNK, .path = "o"}, GP_ERROR_INVALID, "a link without a target"},
    {"symlink-with-empty-target", {.flags = 2, .mode = S_IFLNK, .path = "o"}, GP_ERROR_INVALID,
        "a link without a target"},
    {"hard-link-without-target", {.flags = 1, .path = "o"}, GP_ERROR_INVALID, "a link without a target"},
    {"hard-link-to-absolute", {.flags = 3, .path = "o", .link = "/etc/shadow"}, GP_ERROR_INVALID,
        "hard link \"o\": forbidden path \"/etc/shadow\": it is absolute"},
    {"hard-link-outside", {.flags = 3, .path = "o", .link = "../x"}, GP_ERROR_INVALID,
        "hard link \"o\": forbidden path"},
    {"hard-linked-root", {.flags = 3, .path = "", .link = "x"}, GP_ERROR_INVALID, "root cannot be a hard link"},
    {"trusted-overlay", {.mode = S_IFDIR, .path = "x", .xattr = "trusted.overlay.opaque"}, GP_ERROR_INVALID,
        "overlayfs's own"},
    {"trusted-overlay-any", {.mode = S_IFREG, .path = "x", .xattr = "trusted.overlay.metacopy"}, GP_ERROR_INVALID,
        "overlayfs's own"},
    {"xattr-without-namespace", {.mode = S_IFREG, .path = "x", .xattr = "foo"}, GP_ERROR_INVALID,
        "without a namespace"},
    {"xattr-without-name", {.mode = S_IFREG, .path = "x", .xattr = ""}, GP_ERROR_INVALID, "without a namespace"},
    {"unknown-flag", {.flags = 4, .mode = S_IFREG, .path = "x"}, GP_ERROR_SANDBOX, "does not parse"},
    {"target-without-its-flag", {.flags = 1, .path = "x", .link = "y"}, GP_ERROR_SANDBOX, "does not parse"},
};

static void check(const GError *error, int code, const char *reason)
{
    g_assert_nonnull(error);
    if (!strstr(error->message, reason))
        g_error("expected \"%s\", got \"%s\"", reason, error->message);
    g_assert_error(error, GP_ERROR, code);
}

static void test_case(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GByteArray) wire = wire_new(&cases[row].wire);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpEntry) entry = gp_entry_decode(wire->data, wire->len, &error);
    if (cases[row].code >= 0) {
        g_assert_null(entry);
        check(error, cases[row].code, cases[row].reason);
        return;
    }
    g_assert_no_error(error);
    g_assert_cmpstr(entry->path, ==, cases[row].wire.path);
    g_assert_cmpstr(entry->link_target, ==, cases[row].wire.link);
    g_assert_cmpint(entry->hardlink, ==, (cases[row].wire.flags & 1) != 0);
    g_assert_cmpuint(entry->mode, ==, cases[row].wire.mode);
    g_assert_cmpint(entry->mtime.tv_sec, ==, cases[row].wire.seconds);
    g_assert_cmpuint(entry->rdev_major, ==, cases[row].wire.major);
    g_autoptr(GBytes) again = gp_entry_encode(entry, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(again, NULL), g_bytes_get_size(again), wire->data, wire->len);
}

/* Every cut and every addition is refused, none reads beyond the end (AddressSanitizer watches). */
static void test_cut_anywhere(void)
{
    Wire wire = {.flags = 2, .mode = S_IFLNK | 0777, .path = "path", .link = "target", .xattr = "user.name"};
    g_autoptr(GByteArray) bytes = wire_new(&wire);
    for (guint length = 0; length < bytes->len; length++) {
        g_autoptr(GError) error = NULL;
        g_autofree guint8 *exact = g_memdup2(bytes->data, length);
        g_assert_null(gp_entry_decode(exact, length, &error));
        check(error, GP_ERROR_SANDBOX, "does not parse");
    }
    add(bytes, 0, 1);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_entry_decode(bytes->data, bytes->len, &error));
    check(error, GP_ERROR_SANDBOX, "does not parse");
}

static void test_nul_in_names(void)
{
    Wire wire = {.flags = 2, .mode = S_IFLNK | 0777, .path = "pxth", .link = "txrget", .xattr = "user.nxme"};
    g_autoptr(GByteArray) bytes = wire_new(&wire);
    guint tried = 0;
    for (guint i = 47; i < bytes->len; i++) {
        if (bytes->data[i] != 'x')
            continue;
        g_autoptr(GError) error = NULL;
        bytes->data[i] = 0;
        g_assert_null(gp_entry_decode(bytes->data, bytes->len, &error));
        check(error, GP_ERROR_SANDBOX, "does not parse");
        bytes->data[i] = 'x';
        tried++;
    }
    g_assert_cmpuint(tried, ==, 3);
}

static GpEntry file_entry(char *path)
{
    return (GpEntry){.path = path, .mode = S_IFREG | 0644};
}

static void refuse_encoding(const GpEntry *entry, int code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_entry_encode(entry, &error));
    check(error, code, reason);
}

static void test_ceilings(void)
{
    g_autofree char *long_path = g_malloc0(4097);
    for (guint i = 0; i < 4096; i++)
        long_path[i] = i % 200 == 199 ? '/' : 'a';
    GpEntry entry = file_entry(long_path);
    refuse_encoding(&entry, GP_ERROR_LIMIT, "longer than 4095 bytes");
    long_path[4095] = '\0';
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) fits = gp_entry_encode(&entry, &error);
    g_assert_no_error(error);

    g_autoptr(GString) deep = g_string_new("d");
    for (guint i = 1; i < GP_LIMIT_PATH_DEPTH; i++)
        g_string_append(deep, "/d");
    entry = file_entry(deep->str);
    g_autoptr(GBytes) deepest = gp_entry_encode(&entry, &error);
    g_assert_no_error(error);
    g_string_append(deep, "/d");
    entry = file_entry(deep->str);
    refuse_encoding(&entry, GP_ERROR_LIMIT, "deeper than 128 directories");

    char link[] = "l";
    g_autofree char *target = g_strnfill(4096, 't');
    GpEntry symlink = {.path = link, .mode = S_IFLNK | 0777, .link_target = target};
    refuse_encoding(&symlink, GP_ERROR_LIMIT, "link target longer than");
}

static void test_xattr_ceilings(void)
{
    char path[] = "x";
    g_autofree char *long_name = g_strconcat("user.", NAME_256, NULL);
    g_autofree guint8 *big = g_malloc0(GP_LIMIT_XATTR_VALUE + 1);
    GpEntry entry = file_entry(path);
    for (guint attempt = 0; attempt < 4; attempt++) {
        g_autoptr(GArray) xattrs = gp_xattrs_new();
        entry.xattrs = xattrs;
        if (attempt == 0)
            gp_xattrs_add(xattrs, long_name, "", 0);
        if (attempt == 1)
            gp_xattrs_add(xattrs, "user.big", big, GP_LIMIT_XATTR_VALUE + 1);
        for (guint i = 0; attempt == 2 && i < 3; i++) {
            g_autofree char *name = g_strdup_printf("user.%u", i);
            gp_xattrs_add(xattrs, name, big, GP_LIMIT_XATTR_VALUE);
        }
        for (guint i = 0; attempt == 3 && i <= GP_LIMIT_XATTRS; i++) {
            g_autofree char *name = g_strdup_printf("user.%03u", i);
            gp_xattrs_add(xattrs, name, "", 0);
        }
        refuse_encoding(&entry, GP_ERROR_LIMIT, "too many or too big extended attributes");
    }
}

static void test_xattr_order(void)
{
    char path[] = "x";
    g_autoptr(GArray) xattrs = gp_xattrs_new();
    GpEntry entry = file_entry(path);
    entry.xattrs = xattrs;
    gp_xattrs_add(xattrs, "user.b", "1", 1);
    gp_xattrs_add(xattrs, "user.a", "2", 1);
    refuse_encoding(&entry, GP_ERROR_INVALID, "unsorted or named twice");
    gp_xattrs_sort(xattrs);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) sorted = gp_entry_encode(&entry, &error);
    g_assert_no_error(error);
    gp_xattrs_add(xattrs, "user.b", "3", 1);
    refuse_encoding(&entry, GP_ERROR_INVALID, "unsorted or named twice");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strconcat("/storage/entry/", cases[i].code < 0 ? "accepted/" : "refused/", cases[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_case);
    }
    g_test_add_func("/storage/entry/refused/cut-anywhere", test_cut_anywhere);
    g_test_add_func("/storage/entry/refused/nul-in-names", test_nul_in_names);
    g_test_add_func("/storage/entry/refused/ceilings", test_ceilings);
    g_test_add_func("/storage/entry/refused/xattr-ceilings", test_xattr_ceilings);
    g_test_add_func("/storage/entry/refused/xattr-order", test_xattr_order);
    return g_test_run();
}
