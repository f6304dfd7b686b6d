/* The thread that finishes small files: what it leaves, what goes wrong in it, and what it must wait for. */
#include "storage/layer_finisher.h"

#include "storage/object.h"
#include "tests/unit/storage/layer_fixture.h"

typedef struct {
    Layer layer;
    GpLayerTree *tree;
    GpLayerDisk disk;
    GpFinisher *finisher;
} Files;

static void files_open(Files *files)
{
    g_autoptr(GError) error = NULL;
    *files = (Files){0};
    layer_open(&files->layer);
    files->tree = gp_layer_tree_new(-1);
    g_assert_true(gp_layer_disk_init(&files->disk, files->layer.root_fd, files->tree, &error));
    files->disk.directory_fd = dup(files->layer.root_fd);
    files->finisher = gp_finisher_new(&files->disk, files->layer.objects_fd);
    files->disk.finisher = files->finisher;
}

static void files_close(Files *files)
{
    gp_layer_disk_clear(&files->disk);
    gp_finisher_free(files->finisher);
    gp_layer_tree_free(files->tree);
    layer_close(&files->layer);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Files, files_close)

/* A file as the writer leaves it to the finisher. */
static gboolean put_file(Files *files, const char *name, mode_t mode, const char *text, GError **error)
{
    GpNode *node = gp_layer_tree_add(files->tree, files->tree->root, name, NULL);
    node->inode->mode = S_IFREG | mode;
    node->inode->uid = 7;
    node->inode->mtime = (struct timespec){.tv_sec = 1000000000, .tv_nsec = 123456789};
    node->inode->size = strlen(text);
    int fd = openat(files->layer.root_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
        gp_layer_disk_creation_mode(&files->disk, node->inode));
    g_assert_cmpint(fd, >=, 0);
    guint8 *data = g_memdup2(text, strlen(text));
    gboolean ok = gp_finisher_put(files->finisher, &fd, node, &data, strlen(text), error);
    g_assert_true(!ok || (fd == -1 && data == NULL));
    gp_close_fd(&fd);
    g_free(data);
    return ok;
}

static void test_files_are_complete(void)
{
    if (!need_root())
        return;
    g_auto(Files) files;
    g_autoptr(GError) error = NULL;
    files_open(&files);
    for (guint i = 0; i < 500; i++) {
        g_autofree char *name = g_strdup_printf("file%u", i);
        g_assert_true(put_file(&files, name, i % 2 ? 04755 : 0666, name, &error));
    }
    g_assert_true(gp_finisher_drain(files.finisher, &error));
    g_assert_no_error(error);
    for (guint i = 0; i < 500; i++) {
        g_autofree char *name = g_strdup_printf("file%u", i);
        const GpInode *inode = gp_layer_tree_find(files.tree, name)->inode;
        char path[GP_OBJECT_PATH_SIZE];
        struct stat st, object;
        gp_object_path(inode->object, path);
        g_assert_true(inode->has_object);
        g_assert_cmpint(fstatat(files.layer.root_fd, name, &st, 0), ==, 0);
        g_assert_cmpint(fstatat(files.layer.objects_fd, path, &object, 0), ==, 0);
        g_assert_cmpuint(st.st_ino, ==, object.st_ino);
        g_autoptr(GBytes) content = slurp(files.layer.root, name);
        g_assert_cmpmem(g_bytes_get_data(content, NULL), g_bytes_get_size(content), name, strlen(name));
        g_assert_cmpuint(st.st_mode, ==, S_IFREG | (i % 2 ? 04755 : 0666));
        g_assert_cmpuint(st.st_uid, ==, 7);
        g_assert_cmpint(st.st_mtim.tv_nsec, ==, 123456789);
    }
}

/* Of the largest files fewer wait than there are places. */
static void test_large_files_are_complete(void)
{
    if (!need_root())
        return;
    g_auto(Files) files;
    g_autoptr(GError) error = NULL;
    files_open(&files);
    g_autofree char *text = g_strnfill(GP_FINISHER_SIZE, 'x');
    for (guint i = 0; i < 100; i++) {
        g_autofree char *name = g_strdup_printf("file%u", i);
        text[i] = 'y';
        g_assert_true(put_file(&files, name, 0644, text, &error));
    }
    g_assert_true(gp_finisher_drain(files.finisher, &error));
    for (guint i = 100; i-- > 0;) {
        g_autofree char *name = g_strdup_printf("file%u", i);
        g_autoptr(GBytes) content = slurp(files.layer.root, name);
        g_assert_cmpmem(g_bytes_get_data(content, NULL), g_bytes_get_size(content), text, GP_FINISHER_SIZE);
        text[i] = 'x';
    }
}

