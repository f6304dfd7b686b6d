/* Content that reaches the puller through shared memory: the same layer as through frames, and a worker that lies. */
#include "storage/shared_memory.h"

#include <fcntl.h>

#include "tests/unit/storage/layer_fixture.h"

typedef struct {
    GpSharedMemory *shared;
    GpSharedCount *count; /* as the worker maps it */
} Memory;

static void memory_open(Memory *memory)
{
    g_autoptr(GError) error = NULL;
    memory->shared = gp_shared_memory_new(&error);
    g_assert_no_error(error);
    memory->count = mmap(NULL, GP_SHARED_COUNT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
        gp_shared_memory_fd(memory->shared), GP_SHARED_SIZE);
    g_assert_true(memory->count != MAP_FAILED);
}

static void memory_close(Memory *memory)
{
    gp_shared_memory_free(memory->shared);
    munmap(memory->count, GP_SHARED_COUNT_SIZE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Memory, memory_close)

static void put(const Memory *memory, gsize at, const char *text)
{
    g_assert_cmpint(pwrite(gp_shared_memory_fd(memory->shared), text, strlen(text), (off_t) at), ==, strlen(text));
}

static void test_take_copies_and_counts(void)
{
    g_auto(Memory) memory;
    g_autoptr(GError) error = NULL;
    memory_open(&memory);
    put(&memory, GP_SHARED_SIZE - 5, "12345");
    const guint8 *taken = gp_shared_memory_take(memory.shared, GP_SHARED_SIZE - 5, 5, &error);
    g_assert_no_error(error);
    put(&memory, GP_SHARED_SIZE - 5, "54321");
    g_assert_cmpmem(taken, 5, "12345", 5);
    g_assert_cmpuint(memory.count->taken, ==, 1);
}

static const struct {
    const char *name;
    guint64 at, length;
} places[] = {
    {"nothing", 0, 0},
    {"more-than-a-slot", 0, GP_SHARED_SLOT + 1},
    {"one-byte-behind-the-end", GP_SHARED_SIZE - 4, 5},
    {"behind-the-end", GP_SHARED_SIZE, 1},
    {"far-away", G_MAXUINT32, G_MAXUINT32},
};

static void test_place_outside(gconstpointer row)
{
    g_auto(Memory) memory;
    g_autoptr(GError) error = NULL;
    memory_open(&memory);
    gsize i = GPOINTER_TO_SIZE(row);
    g_assert_null(gp_shared_memory_take(memory.shared, places[i].at, places[i].length, &error));
    assert_refused(error, GP_ERROR_SANDBOX, "outside of the shared memory");
}

/* The count that the puller goes by is its own. */
static void test_count_that_the_worker_changes(void)
{
    g_auto(Memory) memory;
    g_autoptr(GError) error = NULL;
    memory_open(&memory);
    memory.count->taken = 77;
    memory.count->waiting = G_MAXUINT32;
    for (guint32 i = 1; i <= 3; i++) {
        g_assert_nonnull(gp_shared_memory_take(memory.shared, 0, GP_SHARED_SLOT, &error));
        g_assert_cmpuint(memory.count->taken, ==, i);
    }
}

static void test_size_is_sealed(void)
{
    g_auto(Memory) memory;
    memory_open(&memory);
    int fd = gp_shared_memory_fd(memory.shared);
    g_assert_cmpint(ftruncate(fd, 0), ==, -1);
    g_assert_cmpint(ftruncate(fd, (off_t) 1 << 40), ==, -1);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), ==, -1);
}

/* ---- SHARED frames */

static void add_shared(GByteArray *frames, guint64 offset, guint32 at, guint32 length)
{
    guint32 payload[4] = {GUINT32_TO_LE((guint32) offset), GUINT32_TO_LE((guint32) (offset >> 32)), GUINT32_TO_LE(at),
        GUINT32_TO_LE(length)};
    add_frame(frames, GP_UNPACK_SHARED, payload, sizeof payload);
}

static GByteArray *frames_of_file(guint64 size)
{
    char name[] = "a";
    GpEntry entry = {.path = name, .mode = S_IFREG | 0644, .size = size};
    GByteArray *frames = g_byte_array_new();
    add_frame(frames, GP_UNPACK_READY, NULL, 0);
    add_entry(frames, &entry);
    return frames;
}

static void test_content_of_a_file(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    g_auto(Memory) memory;
    layer_open(&layer);
    memory_open(&memory);
    GpLayerTarget target = generous;
    target.shared = memory.shared;
    g_autoptr(GByteArray) frames = frames_of_file(10);
    put(&memory, 1000, "12345");
    add_shared(frames, 0, 1000, 5);
    add_data(frames, 5, "67");
    add_shared(frames, 7, 1001, 3);
    add_end(frames);
    layer_write_frames(&layer, frames, &target);
    g_assert_no_error(layer.error);
    g_autoptr(GBytes) content = slurp(layer.root, "a");
    g_assert_cmpmem(g_bytes_get_data(content, NULL), g_bytes_get_size(content), "1234567234", 10);
}

