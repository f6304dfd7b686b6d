#include "storage/arena.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

#define PIECE 4096
#define PIECES (32 * 1024 * 1024 / PIECE)

/* What this process has in memory, in KiB. */
static guint64 resident(void)
{
    g_autofree char *status = NULL;
    g_assert_true(g_file_get_contents("/proc/self/status", &status, NULL, NULL));
    const char *line = strstr(status, "\nVmRSS:");
    return g_ascii_strtoull(line + strlen("\nVmRSS:"), NULL, 10);
}

static void test_pieces(void)
{
    GpArena *arena = gp_arena_new(-1);
    for (gsize size = 1; size <= GP_ARENA_LARGEST; size = size * 3 + 1) {
        guint32 ref;
        guint8 *piece = gp_arena_alloc(arena, size, &ref);
        g_assert_cmpuint((guintptr) piece % 8, ==, 0);
        for (gsize i = 0; i < size; i++)
            g_assert_cmpuint(piece[i], ==, 0);
        memset(piece, 0xff, size);
        g_assert_true(gp_arena_at(arena, ref) == piece);
    }
    gp_arena_free(arena);
}

/* 32 MiB of pieces that know their number. */
static GpArena *fill(int directory_fd, guint32 *refs)
{
    GpArena *arena = gp_arena_new(directory_fd);
    for (guint32 i = 0; i < PIECES; i++)
        *(guint32 *) gp_arena_alloc(arena, PIECE, &refs[i]) = i;
    return arena;
}

static void assert_kept(GpArena *arena, const guint32 *refs)
{
    for (guint32 i = 0; i < PIECES; i++)
        g_assert_cmpuint(*(guint32 *) gp_arena_at(arena, refs[i]), ==, i);
}

static void test_without_a_file(void)
{
    g_autofree guint32 *refs = g_new(guint32, PIECES);
    GpArena *arena = fill(-1, refs);
    gp_arena_rest(arena);
    assert_kept(arena, refs);
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_arena_check(arena, &error));
    gp_arena_free(arena);
}

/* Twice: what was in memory counts no more when it is freed. */
static void test_in_a_file(void)
{
    g_autofree char *directory = g_dir_make_tmp("gp-arena-XXXXXX", NULL);
    GP_AUTOFD int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autofree guint32 *refs = g_new(guint32, PIECES);
    for (guint round = 0; round < 2; round++) {
        guint64 before = resident();
        GpArena *arena = fill(fd, refs);
        gp_arena_rest(arena);
        g_assert_cmpuint(resident(), <, before + 8 * 1024);
        assert_kept(arena, refs);
        g_autoptr(GError) error = NULL;
        g_assert_true(gp_arena_check(arena, &error));
        g_assert_no_error(error);
        gp_arena_free(arena);
    }
    g_assert_cmpint(g_rmdir(directory), ==, 0); /* the file has no name */
}

/* The descriptor of the arena's file. */
static int find_file(const char *directory)
{
    for (int fd = 3; fd < 64; fd++) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
        g_autofree char *target = g_file_read_link(link, NULL);
        if (target && g_str_has_prefix(target, directory) && g_str_has_suffix(target, "(deleted)"))
            return fd;
    }
    return -1;
}

/* What the disk gives back no more: here because the file was cut under the arena's feet. */
static void test_disk_that_loses(void)
{
    g_autofree char *directory = g_dir_make_tmp("gp-arena-XXXXXX", NULL);
    pid_t child = fork();
    if (child == 0) {
        GP_AUTOFD int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_autofree guint32 *refs = g_new(guint32, PIECES);
        GpArena *arena = fill(fd, refs);
        gp_arena_rest(arena);
        if (ftruncate(find_file(directory), 0) == 0)
            assert_kept(arena, refs);
        _exit(0);
    }
    int status = 0;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, gp_error_info(GP_ERROR_DIGEST)->exit_status);
    g_assert_cmpint(g_rmdir(directory), ==, 0);
}

static gpointer rest_all_the_time(gpointer data)
{
    gpointer *shared = data;
    while (!g_atomic_int_get((gint *) shared[1]))
        gp_arena_rest(shared[0]);
    return NULL;
}

static void test_rest_in_another_thread(void)
{
    g_autofree char *directory = g_dir_make_tmp("gp-arena-XXXXXX", NULL);
    GP_AUTOFD int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autofree guint32 *refs = g_new(guint32, PIECES);
    GpArena *arena = fill(fd, refs);
    gint ended = 0;
    gpointer shared[] = {arena, &ended};
    GThread *thread = g_thread_new(NULL, rest_all_the_time, shared);
    for (guint32 i = 0; i < PIECES; i++)
        *(guint32 *) gp_arena_at(arena, refs[i]) = PIECES - i;
    for (guint32 i = 0; i < PIECES; i++)
        g_assert_cmpuint(*(guint32 *) gp_arena_at(arena, refs[i]), ==, PIECES - i);
    g_atomic_int_set(&ended, 1);
    g_thread_join(thread);
    gp_arena_free(arena);
    g_assert_cmpint(g_rmdir(directory), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/arena/pieces-are-zeros-and-have-references", test_pieces);
    g_test_add_func("/storage/arena/without-a-file-all-stays-in-memory", test_without_a_file);
    g_test_add_func("/storage/arena/most-lies-in-a-file-without-a-name", test_in_a_file);
    g_test_add_func("/storage/arena/disk-that-loses-what-it-has-ends-the-process", test_disk_that_loses);
    g_test_add_func("/storage/arena/pages-are-given-back-while-others-write", test_rest_in_another_thread);
    return g_test_run();
}
