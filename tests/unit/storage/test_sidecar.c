#include <glib.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits.h"
#include "storage/layer_tree.h"

#define HEAD "guest-pull-layer 1\n"
#define ROOT ". d 755 0 0 0.000000000 i -\n"
#define SUM "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static GpInode *add(GpLayerTree *tree, const char *parent, const char *name, mode_t mode)
{
    GpInode *inode = gp_layer_tree_add(tree, gp_layer_tree_find(tree, parent), name, NULL)->inode;
    inode->mode = mode;
    inode->has_object = S_ISREG(mode) || S_ISLNK(mode);
    for (guint i = 0; inode->has_object && i < sizeof inode->object; i++)
        inode->object[i] = (guint8) i;
    return inode;
}

static gboolean append(gpointer data, const char *text, gsize length, GError **error G_GNUC_UNUSED)
{
    g_string_append_len(data, text, (gssize) length);
    return TRUE;
}

static char *text_of(GpLayerTree *tree)
{
    GString *text = g_string_new(NULL);
    g_assert_true(gp_layer_tree_serialize(tree, append, text, NULL));
    return g_string_free(text, FALSE);
}

static GpLayerTree *parse(const char *text, gssize length, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new(text, length < 0 ? strlen(text) : (gsize) length);
    return gp_layer_tree_parse(bytes, error);
}

static GpLayerTree *rich_tree(void)
{
    GpLayerTree *tree = gp_layer_tree_new(-1);
    add(tree, "", "d", S_IFDIR | 01777)->opaque = TRUE;
    GpInode *file = add(tree, "d", "f", S_IFREG | 04755);
    file->uid = 1000;
    file->gid = G_MAXUINT32;
    file->mtime = (struct timespec){-1, 999999999};
    file->size = 70;
    file->xattrs = gp_xattrs_new();
    gp_xattrs_add(file->xattrs, "user.a=b c", "\0\xff", 2);
    gp_xattrs_add(file->xattrs, "user.empty", "", 0);
    gp_layer_tree_add(tree, tree->root, "hard", file);
    add(tree, "", "l", S_IFLNK | 0777)->symlink = gp_layer_tree_text(tree, "../a b%\xff");
    GpInode *device = add(tree, "", "c", S_IFCHR | 0666);
    device->rdev_major = 1;
    device->rdev_minor = 3;
    add(tree, "", "b", S_IFBLK | 0660)->rdev_major = 8;
    add(tree, "", "p", S_IFIFO | 0600);
    add(tree, "", "w", S_IFCHR)->whiteout = TRUE;
    add(tree, "", "d-", S_IFREG | 0644)->size = 5;
    tree->bytes = 75;
    return tree;
}

static const char rich_text[] =
    HEAD ROOT "b b 660 0 0 0.000000000 - 8:0\n"
              "c c 666 0 0 0.000000000 - 1:3\n"
              "d d 1777 0 0 0.000000000 o -\n"
              "d/f f 4755 1000 4294967295 -1.999999999 - 70:" SUM " xattr:user.a%3db%20c=00ff xattr:user.empty=\n"
              "d- f 644 0 0 0.000000000 - 5:" SUM "\n"
              "hard h d/f\n"
              "l l 777 0 0 0.000000000 - " SUM ":../a%20b%25%ff\n"
              "p p 600 0 0 0.000000000 - -\n"
              "w w 0 0 0 0.000000000 - -\n";

static void test_text(void)
{
    g_autoptr(GpLayerTree) tree = rich_tree();
    g_autofree char *text = text_of(tree);
    g_assert_cmpstr(text, ==, rich_text);
}

static void test_round_trip(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLayerTree) tree = parse(rich_text, -1, &error);
    g_assert_no_error(error);
    g_autofree char *again = text_of(tree);
    g_assert_cmpstr(again, ==, rich_text);
    g_assert_cmpuint(tree->entries, ==, 9);
    g_assert_cmpuint(tree->bytes, ==, 75);
    const GpInode *file = gp_layer_tree_find(tree, "d/f")->inode;
    g_assert_true(gp_layer_tree_find(tree, "hard")->inode == file);
    g_assert_cmpuint(file->mode, ==, S_IFREG | 04755);
    g_assert_cmpint(file->mtime.tv_sec, ==, -1);
    g_assert_cmpint(file->mtime.tv_nsec, ==, 999999999);
    g_assert_cmpuint(file->object[31], ==, 0x1f);
    g_assert_cmpstr(g_array_index(file->xattrs, GpXattr, 0).name, ==, "user.a=b c");
    g_assert_cmpstr(gp_layer_tree_find(tree, "l")->inode->symlink, ==, "../a b%\xff");
    g_assert_true(gp_layer_tree_find(tree, "w")->inode->whiteout);
    g_assert_true(gp_layer_tree_find(tree, "d")->inode->opaque);
    g_assert_true(tree->root->inode->implied);
}

