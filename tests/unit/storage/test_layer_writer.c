/* The layer writer against frames made by hand: what entries do to each other, and a worker that lies. */
#include "tests/unit/storage/layer_fixture.h"

/* Entries in short, divided by blanks: "d:a" directory, "f:a/x" file holding its own path, "l:a=target" link,
 * "h:a=target" hard link, "c:a" device 1:3, "p:a" fifo. */
static void add_entries(GByteArray *frames, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    for (guint i = 0; words[i]; i++) {
        g_auto(GStrv) parts = g_strsplit(words[i] + 2, "=", 2);
        GpEntry entry = {.path = parts[0], .mtime = {.tv_sec = 1000}};
        switch (words[i][0]) {
        case 'd':
            entry.mode = S_IFDIR | 0750;
            break;
        case 'f':
            entry.mode = S_IFREG | 0640;
            entry.size = strlen(parts[0]);
            break;
        case 'l':
            entry.mode = S_IFLNK | 0777;
            entry.link_target = parts[1];
            break;
        case 'h':
            entry.hardlink = TRUE;
            entry.link_target = parts[1];
            break;
        case 'c':
            entry.mode = S_IFCHR | 0600;
            entry.rdev_major = 1;
            entry.rdev_minor = 3;
            break;
        default:
            entry.mode = S_IFIFO | 0600;
        }
        add_entry(frames, &entry);
        if (words[i][0] == 'f')
            add_data(frames, 0, parts[0]);
    }
}

static void write_entries(Layer *layer, const char *text)
{
    g_autoptr(GByteArray) frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entries(frames, text);
    add_end(frames);
    layer_write_frames(layer, frames, &generous);
}

/* What a name turned out to be, in the words of the table below; the tree must agree with the disk. */
static const char *state_of(const Layer *layer, const char *name)
{
    const GpNode *node = gp_layer_tree_find(layer->tree, name);
    mode_t mode = mode_of(layer, name);
    if (mode == 0)
        return node ? "tree only" : "absent";
    if (!node || (node->inode->mode & S_IFMT) != (mode & S_IFMT))
        return "disk only";
    if (is_whiteout(layer, name))
        return node->inode->whiteout ? "whiteout" : "disk only";
    if (!S_ISDIR(mode))
        return S_ISREG(mode) ? "file" : S_ISLNK(mode) ? "link" : S_ISCHR(mode) ? "device" : "fifo";
    if (is_opaque(layer, name) != node->inode->opaque)
        return "opaque in one place";
    if (node->inode->implied)
        return node->inode->opaque ? "implied opaque" : "implied";
    return node->inode->opaque ? "opaque" : "directory";
}

