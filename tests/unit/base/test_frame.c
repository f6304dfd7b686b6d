#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"

#define LARGEST 1000

/* A pipe whose write end has been filled with @length bytes and closed. */
static int pipe_with(const void *data, gsize length)
{
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    g_assert_true(gp_write_all(fds[1], data, length, NULL));
    close(fds[1]);
    return fds[0];
}

static void frames_come_back_in_order(void)
{
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    g_autofree guint8 *big = g_malloc0(LARGEST);
    big[LARGEST - 1] = 7;
    g_assert_true(gp_frame_write(fds[1], 5, "hello", 5, NULL));
    g_assert_true(gp_frame_write(fds[1], 6, NULL, 0, NULL));
    g_assert_true(gp_frame_write(fds[1], 7, big, LARGEST, NULL));
    close(fds[1]);

    GP_AUTOFD int fd = fds[0];
    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(fd, LARGEST);
    guint32 type;
    const guint8 *payload;
    gsize length;
    g_assert_true(gp_frame_reader_next(reader, &type, &payload, &length, NULL));
    g_assert_cmpuint(type, ==, 5);
    g_assert_cmpmem(payload, length, "hello", 5);
    g_assert_true(gp_frame_reader_next(reader, &type, &payload, &length, NULL));
    g_assert_cmpuint(type, ==, 6);
    g_assert_cmpuint(length, ==, 0);
    g_assert_true(gp_frame_reader_next(reader, &type, &payload, &length, NULL));
    g_assert_cmpmem(payload, length, big, LARGEST);
    g_assert_true(gp_frame_reader_next(reader, &type, &payload, &length, NULL));
    g_assert_cmpuint(type, ==, 0);
}

static void broken_frames_end_the_conversation(void)
{
    static const struct {
        guint8 bytes[12];
        gsize length;
        const char *reason;
    } rows[] = {
        {{1, 0, 0, 0}, 4, "inside a frame header"},
        {{1, 0, 0, 0, 5, 0, 0, 0, 'a'}, 9, "inside a frame"},
        {{0, 0, 0, 0, 0, 0, 0, 0}, 8, "type 0"},
        {{1, 0, 0, 0, 0xe9, 3, 0, 0}, 8, "with 1001 bytes"},
        {{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 8, "with 4294967295 bytes"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        GP_AUTOFD int fd = pipe_with(rows[i].bytes, rows[i].length);
        g_autoptr(GpFrameReader) reader = gp_frame_reader_new(fd, LARGEST);
        g_autoptr(GError) error = NULL;
        guint32 type;
        const guint8 *payload;
        gsize length;
        g_assert_false(gp_frame_reader_next(reader, &type, &payload, &length, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_SANDBOX);
        g_assert_nonnull(strstr(error->message, rows[i].reason));
    }
}

static void whole_frames_never_wait(void)
{
    int fds[2];
    g_assert_cmpint(pipe2(fds, O_NONBLOCK), ==, 0);
    GP_AUTOFD int from = fds[0];
    GP_AUTOFD int to = fds[1];
    g_autofree guint8 *payload = g_malloc0(LARGEST);
    guint written = 0;
    while (gp_frame_write_whole(to, 9, payload, LARGEST))
        written++;
    g_assert_cmpuint(written, >, 0);
    gp_close_fd(&to);

    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(from, LARGEST);
    const guint8 *read;
    guint32 type;
    gsize length;
    for (guint i = 0; i < written; i++) {
        g_assert_true(gp_frame_reader_next(reader, &type, &read, &length, NULL));
        g_assert_cmpuint(type, ==, 9);
        g_assert_cmpuint(length, ==, LARGEST);
    }
    g_assert_true(gp_frame_reader_next(reader, &type, &read, &length, NULL));
    g_assert_cmpuint(type, ==, 0); /* and no half of the one that found no room */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/frame/frames-come-back-in-order", frames_come_back_in_order);
    g_test_add_func("/base/frame/broken-frames-end-the-conversation", broken_frames_end_the_conversation);
    g_test_add_func("/base/frame/whole-frames-never-wait", whole_frames_never_wait);
    return g_test_run();
}
