/* What the tests of the store share: a scratch store, layers written by the real layer writer from entries made by
 * hand, and images over them. */
#pragma once

#include <ftw.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "storage/store.h"
#include "tests/unit/storage/layer_fixture.h"

typedef struct {
    char *directory; /* scratch */
    char *path;      /* of the store */
    GpStore *store;  /* open for writing, or NULL */
    int alive;       /* closed when this process ends, however it ends: then the scratch directory goes */
    pid_t sweeper;
} Fixture;

/* What a failed test has left mounted below @directory. */
static void unmount_below(const char *directory)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    for (char **line = lines; *line && **line; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", 6);
        g_autofree char *place = g_strcompress(words[4]); /* blanks and the like are octal */
        if (g_str_has_prefix(place, directory))
            (void) umount2(place, MNT_DETACH);
    }
}

static void sweep_at_the_end(Fixture *f)
{
    int ends[2];
    char byte;
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    f->sweeper = fork();
    if (f->sweeper == 0) {
        setsid(); /* what ends the test's process group is not for us */
        close(ends[1]);
        (void) !read(ends[0], &byte, 1);
        unmount_below(f->directory);
        /* Other children may need a moment to die. */
        for (int i = 0; i < 50 && !gp_remove_tree(AT_FDCWD, f->directory, NULL); i++)
            g_usleep(100000);
        _exit(0);
    }
    close(ends[0]);
    f->alive = ends[1];
}

static GpStore *open_store(const Fixture *f, GpStoreMode mode)
{
    g_autoptr(GError) error = NULL;
    GpStore *store = gp_store_open(f->path, mode, TRUE, &error);
    g_assert_no_error(error);
    g_assert_nonnull(store);
    return store;
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->directory = g_dir_make_tmp("gp-store-XXXXXX", NULL);
    g_assert_nonnull(f->directory);
    f->path = g_build_filename(f->directory, "store", NULL);
    sweep_at_the_end(f);
    f->store = open_store(f, GP_STORE_WRITE);
}

static void close_store(Fixture *f)
{
    g_clear_pointer(&f->store, gp_store_free);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    close_store(f);
    gp_close_fd(&f->alive);
    waitpid(f->sweeper, NULL, 0);
    g_assert_cmpint(g_access(f->directory, F_OK), !=, 0);
    g_free(f->directory);
    g_free(f->path);
}

/* Forks; the child has none of our descriptors but the write end of a pipe whose read end is *@ready, and dies with us.
 * Locks belong to what a fork shares: a child that kept them would be a part of this process. */
static pid_t fork_child(int *ready, int *say)
{
    int ends[2];
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    pid_t child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (ends[1] > 3)
            close_range(3, (unsigned) ends[1] - 1, 0);
        close_range((unsigned) ends[1] + 1, ~0U, 0);
        *say = ends[1];
        return 0;
    }
    close(ends[1]);
    *ready = ends[0];
    return child;
}

/* Waits until the child has said something, and closes @ready. */
static void wait_ready(int *ready)
{
    char byte;
    g_assert_cmpint(read(*ready, &byte, 1), ==, 1);
    gp_close_fd(ready);
}

static void say_ready(int say)
{
    g_assert_cmpint(write(say, "x", 1), ==, 1);
}

static void kill_child(pid_t child)
{
    kill(child, SIGKILL);
    g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
}

static void reap_child(pid_t child)
{
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
}

/* ---- layers */

typedef struct {
    GpEntry entry;
    const char *content;
} Item;

#define TEXT(literal) ((char *) (guintptr) (literal)) /* entries own their strings, these do not */
#define DIRECTORY(p, m, ...)                                                                                           \
    {                                                                                                                  \
        .entry = {.path = TEXT(p), .mode = S_IFDIR | (m), __VA_ARGS__ }                                                \
    }
#define REGULAR(p, m, text, ...)                                                                                       \
    {                                                                                                                  \
        .entry = {.path = TEXT(p), .mode = S_IFREG | (m), .size = sizeof(text) - 1, __VA_ARGS__}, .content = (text)    \
    }
#define SYMLINK(p, target)                                                                                             \
    {                                                                                                                  \
        .entry = {.path = TEXT(p), .mode = S_IFLNK | 0777, .link_target = TEXT(target) }                               \
    }
#define HARD_LINK(p, target)                                                                                           \
    {                                                                                                                  \
        .entry = {.path = TEXT(p), .mode = S_IFREG, .hardlink = TRUE, .link_target = TEXT(target) }                    \
    }