static const struct {
    const char *name, *entries, *path, *state;
} outcomes[] = {
    {"whiteout", "f:.wh.a", "a", "whiteout"},
    {"whiteout-makes-its-parent", "f:x/y/.wh.a", "x/y/a", "whiteout"},
    {"whiteouts-parent-is-implied", "f:x/y/.wh.a", "x/y", "implied"},
    {"whiteout-then-file", "f:.wh.a f:a", "a", "file"},
    {"file-then-whiteout", "f:a f:.wh.a", "a", "file"},
    {"whiteout-then-directory", "f:.wh.a d:a", "a", "opaque"},
    {"directory-then-whiteout", "d:a f:a/x f:.wh.a", "a", "opaque"},
    {"directory-then-whiteout-keeps-children", "d:a f:a/x f:.wh.a", "a/x", "file"},
    {"whiteout-then-child", "f:.wh.a f:a/x", "a", "opaque"},
    {"child-then-whiteout", "f:a/x f:.wh.a", "a", "opaque"},
    {"whiteout-then-child-then-directory", "f:.wh.a f:a/x d:a", "a", "opaque"},
    {"whiteout-then-link", "f:.wh.a l:a=b", "a", "link"},
    {"whiteout-twice", "f:.wh.a f:.wh.a", "a", "whiteout"},
    {"whiteout-as-directory-entry", "d:.wh.a", "a", "whiteout"},
    {"opaque-first", "d:a f:a/.wh..wh..opq f:a/x", "a", "opaque"},
    {"opaque-first-keeps-siblings", "d:a f:a/.wh..wh..opq f:a/x", "a/x", "file"},
    {"opaque-last", "d:a f:a/x f:a/.wh..wh..opq", "a/x", "file"},
    {"opaque-before-its-directory", "f:a/.wh..wh..opq d:a", "a", "opaque"},
    {"opaque-of-an-implied-directory", "f:a/.wh..wh..opq", "a", "implied opaque"},
    {"opaque-is-no-name", "f:a/.wh..wh..opq", "a/.wh..wh..opq", "absent"},
    {"aufs-names-are-ignored", "d:.wh..wh.plnk f:.wh..wh.plnk/77 f:.wh..wh.aufs f:b", "b", "file"},
    {"aufs-names-leave-nothing", "d:.wh..wh.plnk f:.wh..wh.plnk/77", ".wh..wh.plnk", "absent"},
    {"file-replaces-directory", "d:a f:a/x d:a/d f:a/d/y f:a", "a", "file"},
    {"file-replaces-subtree", "d:a f:a/x d:a/d f:a/d/y f:a", "a/d/y", "absent"},
    {"directory-replaces-file", "f:a d:a", "a", "opaque"},
    {"directory-merges-with-directory", "d:a f:a/x d:a", "a/x", "file"},
    {"directory-twice-is-no-barrier", "d:a f:a/x d:a", "a", "directory"},
    {"link-replaces-file", "f:a l:a=b", "a", "link"},
    {"device-replaces-link", "l:a=b c:a", "a", "device"},
    {"fifo", "p:a", "a", "fifo"},
    {"missing-parents", "f:a/b/c/d", "a/b/c", "implied"},
    {"late-parent", "f:a/b d:a", "a", "directory"},
    {"children-after-return", "f:a/b/c f:x f:a/b/d", "a/b/d", "file"},
    {"hard-link", "f:a h:b=a", "b", "file"},
    {"hard-link-to-link", "l:a=z h:b=a", "b", "link"},
    {"hard-link-to-device", "c:a h:b=a", "b", "device"},
    {"hard-link-to-itself", "f:a h:a=a", "a", "file"},
    {"hard-link-over-directory", "f:a d:d f:d/x h:d=a", "d", "file"},
    {"target-replaced-later", "f:a h:b=a l:a=q", "b", "file"},
    {"nothing", "d:a", "b", "absent"},
};

static void test_outcome(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    write_entries(&layer, outcomes[row].entries);
    g_assert_no_error(layer.error);
    g_assert_cmpstr(state_of(&layer, outcomes[row].path), ==, outcomes[row].state);
}

static const struct {
    const char *name, *entries, *reason;
} refusals[] = {
    {"parent-is-a-link", "l:a=/etc f:a/passwd",
        "forbidden path \"a/passwd\": \"a\" is a symbolic link in the same layer"},
    {"parent-is-a-link-deeper", "d:x l:x/a=/etc f:x/a/b/c", "\"x/a\" is a symbolic link"},
    {"parent-is-a-file", "f:a f:a/b", "\"a\" is not a directory in the same layer"},
    {"parent-is-a-device", "c:a d:a/b", "\"a\" is not a directory in the same layer"},
    {"whiteout-below-a-link", "l:a=/ f:a/.wh.etc", "\"a\" is a symbolic link"},
    {"below-a-whiteout-name", "f:.wh.a/b", "it lies below a whiteout"},
    {"whiteout-of-nothing", "f:x/.wh.", "a whiteout of no name"},
    {"whiteout-of-dot", "f:.wh..", "a whiteout of no name"},
    {"whiteout-of-dot-dot", "f:.wh...", "a whiteout of no name"},
    {"hard-link-to-nothing", "h:b=a", "hard link \"b\" to \"a\": the layer has no such target"},
    {"hard-link-to-later-entry", "h:b=a f:a", "the layer has no such target"},
    {"hard-link-to-directory", "d:a h:b=a", "the target is a directory"},
    {"hard-link-to-same-directory", "d:a h:a=a", "the target is a directory"},
    {"hard-link-to-whiteout", "f:.wh.a h:b=a", "the layer has no such target"},
    {"hard-link-to-whiteout-of-itself", "f:.wh.a h:a=a", "the layer has no such target"},
    {"hard-link-into-what-it-replaces", "d:a f:a/x h:a=a/x", "the layer has no such target"},
    {"hard-link-through-link", "d:d f:d/x l:s=d h:b=s/x", "the layer has no such target"},
};

static void test_refusal(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    write_entries(&layer, refusals[row].entries);
    assert_refused(layer.error, GP_ERROR_INVALID, refusals[row].reason);
}