static void refuse_frames(GByteArray *frames, GpSharedMemory *shared, const char *reason)
{
    g_auto(Layer) layer;
    layer_open(&layer);
    GpLayerTarget target = generous;
    target.shared = shared;
    add_end(frames);
    layer_write_frames(&layer, frames, &target);
    assert_refused(layer.error, GP_ERROR_SANDBOX, "the unpack worker broke the protocol: ");
    assert_refused(layer.error, GP_ERROR_SANDBOX, reason);
}

static void test_lies(void)
{
    if (!need_root())
        return;
    g_auto(Memory) memory;
    memory_open(&memory);
    g_autoptr(GByteArray) nothing_shared = frames_of_file(5);
    add_shared(nothing_shared, 0, 0, 5);
    refuse_frames(nothing_shared, NULL, "content in no shared memory");
    g_autoptr(GByteArray) half = frames_of_file(5);
    add_frame(half, GP_UNPACK_SHARED, "12345678901234", 15);
    refuse_frames(half, memory.shared, "content in no shared memory");
    g_autoptr(GByteArray) outside = frames_of_file(5);
    add_shared(outside, 0, GP_SHARED_SIZE - 1, 5);
    refuse_frames(outside, memory.shared, "content outside of the shared memory");
    g_autoptr(GByteArray) too_much = frames_of_file(5);
    add_shared(too_much, 1, 0, 5);
    refuse_frames(too_much, memory.shared, "outside of what its entry announced");
    g_autoptr(GByteArray) no_file = g_byte_array_new();
    add_frame(no_file, GP_UNPACK_READY, NULL, 0);
    add_shared(no_file, 0, 0, 5);
    refuse_frames(no_file, memory.shared, "content without a file");
}

/* ---- both sides: the worker's fills slots while the writer reads */

typedef struct {
    GBytes *blob;
    int frames_fd, memory_fd;
} Worker;

static gpointer worker_thread(gpointer data)
{
    Worker *worker = data;
    g_autoptr(GError) error = NULL;
    GP_AUTOFD int in = memory_fd(worker->blob);
    g_autoptr(GpUnpackStream) stream = gp_unpack_stream_new(in, GP_COMPRESSION_NONE);
    g_autoptr(GpUnpackOutput) output = gp_unpack_output_new(worker->frames_fd);
    g_assert_true(gp_unpack_output_share(output, worker->memory_fd, &error));
    g_assert_true(gp_unpack_output_frame(output, GP_UNPACK_READY, NULL, 0, NULL));
    (void) gp_unpack_tar(stream, output, &error);
    g_assert_no_error(error);
    gp_close_fd(&worker->frames_fd);
    return NULL;
}

/* Big files, small ones, holes, and files whose ends meet inside a slot. */
static void test_layer_is_what_frames_make_of_it(void)
{
    if (!need_root())
        return;
    g_auto(Layer) plain, layer;
    g_auto(Memory) memory;
    layer_open(&plain);
    layer_open(&layer);
    memory_open(&memory);
    shell(plain.directory,
        "mkdir src; cd src; head -c 3000000 /dev/urandom > big; head -c 16384 big > just; head -c 16383 big > less\n"
        "head -c 700001 /dev/urandom > odd; for i in 1 2 3 4 5 6 7 8 9; do head -c ${i}00000 big > part$i; done\n"
        "truncate -s 5M hole; printf x | dd of=hole bs=1 seek=3000000 conv=notrunc status=none; : > empty\n"
        "cd ..; tar --format=gnu --sparse -C src -cf layer.tar .");
    g_autoptr(GBytes) blob = slurp(plain.directory, "layer.tar");
    layer_unpack(&plain, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(plain.error);

    int pipe_fds[2];
    g_assert_cmpint(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
    Worker worker = {.blob = blob, .frames_fd = pipe_fds[1], .memory_fd = gp_shared_memory_fd(memory.shared)};
    GThread *thread = g_thread_new("worker", worker_thread, &worker);
    GpLayerTarget target = generous;
    target.shared = memory.shared;
    layer_write(&layer, pipe_fds[0], &target);
    g_thread_join(thread);
    gp_close_fd(&pipe_fds[0]);
    g_assert_no_error(layer.error);
    g_assert_true(gp_digest_equal(&plain.diff_id, &layer.diff_id));
    assert_same_trees(plain.root, layer.root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/shared-memory/take-copies-and-counts", test_take_copies_and_counts);
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *name = g_strconcat("/storage/shared-memory/outside/", places[i].name, NULL);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_place_outside);
    }
    g_test_add_func("/storage/shared-memory/count-that-the-worker-changes", test_count_that_the_worker_changes);
    g_test_add_func("/storage/shared-memory/size-is-sealed", test_size_is_sealed);
    g_test_add_func("/storage/shared-memory/content-of-a-file", test_content_of_a_file);
    g_test_add_func("/storage/shared-memory/lies", test_lies);
    g_test_add_func("/storage/shared-memory/layer-is-what-frames-make-of-it", test_layer_is_what_frames_make_of_it);
    return g_test_run();
}