#define DEVICE(p, m, major_number, minor_number)                                                                       \
    {                                                                                                                  \
        .entry = {.path = TEXT(p), .mode = (m), .rdev_major = (major_number), .rdev_minor = (minor_number) }           \
    }

/* Everything that a layer can hold. The xattrs are added by rich_frames(). */
static const Item rich_items[] = {
    DIRECTORY("", 0751, .uid = 3, .gid = 4, .mtime = {1600000000, 1}),
    DIRECTORY("bin", 0755, .mtime = {1600000001, 999999999}),
    REGULAR("bin/su", 04755, "#!/bin/sh\n", .uid = 1000, .gid = 1001, .mtime = {1600000002, 123456789}),
    REGULAR("bin/ping", 0755, "ping", .mtime = {-5, 7}),
    HARD_LINK("bin/also-su", "bin/su"),
    REGULAR("same-1", 0644, "the same content", .mtime = {1, 0}),
    REGULAR("same-2", 0644, "the same content", .mtime = {2, 0}),
    REGULAR("empty", 0600, ""),
    SYMLINK("link", "bin/su"),
    SYMLINK("dangling", "/no where/caf\xe9"),
    DIRECTORY("dev", 0755),
    DEVICE("dev/null", S_IFCHR | 0666, 1, 3),
    DEVICE("dev/sda", S_IFBLK | 0660, 8, 0),
    DEVICE("dev/fifo", S_IFIFO | 0640, 0, 0),
    REGULAR("caf\xe9", 0644, "behind a name that is not UTF-8"),
    DIRECTORY("\xff", 0700),
    REGULAR("\xff/inside", 0644, "below a directory that is not UTF-8"),
    REGULAR("%ff", 0644, "a file with the other one's escaped name"),
    REGULAR("implied/only/file", 0644, "its directories have no entries"),
    REGULAR("etc/.wh.gone", 0, ""),
    REGULAR("opt/.wh..wh..opq", 0, ""),
    REGULAR("opt/new\nline and space", 0644, "opaque"),
};

static void add_item(GByteArray *frames, const Item *item, GArray *xattrs)
{
    GpEntry entry = item->entry;
    entry.xattrs = xattrs;
    add_entry(frames, &entry);
    if (item->content && *item->content)
        add_data(frames, 0, item->content);
}

static GByteArray *rich_frames(void)
{
    static const guint8 capability[20] = {1, 0, 0, 2, 0, 0x20}; /* cap_net_raw+ep, permitted */
    GByteArray *frames = g_byte_array_new();
    g_autoptr(GArray) ping = gp_xattrs_new();
    g_autoptr(GArray) directory = gp_xattrs_new();
    gp_xattrs_add(ping, "security.capability", capability, sizeof capability);
    gp_xattrs_add(ping, "user.note", "a=b\0c", 5);
    gp_xattrs_add(directory, "user.on-directory", "yes", 3);
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(rich_items); i++) {
        const char *path = rich_items[i].entry.path;
        add_item(frames, &rich_items[i],
            g_str_equal(path, "bin/ping") ? ping
            : g_str_equal(path, "dev")    ? directory
                                          : NULL);
    }
    add_end(frames);
    return frames;
}

/* One file "name" with @text. */
static GByteArray *simple_frames(const char *text)
{
    GByteArray *frames = g_byte_array_new();
    Item item = {.entry = {.path = TEXT("name"), .mode = S_IFREG | 0644, .size = strlen(text)}, .content = text};
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_item(frames, &item, NULL);
    add_end(frames);
    return frames;
}

static GpDigest digest_of(const char *text)
{
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, text, strlen(text), &digest);
    return digest;
}

/* Writes @frames into @staging and completes it; the diffID is that of add_end(). */
static void fill_staging(GpStore *store, GpStaging *staging, const GByteArray *frames, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new(frames->data, frames->len);
    GP_AUTOFD int fd = memory_fd(bytes);
    GpDigest diff_id;
    GpLayerTarget target = generous;
    target.root_fd = gp_staging_root_fd(staging);
    target.objects_fd = gp_store_objects_fd(store);
    GpLayerTree *tree = gp_layer_write(fd, &target, NULL, &diff_id, error);
    if (tree)
        gp_staging_complete(staging, tree, &diff_id, 4711);
}