static void test_attributes_of_implied_directories(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    write_entries(&layer, "f:a/b");
    g_assert_no_error(layer.error);
    struct stat st;
    g_assert_cmpint(fstatat(layer.root_fd, "a", &st, 0), ==, 0);
    g_assert_cmpuint(st.st_mode, ==, S_IFDIR | 0755);
    g_assert_cmpint(st.st_mtime, ==, 0);
    g_assert_true(gp_layer_tree_find(layer.tree, "")->inode->implied);
    g_assert_cmpint(fstat(layer.root_fd, &st), ==, 0);
    g_assert_cmpuint(st.st_mode, ==, S_IFDIR | 0755);
    g_assert_cmpint(st.st_mtime, ==, 0);
}

static void test_root_entry(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    char empty[] = "";
    GpEntry root = {.path = empty, .mode = S_IFDIR | 02711, .uid = 5, .gid = 6, .mtime = {.tv_sec = 7, .tv_nsec = 8}};
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entry(frames, &root);
    add_entries(frames, "f:a");
    add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    g_assert_no_error(layer.error);
    struct stat st;
    g_assert_cmpint(fstat(layer.root_fd, &st), ==, 0);
    g_assert_cmpuint(st.st_mode, ==, S_IFDIR | 02711);
    g_assert_cmpuint(st.st_uid, ==, 5);
    g_assert_cmpuint(st.st_gid, ==, 6);
    g_assert_cmpint(st.st_mtim.tv_sec, ==, 7);
    g_assert_cmpint(st.st_mtim.tv_nsec, ==, 8);
    g_assert_false(layer.tree->root->inode->implied);
}

/* What the filesystem cannot hold is in the tree as the disk has it: fsck compares the two. */
static void test_tree_follows_the_disk(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    char file[] = "f", link[] = "l", target[] = "t";
    const gint64 far = G_GINT64_CONSTANT(1) << 60;
    GpEntry late = {.path = file, .mode = S_IFREG | 0644, .mtime = {.tv_sec = far}};
    GpEntry odd = {.path = link, .mode = S_IFLNK | 0600, .link_target = target};
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entry(frames, &late);
    add_entry(frames, &odd);
    add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    g_assert_no_error(layer.error);
    struct stat st;
    g_assert_cmpint(fstatat(layer.root_fd, file, &st, 0), ==, 0);
    g_assert_cmpint(st.st_mtime, <, far);
    g_assert_cmpint(gp_layer_tree_find(layer.tree, file)->inode->mtime.tv_sec, ==, st.st_mtime);
    g_assert_cmpuint(gp_layer_tree_find(layer.tree, link)->inode->mode, ==, mode_of(&layer, link));
}

static void test_set_group_id_of_the_root_is_not_inherited(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_assert_cmpint(fchown(layer.root_fd, 0, 77), ==, 0);
    g_assert_cmpint(fchmod(layer.root_fd, 02755), ==, 0);
    write_entries(&layer, "f:a d:d f:d/x f:.wh.w f:implied/x");
    g_assert_no_error(layer.error);
    g_autofree char *groups = shell_output(layer.directory, "find root -group 77; find root -perm /7000");
    g_assert_cmpstr(groups, ==, "");
}

static void test_opaque_root(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    write_entries(&layer, "f:a f:.wh..wh..opq");
    g_assert_no_error(layer.error);
    g_assert_true(layer.tree->root->inode->opaque);
    g_assert_true(is_opaque(&layer, ""));
}

/* ---- a worker that lies */

typedef enum { NOTHING, FILE_5, FILE_5_FULL, DIRECTORY, WHITEOUT_5 } Before;

