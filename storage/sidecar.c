/* The sidecar: a layer's tree as text, one line an entry. See gp_layer_tree_serialize() in storage/layer_tree.h. Depth
 * first, the names of a directory in the order of their bytes:
 *
 * guest-pull-layer 1
 * PATH TYPE MODE UID GID SECONDS.NANOSECONDS FLAGS EXTRA [xattr:NAME=HEX …]
 *
 * PATH is percent-encoded and "." for the root; TYPE one of d f l c b p w (w: whiteout) and h for a further name of the
 * entry that EXTRA names. EXTRA: size:object for files, object:target for links, major:minor for devices, - otherwise.
 */
#include "storage/layer_tree.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/limits.h"

#define FIRST_LINE "guest-pull-layer 1\n"
#define PIECE (64 * 1024) /* of the text that is in memory, when a tree is written */

/* ---- writing */

static void append_encoded(GString *out, const char *bytes)
{
    const guint8 *p = (const guint8 *) bytes;
    while (*p) {
        const guint8 *plain = p;
        while (*p && (g_ascii_isalnum(*p) || strchr("/._-+@,", (char) *p)))
            p++;
        g_string_append_len(out, (const char *) plain, p - plain);
        if (*p)
            g_string_append_printf(out, "%%%02x", *p++);
    }
}

static void append_hex(GString *out, const guint8 *bytes, gsize length)
{
    static const char digits[] = "0123456789abcdef";
    for (gsize i = 0; i < length; i++) {
        g_string_append_c(out, digits[bytes[i] >> 4]);
        g_string_append_c(out, digits[bytes[i] & 15]);
    }
}

static char type_letter(const GpInode *inode)
{
    if (inode->whiteout)
        return 'w';
    switch (inode->mode & S_IFMT) {
    case S_IFDIR:
        return 'd';
    case S_IFREG:
        return 'f';
    case S_IFLNK:
        return 'l';
    case S_IFCHR:
        return 'c';
    case S_IFBLK:
        return 'b';
    default:
        return 'p';
    }
}

static void append_extra(GString *out, const GpInode *inode, char type)
{
    if (type == 'f') {
        g_string_append_printf(out, " %" G_GUINT64_FORMAT ":", inode->size);
        append_hex(out, inode->object, sizeof inode->object);
    } else if (type == 'l') {
        g_string_append_c(out, ' ');
        append_hex(out, inode->object, sizeof inode->object);
        g_string_append_c(out, ':');
        append_encoded(out, inode->symlink);
    } else if (type == 'c' || type == 'b') {
        g_string_append_printf(out, " %u:%u", inode->rdev_major, inode->rdev_minor);
    } else {
        g_string_append(out, " -");
    }
}

/* A text on its way out. */
typedef struct {
    GpLayerTree *tree;
    GString *out, *path;
    GpTextSink sink;
    gpointer data;
} Writing;

static void append_path(GString *out, const GpNode *node)
{
    if (node->parent->parent) {
        append_path(out, node->parent);
        g_string_append_c(out, '/');
    }
    append_encoded(out, node->name);
}

static void append_line(Writing *writing, const GpNode *node)
{
    GString *out = writing->out;
    GpInode *inode = node->inode;
    append_encoded(out, *writing->path->str ? writing->path->str : ".");
    if (inode->references > 1 && inode->first && inode->first != node) {
        g_string_append(out, " h ");
        append_path(out, inode->first);
        g_string_append_c(out, '\n');
        return;
    }
    if (inode->references > 1)
        inode->first = node;
    char type = type_letter(inode);
    g_string_append_printf(out, " %c %o %u %u %" G_GINT64_FORMAT ".%09ld %s%s", type, inode->mode & 07777u, inode->uid,
        inode->gid, (gint64) inode->mtime.tv_sec, inode->mtime.tv_nsec, inode->opaque ? "o" : "",
        inode->implied ? "i" : "");
    if (!inode->opaque && !inode->implied)
        g_string_append_c(out, '-');
    append_extra(out, inode, type);
    for (guint i = 0; inode->xattrs && i < inode->xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(inode->xattrs, GpXattr, i);
        g_string_append(out, " xattr:");
        append_encoded(out, xattr->name);
        g_string_append_c(out, '=');
        append_hex(out, xattr->value, xattr->size);
    }
    g_string_append_c(out, '\n');
}

