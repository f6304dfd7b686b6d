/* What the tests of the unpack worker and of the layer writer share: a scratch repository, tars made by Python or GNU
 * tar, the way from a blob to a layer without processes, and a picture of a directory tree that two trees can be
 * compared by. */
#pragma once

#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <dirent.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/entry.h"
#include "storage/layer_writer.h"
#include "storage/worker_output.h"
#include "storage/worker_stream.h"
#include "storage/worker_tar.h"

#pragma GCC diagnostic ignored "-Wunused-function"

typedef struct {
    char *directory; /* scratch; "repo" is a bare repository, "root" the layer */
    char *root;
    int root_fd, objects_fd;
    GpLayerTree *tree;
    GpDigest diff_id;
    GError *error;
    int alive; /* closed when this process ends, however it ends: then the scratch directory goes */
    pid_t sweeper;
} Layer;

static char *shell_output(const char *directory, const char *script, ...) G_GNUC_PRINTF(2, 3);

/* Runs @script under sh -e in @directory and gives its standard output back; the test ends if it fails. */
static char *shell_output(const char *directory, const char *script, ...)
{
    va_list arguments;
    va_start(arguments, script);
    g_autofree char *text = g_strdup_vprintf(script, arguments);
    va_end(arguments);
    const char *argv[] = {"sh", "-ec", text, NULL};
    char *output = NULL;
    g_autofree char *problems = NULL;
    g_autoptr(GError) error = NULL;
    int status = 0;
    g_spawn_sync(directory, (char **) (guintptr) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &problems,
        &status, &error);
    g_assert_no_error(error);
    if (status != 0)
        g_error("%s\nfailed: %s", text, problems);
    return output;
}

#define shell(...) g_free(shell_output(__VA_ARGS__))

/* As root only: owners, devices and trusted xattrs are the point. */
static gboolean need_root(void)
{
    if (geteuid() == 0)
        return TRUE;
    g_test_skip("needs root");
    return FALSE;
}

/* A failed assertion aborts: a child waits for our end and removes the directory. */
static void start_sweeper(Layer *layer)
{
    int ends[2];
    char byte;
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    layer->sweeper = fork();
    if (layer->sweeper == 0) {
        close(ends[1]);
        (void) !read(ends[0], &byte, 1);
        (void) gp_remove_tree(AT_FDCWD, layer->directory, NULL);
        _exit(0);
    }
    close(ends[0]);
    layer->alive = ends[1];
}