static const struct {
    const char *name;
    Before before;
    gboolean no_ready;
    guint32 type; /* 0: no frame */
    guint64 offset;
    const char *payload; /* of DATA behind the offset, else everything */
    gboolean end;
    const char *reason;
} lies[] = {
    {"no-end", NOTHING, FALSE, 0, 0, "", FALSE, "it ended in the middle"},
    {"nothing-at-all", NOTHING, TRUE, 0, 0, "", FALSE, "it ended in the middle"},
    {"not-confined", NOTHING, TRUE, 0, 0, "", TRUE, "it did not say that it is confined"},
    {"ready-twice", NOTHING, FALSE, GP_UNPACK_READY, 0, "", TRUE, "an unknown frame"},
    {"ready-with-something", NOTHING, TRUE, GP_UNPACK_READY, 0, "x", TRUE, "it did not say that it is confined"},
    {"unknown-frame", NOTHING, FALSE, 77, 0, "", TRUE, "an unknown frame"},
    {"data-without-entry", NOTHING, FALSE, GP_UNPACK_DATA, 0, "x", TRUE, "content without a file"},
    {"data-for-directory", DIRECTORY, FALSE, GP_UNPACK_DATA, 0, "x", TRUE, "content without a file"},
    {"data-beyond-size", FILE_5, FALSE, GP_UNPACK_DATA, 0, "123456", TRUE, "outside of what its entry announced"},
    {"data-beyond-size-at-offset", FILE_5, FALSE, GP_UNPACK_DATA, 3, "123", TRUE,
        "outside of what its entry announced"},
    {"offset-beyond-size", FILE_5, FALSE, GP_UNPACK_DATA, 6, "1", TRUE, "outside of what its entry announced"},
    {"offset-overflows", FILE_5, FALSE, GP_UNPACK_DATA, G_MAXUINT64, "1", TRUE, "outside of what its entry announced"},
    {"data-backwards", FILE_5_FULL, FALSE, GP_UNPACK_DATA, 2, "1", TRUE, "outside of what its entry announced"},
    {"data-empty", FILE_5, FALSE, GP_UNPACK_DATA, 0, "", TRUE, "outside of what its entry announced"},
    {"whiteout-content-beyond-size", WHITEOUT_5, FALSE, GP_UNPACK_DATA, 0, "123456", TRUE, "outside of what"},
    {"entry-garbage", NOTHING, FALSE, GP_UNPACK_ENTRY, 0, "garbage", TRUE, "an entry that does not parse"},
    {"end-garbage", NOTHING, FALSE, GP_UNPACK_END, 0, "sha256:1234 12345678", FALSE, "an end without a digest"},
    {"end-short", NOTHING, FALSE, GP_UNPACK_END, 0, "short", FALSE, "a short end"},
    {"error-garbage", NOTHING, FALSE, GP_UNPACK_ERROR, 0, "{", FALSE, "an error report that is none"},
    {"error-of-a-code-it-may-not-use", NOTHING, FALSE, GP_UNPACK_ERROR, 0, "{\"code\":\"policy\",\"message\":\"x\"}",
        FALSE, "an error report that is none"},
    {"error-with-more", NOTHING, FALSE, GP_UNPACK_ERROR, 0, "{\"code\":\"invalid\",\"message\":\"x\",\"more\":1}",
        FALSE, "an error report that is none"},
};

static void test_lie(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    char name[] = "a", whiteout[] = ".wh.a";
    GpEntry entry = {.path = name, .mode = S_IFREG | 0644, .size = 5};
    if (!lies[row].no_ready)
        add_frame(frames, GP_UNPACK_READY, NULL, 0);
    if (lies[row].before == DIRECTORY) {
        entry.mode = S_IFDIR | 0755;
        entry.size = 0;
    }
    if (lies[row].before == WHITEOUT_5)
        entry.path = whiteout;
    if (lies[row].before != NOTHING)
        add_entry(frames, &entry);
    if (lies[row].before == FILE_5_FULL)
        add_data(frames, 0, "12345");
    if (lies[row].type == GP_UNPACK_DATA)
        add_data(frames, lies[row].offset, lies[row].payload);
    else if (lies[row].type)
        add_frame(frames, lies[row].type, lies[row].payload, strlen(lies[row].payload));
    if (lies[row].end)
        add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    assert_refused(layer.error, GP_ERROR_SANDBOX, "the unpack worker broke the protocol: ");
    assert_refused(layer.error, GP_ERROR_SANDBOX, lies[row].reason);
}

static void test_frames_behind_the_end(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_end(frames);
    add_entries(frames, "f:a");
    layer_write_frames(&layer, frames, &generous);
    assert_refused(layer.error, GP_ERROR_SANDBOX, "something behind the end");
}

static void test_oversized_frame(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    guint32 header[2] = {GUINT32_TO_LE(GP_UNPACK_DATA), GUINT32_TO_LE(GP_LIMIT_FRAME_DATA + 1)};
    g_byte_array_append(frames, (const guint8 *) header, sizeof header);
    layer_write_frames(&layer, frames, &generous);
    assert_refused(layer.error, GP_ERROR_SANDBOX, "frame");
}

static void test_error_report_is_passed_on(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    static const char report[] = "{\"code\":\"limit\",\"message\":\"too big\\u001b[2J\"}";
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_frame(frames, GP_UNPACK_ERROR, report, strlen(report));
    layer_write_frames(&layer, frames, &generous);
    assert_refused(layer.error, GP_ERROR_LIMIT, "too big");
    g_assert_null(strchr(layer.error->message, '\033'));
}