static gboolean flush(Writing *writing, gsize room, GError **error)
{
    GString *out = writing->out;
    gboolean ok = out->len <= room || writing->sink(writing->data, out->str, out->len, error);
    if (out->len > room)
        g_string_truncate(out, 0);
    return ok;
}

static gboolean write_node(Writing *writing, const GpNode *node, GError **error)
{
    GString *path = writing->path;
    append_line(writing, node);
    gp_layer_tree_passed(writing->tree);
    if (!flush(writing, PIECE, error))
        return FALSE;
    for (const GpNode *child = node->first; child; child = child->next) {
        gsize before = path->len;
        if (before)
            g_string_append_c(path, '/');
        g_string_append(path, child->name);
        if (!write_node(writing, child, error))
            return FALSE;
        g_string_truncate(path, before);
    }
    return TRUE;
}

gboolean gp_layer_tree_serialize(GpLayerTree *tree, GpTextSink sink, gpointer data, GError **error)
{
    g_autoptr(GString) path = g_string_new(NULL);
    g_autoptr(GString) out = g_string_new(FIRST_LINE);
    Writing writing = {.tree = tree, .out = out, .path = path, .sink = sink, .data = data};
    gp_layer_tree_sort(tree);
    return write_node(&writing, tree->root, error) && flush(&writing, 0, error);
}

/* ---- reading */

