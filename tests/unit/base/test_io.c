#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

typedef struct {
    char *path;
    int fd;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->path = g_dir_make_tmp("gp-io-XXXXXX", NULL);
    fixture->fd = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(fixture->fd, >=, 0);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    close(fixture->fd);
    g_assert_true(gp_remove_tree(AT_FDCWD, fixture->path, NULL));
    g_assert_false(g_file_test(fixture->path, G_FILE_TEST_EXISTS));
    g_free(fixture->path);
}

static void make_file(const Fixture *fixture, const char *name, gsize size)
{
    GP_AUTOFD int fd = openat(fixture->fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    g_autofree char *data = g_malloc0(size + 1);
    g_assert_true(gp_write_all(fd, data, size, NULL));
}

static void files_are_read_up_to_their_limit(Fixture *fixture, gconstpointer unused)
{
    make_file(fixture, "f", 50000);
    g_autoptr(GBytes) all = gp_read_file(fixture->fd, "f", 50000, "thing", NULL);
    g_assert_cmpuint(g_bytes_get_size(all), ==, 50000);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_read_file(fixture->fd, "f", 49999, "thing", &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
    g_assert_nonnull(strstr(error->message, "thing: more than 49999"));
}

static void only_regular_files_are_opened(Fixture *fixture, gconstpointer unused)
{
    make_file(fixture, "f", 1);
    g_assert_cmpint(symlinkat("f", fixture->fd, "link"), ==, 0);
    g_assert_cmpint(mkfifoat(fixture->fd, "fifo", 0600), ==, 0);
    static const struct {
        const char *name, *reason;
        int code;
    } rows[] = {{"absent", "no such file", GP_ERROR_NOT_FOUND}, {"link", "symbolic link", GP_ERROR_INVALID},
        {"fifo", "not a regular file", GP_ERROR_INVALID}, {".", "not a regular file", GP_ERROR_INVALID}};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(gp_open_regular(fixture->fd, rows[i].name, &error), ==, -1);
        g_assert_error(error, GP_ERROR, rows[i].code);
        g_assert_nonnull(strstr(error->message, rows[i].reason));
    }
}

/* Links are removed, not followed, and a directory without any permission is no obstacle. */
static void trees_are_removed_without_following_links(Fixture *fixture, gconstpointer unused)
{
    make_file(fixture, "canary", 1);
    g_assert_cmpint(mkdirat(fixture->fd, "tree", 0700), ==, 0);
    g_assert_cmpint(mkdirat(fixture->fd, "tree/sub", 0700), ==, 0);
    make_file(fixture, "tree/sub/f", 1);
    g_assert_cmpint(symlinkat("../canary", fixture->fd, "tree/l"), ==, 0);
    g_assert_cmpint(symlinkat("..", fixture->fd, "tree/up"), ==, 0);
    g_assert_cmpint(fchmodat(fixture->fd, "tree/sub", 0, 0), ==, 0);
    g_assert_true(gp_remove_tree(fixture->fd, "tree", NULL));
    struct stat st;
    g_assert_cmpint(fstatat(fixture->fd, "tree", &st, 0), ==, -1);
    g_assert_cmpint(fstatat(fixture->fd, "canary", &st, 0), ==, 0);
    g_assert_true(gp_remove_tree(fixture->fd, "tree", NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/base/io/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("files-are-read-up-to-their-limit", files_are_read_up_to_their_limit);
    ADD("only-regular-files-are-opened", only_regular_files_are_opened);
    ADD("trees-are-removed-without-following-links", trees_are_removed_without_following_links);
    return g_test_run();
}