static void test_hostile_path_in_a_wire_entry(void)
{
    if (!need_root())
        return;
    /* Made of a valid entry: "xx/passwd" becomes "../passwd". */
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entries(frames, "f:xx/passwd");
    for (guint i = 0; i + 2 < frames->len; i++)
        if (memcmp(frames->data + i, "xx/", 3) == 0)
            memcpy(frames->data + i, "../", 3);
    add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    assert_refused(layer.error, GP_ERROR_INVALID, "forbidden path \"../passwd\"");
    g_autofree char *outside = g_build_filename(layer.directory, "passwd", NULL);
    g_assert_cmpint(g_access(outside, F_OK), !=, 0);
}

static void test_quotas(void)
{
    if (!need_root())
        return;
    static const struct {
        const char *entries, *reason;
        GpLayerTarget limits;
    } cases[] = {
        {"f:aaaa f:bbbb f:c", "more than 8 bytes of content", {.max_bytes = 8, .max_entries = 10}},
        {"f:aaaa f:aaaa f:a", "more than 8 bytes of content", {.max_bytes = 8, .max_entries = 10}},
        {"f:a f:b f:c", "more than 2 entries", {.max_bytes = 100, .max_entries = 2}},
        {"f:a/b/c/d", "more than 3 entries", {.max_bytes = 100, .max_entries = 3}},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Layer) layer;
        layer_open(&layer);
        g_autoptr(GByteArray) frames = g_byte_array_new();
        add_frame(frames, GP_UNPACK_READY, NULL, 0);
        add_entries(frames, cases[i].entries);
        add_end(frames);
        layer_write_frames(&layer, frames, &cases[i].limits);
        assert_refused(layer.error, GP_ERROR_LIMIT, cases[i].reason);
    }
}