static char *decode(const char *text)
{
    GString *out = g_string_new(NULL);
    for (const char *p = text; *p; p++) {
        if (*p != '%') {
            g_string_append_c(out, *p);
            continue;
        }
        int high = g_ascii_xdigit_value(p[1]), low = high < 0 ? -1 : g_ascii_xdigit_value(p[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            g_string_free(out, TRUE);
            return NULL;
        }
        g_string_append_c(out, (char) (high << 4 | low));
        p += 2;
    }
    return g_string_free(out, FALSE);
}

/* Pairs of hex digits; allocated even when there are none. */
static guint8 *decode_hex(const char *text, gsize *length)
{
    gsize digits = strlen(text);
    g_autofree guint8 *bytes = g_malloc(digits / 2 + 1);
    if (digits % 2)
        return NULL;
    for (gsize i = 0; i < digits; i += 2) {
        int high = g_ascii_xdigit_value(text[i]), low = g_ascii_xdigit_value(text[i + 1]);
        if (high < 0 || low < 0)
            return NULL;
        bytes[i / 2] = (guint8) (high << 4 | low);
    }
    *length = digits / 2;
    return g_steal_pointer(&bytes);
}

static gboolean read_object(const char *hex, GpInode *inode)
{
    gsize length = 0;
    g_autofree guint8 *bytes = decode_hex(hex, &length);
    if (!bytes || length != sizeof inode->object)
        return FALSE;
    memcpy(inode->object, bytes, length);
    inode->has_object = TRUE;
    return TRUE;
}

static gboolean read_extra(GpLayerTree *tree, char type, char *extra, GpInode *inode)
{
    char *colon = strchr(extra, ':');
    if (type == 'd' || type == 'p' || type == 'w')
        return g_str_equal(extra, "-");
    if (!colon)
        return FALSE;
    *colon = '\0';
    guint64 first = 0, second = 0;
    if (type == 'l') {
        g_autofree char *target = decode(colon + 1);
        inode->symlink = target && strlen(target) <= GP_LIMIT_LINK_TARGET ? gp_layer_tree_text(tree, target) : NULL;
        return inode->symlink && read_object(extra, inode);
    }
    if (!g_ascii_string_to_unsigned(extra, 10, 0, G_MAXUINT64, &first, NULL))
        return FALSE;
    if (type == 'f') {
        inode->size = first;
        return read_object(colon + 1, inode);
    }
    if (first > G_MAXUINT32 || !g_ascii_string_to_unsigned(colon + 1, 10, 0, G_MAXUINT32, &second, NULL))
        return FALSE;
    inode->rdev_major = (guint32) first;
    inode->rdev_minor = (guint32) second;
    return TRUE;
}

static gboolean read_xattr(const char *word, GpInode *inode)
{
    if (!g_str_has_prefix(word, "xattr:"))
        return FALSE;
    g_auto(GStrv) parts = g_strsplit(word + strlen("xattr:"), "=", 2);
    if (g_strv_length(parts) != 2)
        return FALSE;
    gsize size = 0;
    g_autofree guint8 *value = decode_hex(parts[1], &size);
    g_autofree char *name = decode(parts[0]);
    if (!value || !name || (inode->xattrs && inode->xattrs->len >= GP_LIMIT_XATTRS))
        return FALSE;
    if (!inode->xattrs)
        inode->xattrs = gp_xattrs_new();
    gp_xattrs_add(inode->xattrs, name, value, size);
    return TRUE;
}

static gboolean read_time(const char *text, struct timespec *time)
{
    g_auto(GStrv) parts = g_strsplit(text, ".", 2);
    gint64 seconds;
    guint64 nanoseconds;
    if (g_strv_length(parts) != 2 || strlen(parts[1]) != 9 ||
        !g_ascii_string_to_signed(parts[0], 10, G_MININT64, G_MAXINT64, &seconds, NULL) ||
        !g_ascii_string_to_unsigned(parts[1], 10, 0, 999999999, &nanoseconds, NULL))
        return FALSE;
    time->tv_sec = seconds;
    time->tv_nsec = (long) nanoseconds;
    return TRUE;
}

static gboolean read_type(char type, guint64 mode, GpInode *inode)
{
    static const struct {
        char letter;
        mode_t type;
    } types[] = {
        {'d', S_IFDIR}, {'f', S_IFREG}, {'l', S_IFLNK}, {'c', S_IFCHR}, {'b', S_IFBLK}, {'p', S_IFIFO}, {'w', S_IFCHR}};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        if (types[i].letter == type) {
            inode->mode = types[i].type | (mode_t) mode;
            inode->whiteout = type == 'w';
            return TRUE;
        }
    return FALSE;
}

/* The words behind the path of a line that is no further hard link. */
static gboolean read_inode(GpLayerTree *tree, char **words, GpInode *inode)
{
    guint64 mode, uid, gid;
    if (g_strv_length(words) < 7 || strlen(words[0]) != 1 ||
        !g_ascii_string_to_unsigned(words[1], 8, 0, 07777, &mode, NULL) ||
        !g_ascii_string_to_unsigned(words[2], 10, 0, G_MAXUINT32, &uid, NULL) ||
        !g_ascii_string_to_unsigned(words[3], 10, 0, G_MAXUINT32, &gid, NULL) || !read_time(words[4], &inode->mtime) ||
        !read_type(words[0][0], mode, inode) || !read_extra(tree, words[0][0], words[6], inode))
        return FALSE;
    inode->uid = (guint32) uid;
    inode->gid = (guint32) gid;
    inode->opaque = strchr(words[5], 'o') != NULL;
    inode->implied = strchr(words[5], 'i') != NULL;
    for (char **word = words + 7; *word; word++)
        if (!read_xattr(*word, inode))
            return FALSE;
    return TRUE;
}

/* Where a line's entry belongs. NULL: the path is malformed or too long, or its directory is not there. */
static GpNode *find_parent(const GpLayerTree *tree, char *path, const char **name)
{
    guint depth = 1;
    for (const char *p = path; *p; p++)
        depth += *p == '/';
    char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (depth > GP_LIMIT_PATH_DEPTH || !**name || strlen(*name) > GP_LIMIT_NAME || g_str_equal(*name, ".") ||
        g_str_equal(*name, ".."))
        return NULL;
    if (!slash)
        return tree->root;
    *slash = '\0';
    GpNode *parent = gp_layer_tree_find(tree, path);
    return parent && S_ISDIR(parent->inode->mode) ? parent : NULL;
}

static gboolean read_line(GpLayerTree *tree, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 0);
    if (g_strv_length(words) < 3)
        return FALSE;
    if (g_str_equal(words[0], "."))
        return words[1][0] == 'd' && !tree->root->inode->mode && read_inode(tree, words + 1, tree->root->inode);
    g_autofree char *path = decode(words[0]);
    const char *name;
    GpNode *parent = path && tree->entries < GP_LIMIT_LAYER_ENTRIES ? find_parent(tree, path, &name) : NULL;
    if (!parent || gp_layer_child(tree, parent, name))
        return FALSE;
    if (!g_str_equal(words[1], "h")) {
        GpNode *node = gp_layer_tree_add(tree, parent, name, NULL);
        gboolean ok = read_inode(tree, words + 1, node->inode);
        tree->bytes += S_ISREG(node->inode->mode) ? node->inode->size : 0;
        return ok;
    }
    g_autofree char *target = decode(words[2]);
    GpNode *first = target && !words[3] ? gp_layer_tree_find(tree, target) : NULL;
    return first && !S_ISDIR(first->inode->mode) && gp_layer_tree_add(tree, parent, name, first->inode);
}

