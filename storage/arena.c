#include "storage/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

/* A reference is a chunk's number and the place in it, in units of 8 bytes. */
#define CHUNK (1024 * 1024)
#define UNIT 8
#define UNITS (CHUNK / UNIT)
#define MOST_CHUNKS (G_MAXUINT32 / UNITS)

/* What all arenas together keep in memory besides the first chunk of each: with that, 30,000 names. */
#define RESIDENT_CHUNKS 4

/* How often a thread that walks through an arena looks how many page faults it had, and after how many it lets go: each
 * brings back up to 64 KiB of the file. */
#define PIECES 32
#define FAULTS 128

typedef struct {
    guint8 *at;
    gboolean counts; /* in memory, and of RESIDENT_CHUNKS */
    gboolean filed;
} Chunk;

struct _GpArena {
    int directory_fd, file;
    GMutex lock; /* for chunks, which gp_arena_rest() looks at from other threads */
    GArray *chunks;
    gsize used; /* of the last chunk */
};

static gint resident; /* atomic */

GpArena *gp_arena_new(int directory_fd)
{
    GpArena *arena = g_new0(GpArena, 1);
    arena->directory_fd = directory_fd;
    arena->file = -1;
    arena->chunks = g_array_new(FALSE, FALSE, sizeof(Chunk));
    arena->used = CHUNK;
    g_mutex_init(&arena->lock);
    return arena;
}

void gp_arena_free(GpArena *arena)
{
    if (!arena)
        return;
    for (guint i = 0; i < arena->chunks->len; i++) {
        const Chunk *chunk = &g_array_index(arena->chunks, Chunk, i);
        (void) munmap(chunk->at, CHUNK);
        if (chunk->counts)
            (void) g_atomic_int_add(&resident, -1);
    }
    g_array_unref(arena->chunks);
    gp_close_fd(&arena->file);
    g_mutex_clear(&arena->lock);
    g_free(arena);
}

static int lost_status; /* set before the handler is */

/* The disk does not give back what was written: nothing that hangs on it can go on, and a pull that dies leaves what
 * the next one sweeps. */
static void lose(int number)
{
    static const char text[] = "guest-pull: the store's disk cannot be read (integrity)\n";
    (void) !write(STDERR_FILENO, text, sizeof text - 1);
    _exit(lost_status);
}

static void watch_disk(void)
{
    static gsize once;
    if (!g_once_init_enter(&once))
        return;
    struct sigaction action = {.sa_handler = lose};
    lost_status = gp_error_info(GP_ERROR_DIGEST)->exit_status;
    (void) sigaction(SIGBUS, &action, NULL);
    g_once_init_leave(&once, 1);
}

/* The end of the file, made a chunk longer and mapped; NULL: it cannot be had. Its room is set aside here, since who
 * writes to a page without any is killed. */
static guint8 *map_file(GpArena *arena)
{
    if (arena->directory_fd < 0)
        return NULL;
    if (arena->file < 0)
        arena->file = openat(arena->directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    watch_disk();
    off_t end = arena->file < 0 ? -1 : lseek(arena->file, 0, SEEK_END);
    if (end < 0 || fallocate(arena->file, 0, end, CHUNK) < 0)
        return NULL;
    void *at = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, arena->file, end);
    /* cppcheck-suppress memleak ; the mapping is the chunk's */
    return at == MAP_FAILED ? NULL : at;
}

static Chunk new_chunk(GpArena *arena)
{
    Chunk chunk = {.counts = arena->chunks->len > 0};
    if (chunk.counts && g_atomic_int_add(&resident, 1) >= RESIDENT_CHUNKS) {
        (void) g_atomic_int_add(&resident, -1);
        chunk.counts = FALSE;
        chunk.at = map_file(arena);
        chunk.filed = chunk.at != NULL;
    }
    if (!chunk.at) {
        /* cppcheck-suppress invalidFunctionArg ; mmap(2): -1 where there is no file */
        void *at = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            g_error("no memory for what a layer holds");
        chunk.at = at;
    }
    return chunk;
}

gpointer gp_arena_alloc(GpArena *arena, gsize size, guint32 *ref)
{
    gsize rounded = (size + UNIT - 1) / UNIT * UNIT;
    g_return_val_if_fail(size <= GP_ARENA_LARGEST, NULL);
    if (rounded > CHUNK - arena->used) {
        if (arena->chunks->len >= MOST_CHUNKS)
            g_error("a layer holds too much");
        gp_arena_rest(arena);
        Chunk chunk = new_chunk(arena);
        g_mutex_lock(&arena->lock);
        g_array_append_val(arena->chunks, chunk);
        g_mutex_unlock(&arena->lock);
        arena->used = 0;
    }
    guint last = arena->chunks->len - 1;
    gsize at = arena->used;
    arena->used += rounded;
    if (ref)
        *ref = (guint32) (last * UNITS + at / UNIT);
    return g_array_index(arena->chunks, Chunk, last).at + at;
}

gpointer gp_arena_at(const GpArena *arena, guint32 ref)
{
    return g_array_index(arena->chunks, Chunk, ref / UNITS).at + (gsize) (ref % UNITS) * UNIT;
}

void gp_arena_passed(GpArena *arena)
{
    static __thread guint pieces;
    static __thread glong faults; /* of this thread, when it let go the last time */
    struct rusage usage;
    if (arena->file < 0 || ++pieces % PIECES != 0 || getrusage(RUSAGE_THREAD, &usage) < 0 ||
        usage.ru_minflt - faults < FAULTS)
        return;
    faults = usage.ru_minflt;
    gp_arena_rest(arena);
}

void gp_arena_rest(GpArena *arena)
{
    g_mutex_lock(&arena->lock);
    /* A shared mapping loses nothing by this: what was written is in the kernel's cache. */
    for (guint i = 0; i < arena->chunks->len; i++)
        if (g_array_index(arena->chunks, Chunk, i).filed)
            (void) madvise(g_array_index(arena->chunks, Chunk, i).at, CHUNK, MADV_DONTNEED);
    g_mutex_unlock(&arena->lock);
}

gboolean gp_arena_check(const GpArena *arena, GError **error)
{
    /* Waits for what is being written, starts nothing, and tells what went wrong before. */
    if (arena->file < 0 || sync_file_range(arena->file, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE) == 0 || errno != EIO)
        return TRUE;
    gp_set_errno(error, errno, "what the layer holds, in the store's filesystem");
    return FALSE;
}