/* A layer of @links symlinks whose targets have 4096 bytes less one. */
static void write_links(Layer *layer, guint links)
{
    layer_open(layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    g_autofree char *target = g_strnfill(GP_LIMIT_LINK_TARGET, 't');
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    for (guint i = 0; i < links; i++) {
        g_autofree char *path = g_strdup_printf("l%u", i);
        GpEntry entry = {.path = path, .mode = S_IFLNK | 0777, .link_target = target};
        add_entry(frames, &entry);
    }
    add_end(frames);
    layer_write_frames(layer, frames, &generous);
}

/* What is kept in memory until the commit has a ceiling for the layer as a whole, not only for each entry. */
static void test_metadata_ceiling(void)
{
    if (!need_root())
        return;
    guint fit = (guint) (GP_LIMIT_LAYER_METADATA / GP_LIMIT_LINK_TARGET);
    g_auto(Layer) at, past;
    write_links(&at, fit);
    g_assert_no_error(at.error);
    write_links(&past, fit + 1);
    assert_refused(past.error, GP_ERROR_LIMIT, "bytes of link targets and extended attributes");
}

static void test_holes(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    char name[] = "sparse";
    GpEntry entry = {.path = name, .mode = S_IFREG | 0644, .size = 4000000};
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entry(frames, &entry);
    add_data(frames, 1000000, "middle");
    add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    g_assert_no_error(layer.error);
    struct stat st;
    g_assert_cmpint(fstatat(layer.root_fd, name, &st, 0), ==, 0);
    g_assert_cmpint(st.st_size, ==, 4000000);
    g_assert_cmpint(st.st_blocks, <=, 64);
    g_autofree char *sum = shell_output(layer.directory,
        "{ head -c 1000000 /dev/zero; printf middle; head -c 2999994 /dev/zero; } | cmp - root/sparse && echo same");
    g_assert_cmpstr(sum, ==, "same\n");
}

static void test_progress(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entries(frames, "f:abc d:d f:defg");
    add_end(frames);
    g_autoptr(GBytes) bytes = g_bytes_new(frames->data, frames->len);
    GP_AUTOFD int fd = memory_fd(bytes);
    GpLayerTarget target = generous;
    GpLayerProgress progress = {0};
    target.root_fd = layer.root_fd;
    target.objects_fd = layer.objects_fd;
    layer.tree = gp_layer_write(fd, &target, &progress, &layer.diff_id, &layer.error);
    g_assert_no_error(layer.error);
    g_assert_cmpuint(progress.entries, ==, 3);
    g_assert_cmpuint(progress.bytes, ==, 7);
    g_assert_cmpuint(layer.tree->entries, ==, 3);
    g_assert_cmpuint(layer.tree->bytes, ==, 7);
}

static void test_full_filesystem(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autofree char *small = g_build_filename(layer.directory, "small", NULL);
    shell(layer.directory, "mkdir small; mount -t tmpfs -o size=64k none small; mkdir small/root small/objects");
    GP_AUTOFD int root_fd = -1;
    GP_AUTOFD int objects_fd = -1;
    gp_close_fd(&layer.root_fd);
    gp_close_fd(&layer.objects_fd);
    g_autofree char *root = g_build_filename(small, "root", NULL);
    g_autofree char *objects = g_build_filename(small, "objects", NULL);
    layer.root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    layer.objects_fd = open(objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    char name[] = "big";
    g_autofree char *content = g_strnfill(200000, 'x');
    GpEntry entry = {.path = name, .mode = S_IFREG | 0644, .size = 200000};
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entry(frames, &entry);
    add_data(frames, 0, content);
    add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    gp_close_fd(&layer.root_fd);
    gp_close_fd(&layer.objects_fd);
    shell(layer.directory, "umount small");
    assert_refused(layer.error, GP_ERROR_SPACE, "writing \"big\"");
}

static void test_refused_xattr(void)
{
    if (!need_root())
        return;
    static const struct {
        const char *attribute;
        mode_t type;
        GpErrorCode code;
        const char *reason;
    } cases[] = {
        {"system.nonsense", S_IFREG, GP_ERROR_UNSUPPORTED, "cannot hold extended attribute system.nonsense"},
        {"user.on-a-link", S_IFLNK, GP_ERROR_INVALID, "the kernel refuses extended attribute user.on-a-link"},
        {"system.posix_acl_access", S_IFREG, GP_ERROR_INVALID,
            "the kernel refuses extended attribute system.posix_acl"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Layer) layer;
        layer_open(&layer);
        g_autoptr(GByteArray) frames = g_byte_array_new();
        char name[] = "a", target[] = "b";
        g_autoptr(GArray) xattrs = gp_xattrs_new();
        gp_xattrs_add(xattrs, cases[i].attribute, "\2\0\0\0junk", 8);
        GpEntry entry = {.path = name, .mode = cases[i].type | 0777, .xattrs = xattrs};
        entry.link_target = cases[i].type == S_IFLNK ? target : NULL;
        add_frame(frames, GP_UNPACK_READY, NULL, 0);
        add_entry(frames, &entry);
        add_end(frames);
        layer_write_frames(&layer, frames, &generous);
        assert_refused(layer.error, cases[i].code, cases[i].reason);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD_TABLE(table, prefix, function)                                                                             \
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {                                                                  \
        g_autofree char *path = g_strconcat("/storage/layer/" prefix "/", (table)[i].name, NULL);                      \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                                     \
    }
    ADD_TABLE(outcomes, "outcome", test_outcome)
    ADD_TABLE(refusals, "refused", test_refusal)
    ADD_TABLE(lies, "lying-worker", test_lie)
    g_test_add_func("/storage/layer/lying-worker/frames-behind-the-end", test_frames_behind_the_end);
    g_test_add_func("/storage/layer/lying-worker/oversized-frame", test_oversized_frame);
    g_test_add_func("/storage/layer/lying-worker/hostile-path", test_hostile_path_in_a_wire_entry);
    g_test_add_func("/storage/layer/error-report-is-passed-on-escaped", test_error_report_is_passed_on);
    g_test_add_func("/storage/layer/implied-directories", test_attributes_of_implied_directories);
    g_test_add_func("/storage/layer/root-entry", test_root_entry);
    g_test_add_func("/storage/layer/opaque-root", test_opaque_root);
    g_test_add_func("/storage/layer/tree-follows-the-disk", test_tree_follows_the_disk);
    g_test_add_func("/storage/layer/set-group-id-is-not-inherited", test_set_group_id_of_the_root_is_not_inherited);
    g_test_add_func("/storage/layer/quotas", test_quotas);
    g_test_add_func("/storage/layer-writer/link-targets-and-xattrs-have-a-ceiling-together", test_metadata_ceiling);
    g_test_add_func("/storage/layer/holes", test_holes);
    g_test_add_func("/storage/layer/progress", test_progress);
    g_test_add_func("/storage/layer/full-filesystem", test_full_filesystem);
    g_test_add_func("/storage/layer/refused-xattr", test_refused_xattr);
    return g_test_run();
}