static gboolean malformed(guint64 line, const char *how, GError **error)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer sidecar: line %" G_GUINT64_FORMAT " %s", line, how);
    return FALSE;
}

static gboolean read_lines(GpLayerTree *tree, const char *at, const char *end, GError **error)
{
    for (guint64 number = 2; at < end; number++) {
        const char *line_end = memchr(at, '\n', (gsize) (end - at));
        g_autofree char *line = g_strndup(at, (gsize) (line_end - at));
        if (!read_line(tree, line))
            return malformed(number, "is malformed", error);
        at = line_end + 1;
    }
    return TRUE;
}

typedef struct {
    const char *at, *end;
    guint64 line;
} Spelling;

static gboolean compare(gpointer data, const char *text, gsize length, GError **error)
{
    Spelling *spelling = data;
    gsize left = (gsize) (spelling->end - spelling->at), same = 0;
    for (; same < MIN(length, left) && spelling->at[same] == text[same]; same++)
        spelling->line += text[same] == '\n';
    spelling->at += same;
    return same == length || malformed(spelling->line, "is not spelled as we write it", error);
}

/* What a tree is written as is the only spelling of it: no second one for a number, an escape or an order. */
static gboolean check_spelling(GpLayerTree *tree, GBytes *text, GError **error)
{
    gsize length;
    const char *data = g_bytes_get_data(text, &length);
    Spelling spelling = {data, data + length, 1};
    return gp_layer_tree_serialize(tree, compare, &spelling, error) &&
           (spelling.at == spelling.end || malformed(spelling.line, "is not spelled as we write it", error));
}

GpLayerTree *gp_layer_tree_parse(GBytes *text, GError **error)
{
    gsize length;
    const char *data = g_bytes_get_data(text, &length);
    gsize head = strlen(FIRST_LINE);
    if (length < head || memcmp(data, FIRST_LINE, head) != 0 || data[length - 1] != '\n') {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer sidecar: not one of ours");
        return NULL;
    }
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    tree->root->inode->implied = FALSE;
    tree->root->inode->mode = 0; /* until its line */
    if (!read_lines(tree, data + head, data + length, error))
        return NULL;
    if (!tree->root->inode->mode) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "layer sidecar: the root directory is missing");
        return NULL;
    }
    return check_spelling(tree, text, error) ? g_steal_pointer(&tree) : NULL;
}