/* The first failure is told, at the next file or at the end; nothing is linked behind it. */
static void test_failure_is_told(void)
{
    if (!need_root())
        return;
    g_auto(Files) files;
    g_autoptr(GError) error = NULL;
    files_open(&files);
    shell(files.layer.directory, "rmdir repo/objects; touch repo/objects");
    gp_close_fd(&files.layer.objects_fd);
    gp_finisher_free(files.finisher);
    files.disk.finisher = files.finisher = gp_finisher_new(&files.disk, files.layer.root_fd);
    shell(files.layer.directory,
        "for i in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do for j in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do "
        "touch root/$i$j; done; done");
    gboolean ok = put_file(&files, "one", 0644, "1", &error);
    g_assert_true(ok && !gp_finisher_drain(files.finisher, &error));
    assert_refused(error, GP_ERROR_INTERNAL, "store: ");
    g_clear_error(&error);
    g_assert_true(gp_finisher_drain(files.finisher, &error));
}

/* Freed in the middle of its work, as when a layer is refused. */
static void test_freed_with_files_left(void)
{
    if (!need_root())
        return;
    g_auto(Files) files;
    g_autoptr(GError) error = NULL;
    files_open(&files);
    for (guint i = 0; i < 40; i++) {
        g_autofree char *name = g_strdup_printf("file%u", i);
        g_assert_true(put_file(&files, name, 0644, name, &error));
    }
}

/* ---- the writer waits for it where it must */

static void add_small(GByteArray *frames, const char *name, const char *text)
{
    GpEntry entry = {.path = (char *) (guintptr) name, .mode = S_IFREG | 0644, .size = strlen(text)};
    add_entry(frames, &entry);
    if (*text)
        add_data(frames, 0, text);
}

static void test_replaced_and_linked_at_once(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    for (guint i = 0; i < 200; i++) {
        g_autofree char *text = g_strdup_printf("text %u", i);
        g_autofree char *name = g_strdup_printf("name%u", i);
        g_autofree char *link = g_strdup_printf("link%u", i);
        char same[] = "same";
        add_small(frames, "same", text);
        add_small(frames, name, text);
        GpEntry hard = {.path = link, .hardlink = TRUE, .link_target = i % 2 ? name : same};
        add_entry(frames, &hard);
    }
    add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    g_assert_no_error(layer.error);
    for (guint i = 0; i < 200; i++) {
        g_autofree char *text = g_strdup_printf("text %u", i);
        g_autofree char *link = g_strdup_printf("link%u", i);
        g_autoptr(GBytes) content = slurp(layer.root, link);
        g_assert_cmpmem(g_bytes_get_data(content, NULL), g_bytes_get_size(content), text, strlen(text));
    }
    g_assert_cmpuint(gp_layer_tree_find(layer.tree, "same")->inode->references, ==, 1);
}

/* Small files whose content has gaps in front, between and behind. */
static void test_holes_in_small_files(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GByteArray) frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    char front[] = "front", middle[] = "middle", behind[] = "behind", all[] = "all";
    const struct {
        char *name;
        guint64 at;
    } cases[] = {{front, 3}, {middle, 4}, {behind, 0}, {all, G_MAXUINT64}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        GpEntry entry = {.path = cases[i].name, .mode = S_IFREG | 0644, .size = 8};
        add_entry(frames, &entry);
        if (cases[i].at == 4)
            add_data(frames, 0, "xy");
        if (cases[i].at != G_MAXUINT64)
            add_data(frames, cases[i].at, "abcd");
    }
    add_end(frames);
    layer_write_frames(&layer, frames, &generous);
    g_assert_no_error(layer.error);
    static const char *const contents[] = {"\0\0\0abcd\0", "xy\0\0abcd", "abcd\0\0\0\0", "\0\0\0\0\0\0\0\0"};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GBytes) content = slurp(layer.root, cases[i].name);
        g_assert_cmpmem(g_bytes_get_data(content, NULL), g_bytes_get_size(content), contents[i], 8);
        GpDigest digest = {.algorithm = GP_DIGEST_SHA256}, expected;
        memcpy(digest.bytes, gp_layer_tree_find(layer.tree, cases[i].name)->inode->object, 32);
        g_autoptr(GpHasher) hasher = gp_object_hasher_new(0, 0, S_IFREG | 0644, NULL, NULL);
        gp_hasher_update(hasher, contents[i], 8);
        gp_hasher_finish(hasher, &expected);
        g_assert_true(gp_digest_equal(&digest, &expected));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/finisher/files-are-complete", test_files_are_complete);
    g_test_add_func("/storage/finisher/large-files-are-complete", test_large_files_are_complete);
    g_test_add_func("/storage/finisher/failure-is-told", test_failure_is_told);
    g_test_add_func("/storage/finisher/freed-with-files-left", test_freed_with_files_left);
    g_test_add_func("/storage/finisher/replaced-and-linked-at-once", test_replaced_and_linked_at_once);
    g_test_add_func("/storage/finisher/holes-in-small-files", test_holes_in_small_files);
    return g_test_run();
}