/* Names of every byte that a name can have, in one directory and as each other's parents. */
static void test_every_byte(void)
{
    g_autoptr(GpLayerTree) tree = gp_layer_tree_new(-1);
    for (int byte = 1; byte < 256; byte++) {
        char name[] = {(char) byte, 'x', '\0'};
        if (byte == '/')
            continue;
        add(tree, "", name, S_IFDIR | 0755);
        add(tree, name, name, S_IFIFO | 0600);
    }
    g_autofree char *text = text_of(tree);
    for (const char *p = text; *p; p++)
        g_assert_true(*p == '\n' || (*p >= ' ' && *p < 127));
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLayerTree) again = parse(text, -1, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(again->entries, ==, 2 * 254);
    g_assert_nonnull(gp_layer_tree_find(again, "\xff"
                                               "x/\xff"
                                               "x"));
    g_assert_nonnull(gp_layer_tree_find(again, "\nx"));
}

static const struct {
    const char *name, *text, *reason;
} refused[] = {
    {"nothing", "", "not one of ours"},
    {"another-version", "guest-pull-layer 2\n" ROOT, "not one of ours"},
    {"no-line-end", HEAD ". d 755 0 0 0.000000000 i -", "not one of ours"},
    {"no-root", HEAD, "the root directory is missing"},
    {"root-is-a-file", HEAD ". f 755 0 0 0.000000000 - 0:" SUM "\n", "line 2 is malformed"},
    {"root-twice", HEAD ROOT ROOT, "line 3 is malformed"},
    {"root-not-first", HEAD "a d 755 0 0 0.000000000 - -\n" ROOT, "line 2 is not spelled"},
    {"few-words", HEAD ROOT "a d\n", "line 3 is malformed"},
    {"empty-line", HEAD ROOT "\n", "line 3 is malformed"},
    {"unknown-type", HEAD ROOT "a s 755 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"long-type", HEAD ROOT "a dd 755 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"mode-with-type-bits", HEAD ROOT "a d 40755 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"mode-with-leading-zero", HEAD ROOT "a d 0755 0 0 0.000000000 - -\n", "line 3 is not spelled"},
    {"big-owner", HEAD ROOT "a d 755 4294967296 0 0.000000000 - -\n", "line 3 is malformed"},
    {"negative-owner", HEAD ROOT "a d 755 -1 0 0.000000000 - -\n", "line 3 is malformed"},
    {"short-nanoseconds", HEAD ROOT "a d 755 0 0 0.0 - -\n", "line 3 is malformed"},
    {"signed-nanoseconds", HEAD ROOT "a d 755 0 0 0.-00000001 - -\n", "line 3 is malformed"},
    {"unknown-flag", HEAD ROOT "a d 755 0 0 0.000000000 x -\n", "line 3 is not spelled"},
    {"flag-twice", HEAD ROOT "a d 755 0 0 0.000000000 oo -\n", "line 3 is not spelled"},
    {"directory-with-an-object", HEAD ROOT "a d 755 0 0 0.000000000 - 0:" SUM "\n", "line 3 is malformed"},
    {"file-without-an-object", HEAD ROOT "a f 644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"file-with-half-an-object", HEAD ROOT "a f 644 0 0 0.000000000 - 0:0011\n", "line 3 is malformed"},
    {"object-in-upper-case",
        HEAD ROOT "a l 777 0 0 0.000000000 - 000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f:x\n",
        "line 3 is not spelled"},
    {"size-beyond-64-bits", HEAD ROOT "a f 644 0 0 0.000000000 - 18446744073709551616:" SUM "\n",
        "line 3 is malformed"},
    {"device-beyond-32-bits", HEAD ROOT "a c 644 0 0 0.000000000 - 4294967296:0\n", "line 3 is malformed"},
    {"parent-missing", HEAD ROOT "a/b d 755 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"parent-is-a-file", HEAD ROOT "a p 644 0 0 0.000000000 - -\na/b p 644 0 0 0.000000000 - -\n",
        "line 4 is malformed"},
    {"dot", HEAD ROOT "./a p 644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"dot-dot", HEAD ROOT ".. p 644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"empty-component", HEAD ROOT "a/ p 644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"slash-in-a-name", HEAD ROOT "a d 755 0 0 0.000000000 - -\na%2fb p 644 0 0 0.000000000 - -\n",
        "line 4 is not spelled"},
    {"nul-in-a-name", HEAD ROOT "a%00 p 644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"bad-escape", HEAD ROOT "a%g0 p 644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"cut-escape", HEAD ROOT "a%4 p 644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"needless-escape", HEAD ROOT "%61 p 644 0 0 0.000000000 - -\n", "line 3 is not spelled"},
    {"name-twice", HEAD ROOT "a p 644 0 0 0.000000000 - -\na p 644 0 0 0.000000000 - -\n", "line 4 is malformed"},
    {"out-of-order", HEAD ROOT "b p 644 0 0 0.000000000 - -\na p 644 0 0 0.000000000 - -\n", "line 3 is not spelled"},
    {"link-to-nothing", HEAD ROOT "b h a\n", "line 3 is malformed"},
    {"link-to-a-directory", HEAD ROOT "a d 755 0 0 0.000000000 - -\nb h a\n", "line 4 is malformed"},
    {"link-with-attributes", HEAD ROOT "a p 644 0 0 0.000000000 - -\nb h a 644\n", "line 4 is malformed"},
    {"link-to-a-second-name", HEAD ROOT "a p 644 0 0 0.000000000 - -\nb h a\nc h b\n", "line 5 is not spelled"},
    {"xattr-without-value", HEAD ROOT "a p 644 0 0 0.000000000 - - xattr:user.a\n", "line 3 is malformed"},
    {"xattr-of-half-a-byte", HEAD ROOT "a p 644 0 0 0.000000000 - - xattr:user.a=0\n", "line 3 is malformed"},
    {"word-that-is-no-xattr", HEAD ROOT "a p 644 0 0 0.000000000 - - user.a=00\n", "line 3 is malformed"},
    {"two-blanks", HEAD ROOT "a p  644 0 0 0.000000000 - -\n", "line 3 is malformed"},
    {"blank-at-the-end", HEAD ROOT "a p 644 0 0 0.000000000 - - \n", "line 3 is malformed"},
};

static void test_refused(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_assert_null(parse(refused[i].text, -1, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
    g_assert_true(g_str_has_prefix(error->message, "layer sidecar: "));
    if (!strstr(error->message, refused[i].reason))
        g_error("expected \"%s\", got \"%s\"", refused[i].reason, error->message);
}

static void test_nul_byte(void)
{
    static const char text[] = HEAD ROOT "a p 644 0 0 0.000000000 - -\0\n";
    g_autoptr(GError) error = NULL;
    g_assert_null(parse(text, sizeof text - 1, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "line 3 is not spelled as we write it"));
}

static void test_depth(void)
{
    g_autoptr(GString) text = g_string_new(HEAD ROOT);
    g_autoptr(GString) path = g_string_new(NULL);
    for (guint depth = 1; depth <= GP_LIMIT_PATH_DEPTH; depth++) {
        g_string_append(path, depth == 1 ? "d" : "/d");
        g_string_append_printf(text, "%s d 755 0 0 0.000000000 - -\n", path->str);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLayerTree) deepest = parse(text->str, -1, &error);
    g_assert_no_error(error);
    g_string_append_printf(text, "%s/d d 755 0 0 0.000000000 - -\n", path->str);
    g_assert_null(parse(text->str, -1, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "line 131 is malformed"));
}

/* Every prefix of a good text is refused or a smaller good text; no byte changed makes two texts of one tree. */
static void test_damage(void)
{
    gsize length = sizeof rich_text - 1;
    for (gsize cut = 0; cut < length; cut++) {
        g_autoptr(GpLayerTree) tree = parse(rich_text, (gssize) cut, NULL);
        g_autofree char *again = tree ? text_of(tree) : NULL;
        g_assert_true(!tree || (strlen(again) == cut && strncmp(again, rich_text, cut) == 0));
    }
    for (gsize at = 0; at < length; at++) {
        g_autofree char *text = g_strdup(rich_text);
        text[at] = (char) (text[at] ^ 1);
        g_autoptr(GpLayerTree) tree = parse(text, (gssize) length, NULL);
        g_autofree char *again = tree ? text_of(tree) : NULL;
        g_assert_true(!tree || g_str_equal(again, text));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/sidecar/text-is-the-documented-one", test_text);
    g_test_add_func("/storage/sidecar/round-trip-keeps-everything", test_round_trip);
    g_test_add_func("/storage/sidecar/names-of-every-byte", test_every_byte);
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autofree char *name = g_strdup_printf("/storage/sidecar/refused/%s", refused[i].name);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_refused);
    }
    g_test_add_func("/storage/sidecar/refused/nul-byte", test_nul_byte);
    g_test_add_func("/storage/sidecar/refused/too-deep", test_depth);
    g_test_add_func("/storage/sidecar/damage-is-seen-or-a-different-tree", test_damage);
    return g_test_run();
}