static GpStaging *begin(GpStore *store, const GpDigest *blob)
{
    g_autoptr(GError) error = NULL;
    gboolean already = TRUE;
    GpStaging *staging = gp_store_begin_layer(store, blob, &already, &error);
    g_assert_no_error(error);
    g_assert_false(already);
    g_assert_nonnull(staging);
    return staging;
}

static GpStaging *stage(GpStore *store, const GpDigest *blob, GByteArray *frames)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) owned = frames;
    GpStaging *staging = begin(store, blob);
    fill_staging(store, staging, owned, &error);
    g_assert_no_error(error);
    return staging;
}

/* ---- images */

/* Unless its layers are given, the image names none. */
static GpStoredImage *image_new(const char *reference, const GpDigest *layers, guint n_layers, gint64 pulled)
{
    GpStoredImage *image = g_new0(GpStoredImage, 1);
    g_autofree char *config = g_strdup_printf("{\"config of\":\"%s\"}", reference);
    GpDigest config_digest = digest_of(config);
    g_autofree char *digest = gp_digest_to_string(&config_digest);
    g_autofree char *manifest = g_strdup_printf("{\"config\":{\"digest\":\"%s\"}}", digest);
    image->reference = g_strdup(reference);
    image->manifest_digest = digest_of(manifest);
    image->manifest = g_bytes_new(manifest, strlen(manifest));
    image->config = g_bytes_new(config, strlen(config));
    image->layers = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    if (n_layers)
        g_array_append_vals(image->layers, layers, n_layers);
    image->pulled = pulled;
    return image;
}

static gboolean commit(GpStore *store, GpStaging *staging, const GpStoredImage *image, GError **error)
{
    g_autoptr(GPtrArray) stagings = g_ptr_array_new();
    if (staging)
        g_ptr_array_add(stagings, staging);
    return gp_store_commit(store, stagings, image, error);
}

static void commit_ok(GpStore *store, GpStaging *staging, const GpStoredImage *image)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(commit(store, staging, image, &error) || error);
    g_assert_no_error(error);
}

/* A layer committed: of @text, or the rich one for NULL. */
static GpDigest put_layer(GpStore *store, const char *text)
{
    GpDigest blob = digest_of(text ? text : "rich");
    g_autoptr(GpStaging) staging = stage(store, &blob, text ? simple_frames(text) : rich_frames());
    commit_ok(store, staging, NULL);
    return blob;
}

static GpDigest put_image(GpStore *store, const char *reference, const GpDigest *layers, guint n_layers)
{
    g_autoptr(GpStoredImage) image = image_new(reference, layers, n_layers, 1700000000);
    commit_ok(store, NULL, image);
    return image->manifest_digest;
}

/* ---- looking */

static guint count_names(const Fixture *f, const char *folder)
{
    g_autofree char *path = g_build_filename(f->path, folder, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint count = 0;
    g_assert_nonnull(dir);
    while (g_dir_read_name(dir))
        count++;
    return count;
}

static guint files_counted;
static int count_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    files_counted += type != FTW_D;
    return 0;
}

static guint count_objects(const Fixture *f)
{
    g_autofree char *path = g_build_filename(f->path, "repo", "objects", NULL);
    files_counted = 0;
    g_assert_cmpint(nftw(path, count_file, 16, FTW_PHYS), ==, 0);
    return files_counted;
}

/* Our fsck's findings, a line each; "" when there are none. */
static char *findings(GpStore *store)
{
    g_autoptr(GpFsckReport) report = gp_fsck_report_new();
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_store_fsck(store, report, &error) || error);
    g_assert_no_error(error);
    g_assert_cmpint(report->problems->len > 0, ==, report->layers->len + report->images->len > 0);
    g_ptr_array_add(report->problems, NULL);
    return g_strjoinv("\n", (char **) report->problems->pdata);
}

/* Ours and libostree's. */
static void assert_clean(const Fixture *f)
{
    g_autoptr(GpStore) store = open_store(f, GP_STORE_READ);
    g_autofree char *lines = findings(store);
    g_assert_cmpstr(lines, ==, "");
    shell(f->path, "ostree fsck --quiet --repo=repo >/dev/null");
}

/* Owners, devices and trusted xattrs need root. */
static gboolean need_root_for_all(void)
{
    if (geteuid() == 0)
        return TRUE;
    g_print("1..1\nok 1 /storage # SKIP needs root\n");
    return FALSE;
}