static void layer_open(Layer *layer)
{
    *layer = (Layer){0};
    layer->directory = g_dir_make_tmp("gp-layer-XXXXXX", NULL);
    g_assert_nonnull(layer->directory);
    start_sweeper(layer);
    layer->root = g_build_filename(layer->directory, "root", NULL);
    g_autofree char *objects = g_build_filename(layer->directory, "repo", "objects", NULL);
    g_assert_cmpint(g_mkdir(layer->root, 0755), ==, 0);
    g_assert_cmpint(g_mkdir_with_parents(objects, 0755), ==, 0);
    layer->root_fd = open(layer->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    layer->objects_fd = open(objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(layer->root_fd, >=, 0);
    g_assert_cmpint(layer->objects_fd, >=, 0);
}

static void layer_close(Layer *layer)
{
    gp_close_fd(&layer->root_fd);
    gp_close_fd(&layer->objects_fd);
    gp_layer_tree_free(layer->tree);
    g_clear_error(&layer->error);
    gp_close_fd(&layer->alive);
    waitpid(layer->sweeper, NULL, 0);
    g_assert_cmpint(g_access(layer->directory, F_OK), !=, 0);
    g_free(layer->directory);
    g_free(layer->root);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Layer, layer_close)

static GBytes *slurp(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    char *data;
    gsize size;
    g_autoptr(GError) error = NULL;
    g_file_get_contents(path, &data, &size, &error);
    g_assert_no_error(error);
    return g_bytes_new_take(data, size);
}

static int memory_fd(GBytes *content)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    if (content) {
        gsize size;
        const void *data = g_bytes_get_data(content, &size);
        g_assert_true(gp_write_all(fd, data, size, NULL));
        lseek(fd, 0, SEEK_SET);
    }
    return fd;
}

/* What the worker does between its sandbox and its end: frames of @blob, READY first. */
static int unpack_frames(GBytes *blob, GpCompression compression, GError **error)
{
    GP_AUTOFD int in = memory_fd(blob);
    GP_AUTOFD int out = memory_fd(NULL);
    g_autoptr(GpUnpackStream) stream = gp_unpack_stream_new(in, compression);
    g_autoptr(GpUnpackOutput) output = gp_unpack_output_new(out);
    g_assert_true(gp_unpack_output_frame(output, GP_UNPACK_READY, NULL, 0, NULL));
    if (!gp_unpack_tar(stream, output, error))
        return -1;
    lseek(out, 0, SEEK_SET);
    return gp_steal_fd(&out);
}

static const GpLayerTarget generous = {.max_bytes = GP_LIMIT_LAYER_BYTES, .max_entries = GP_LIMIT_LAYER_ENTRIES};

static void layer_write(Layer *layer, int frames_fd, const GpLayerTarget *limits)
{
    GpLayerTarget target = *limits;
    target.root_fd = layer->root_fd;
    target.objects_fd = layer->objects_fd;
    layer->tree = gp_layer_write(frames_fd, &target, NULL, &layer->diff_id, &layer->error);
    g_assert_true((layer->tree == NULL) == (layer->error != NULL));
}

/* A blob all the way to a layer; what fails is in layer->error. */
static void layer_unpack(Layer *layer, GBytes *blob, GpCompression compression)
{
    GP_AUTOFD int frames = unpack_frames(blob, compression, &layer->error);
    if (frames >= 0)
        layer_write(layer, frames, &generous);
}

static void assert_refused(const GError *error, GpErrorCode code, const char *reason)
{
    g_assert_nonnull(error);
    if (!strstr(error->message, reason))
        g_error("expected \"%s\", got \"%s\"", reason, error->message);
    g_assert_error(error, GP_ERROR, (gint) code);
}

/* Frames made by hand. */
static void add_frame(GByteArray *frames, guint32 type, const void *payload, gsize length)
{
    guint32 header[2] = {GUINT32_TO_LE(type), GUINT32_TO_LE((guint32) length)};
    g_byte_array_append(frames, (const guint8 *) header, sizeof header);
    if (length)
        g_byte_array_append(frames, payload, (guint) length);
}

static void add_entry(GByteArray *frames, const GpEntry *entry)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) wire = gp_entry_encode(entry, &error);
    g_assert_no_error(error);
    add_frame(frames, GP_UNPACK_ENTRY, g_bytes_get_data(wire, NULL), g_bytes_get_size(wire));
}

static void add_data(GByteArray *frames, guint64 offset, const char *text)
{
    g_autoptr(GByteArray) payload = g_byte_array_new();
    guint64 little = GUINT64_TO_LE(offset);
    g_byte_array_append(payload, (const guint8 *) &little, sizeof little);
    g_byte_array_append(payload, (const guint8 *) text, (guint) strlen(text));
    add_frame(frames, GP_UNPACK_DATA, payload->data, payload->len);
}

static void add_end(GByteArray *frames)
{
    static const char end[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                              "\0\0\0\0\0\0\0\0";
    add_frame(frames, GP_UNPACK_END, end, sizeof end - 1);
}

static void layer_write_frames(Layer *layer, const GByteArray *frames, const GpLayerTarget *limits)
{
    g_autoptr(GBytes) bytes = g_bytes_new(frames->data, frames->len);
    GP_AUTOFD int fd = memory_fd(bytes);
    layer_write(layer, fd, limits);
}

/* ---- a directory tree as text, a line a name */

typedef struct {
    const char *top;
    GHashTable *first_names; /* inode number to the name that stands for its group of links */
    GPtrArray *lines;
} Picture;

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static void picture_xattrs(const char *path, GString *line)
{
    char names[65536];
    ssize_t size = llistxattr(path, names, sizeof names);
    g_autoptr(GPtrArray) sorted = g_ptr_array_new_with_free_func(g_free);
    for (ssize_t at = 0; at < size; at += (ssize_t) strlen(names + at) + 1)
        g_ptr_array_add(sorted, g_strdup(names + at));
    g_ptr_array_sort(sorted, compare_names);
    for (guint i = 0; i < sorted->len; i++) {
        char *name = sorted->pdata[i];
        char value[65536];
        ssize_t length = lgetxattr(path, name, value, sizeof value);
        g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_MD5, (guchar *) value, (gsize) MAX(length, 0));
        g_string_append_printf(line, " %s=%zd:%.8s", name, length, sum);
    }
}

static void picture_of(Picture *picture, const char *relative)
{
    g_autofree char *path = g_build_filename(picture->top, relative, NULL);
    struct stat st;
    g_assert_cmpint(lstat(path, &st), ==, 0);
    GString *line = g_string_new(*relative ? relative : ".");
    g_string_append_printf(line, " %o %u:%u %" G_GINT64_FORMAT ".%09ld", st.st_mode, st.st_uid, st.st_gid,
        (gint64) st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    g_ptr_array_add(picture->lines, line);
    picture_xattrs(path, line);
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
        g_string_append_printf(line, " dev %u:%u", major(st.st_rdev), minor(st.st_rdev));
    if (!S_ISDIR(st.st_mode)) {
        gpointer key = GSIZE_TO_POINTER((gsize) st.st_ino);
        if (!g_hash_table_contains(picture->first_names, key))
            g_hash_table_insert(picture->first_names, key, g_strdup(relative));
        g_string_append_printf(line, " links as %s", (char *) g_hash_table_lookup(picture->first_names, key));
    }
    if (S_ISLNK(st.st_mode)) {
        char target[4097] = "";
        ssize_t length = readlink(path, target, sizeof target - 1);
        g_string_append_printf(line, " -> %.*s", (int) length, target);
    }
    if (S_ISREG(st.st_mode)) {
        g_autoptr(GBytes) content = slurp(picture->top, relative);
        g_autofree char *sum = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, content);
        g_string_append_printf(line, " %" G_GSIZE_FORMAT " %.16s", g_bytes_get_size(content), sum);
    }
    if (!S_ISDIR(st.st_mode))
        return;
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    DIR *directory = opendir(path);
    g_assert_nonnull(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            g_ptr_array_add(
                names, *relative ? g_strdup_printf("%s/%s", relative, entry->d_name) : g_strdup(entry->d_name));
    closedir(directory);
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++)
        picture_of(picture, names->pdata[i]);
}

static void free_line(gpointer line)
{
    g_string_free(line, TRUE);
}

/* Every name below @top with all that stat, xattrs and content say; inode numbers only as "links as FIRST NAME". */
static GPtrArray *picture_new(const char *top)
{
    Picture picture = {.top = top, .lines = g_ptr_array_new_with_free_func(free_line)};
    picture.first_names = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    picture_of(&picture, "");
    g_hash_table_unref(picture.first_names);
    return picture.lines;
}

static void assert_same_trees(const char *expected, const char *actual)
{
    g_autoptr(GPtrArray) a = picture_new(expected);
    g_autoptr(GPtrArray) b = picture_new(actual);
    for (guint i = 0; i < MIN(a->len, b->len); i++)
        g_assert_cmpstr(((GString *) a->pdata[i])->str, ==, ((GString *) b->pdata[i])->str);
    g_assert_cmpuint(a->len, ==, b->len);
}

/* Does @name of the layer exist, and as what? 0 when it does not. */
static mode_t mode_of(const Layer *layer, const char *name)
{
    struct stat st;
    return fstatat(layer->root_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mode : 0;
}

static gboolean is_whiteout(const Layer *layer, const char *name)
{
    struct stat st;
    return fstatat(layer->root_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

static gboolean is_opaque(const Layer *layer, const char *name)
{
    g_autofree char *path = g_build_filename(layer->root, name, NULL);
    char value[8];
    return lgetxattr(path, "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y';
}
