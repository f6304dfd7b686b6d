#include "storage/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/entry.h"

struct _GpSharedMemory {
    int fd;
    GpSharedCount *count;
    guint32 taken;
    guint8 copy[GP_SHARED_SLOT];
};

static int make_memory(GError **error)
{
    static const guint8 last = 0;
    GP_AUTOFD int fd = memfd_create("layer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || pwrite(fd, &last, 1, GP_SHARED_SIZE + GP_SHARED_COUNT_SIZE - 1) != 1 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        gp_set_errno(error, errno, "shared memory");
        return -1;
    }
    return gp_steal_fd(&fd);
}

GpSharedMemory *gp_shared_memory_new(GError **error)
{
    GP_AUTOFD int fd = make_memory(error);
    if (fd < 0)
        return NULL;
    void *count = mmap(NULL, GP_SHARED_COUNT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, GP_SHARED_SIZE);
    if (count == MAP_FAILED) {
        gp_set_errno(error, errno, "shared memory");
        return NULL;
    }
    GpSharedMemory *shared = g_new(GpSharedMemory, 1);
    shared->fd = gp_steal_fd(&fd);
    shared->count = count;
    shared->taken = 0;
    return shared;
}

void gp_shared_memory_free(GpSharedMemory *shared)
{
    if (!shared)
        return;
    gp_close_fd(&shared->fd);
    (void) munmap(shared->count, GP_SHARED_COUNT_SIZE);
    g_free(shared);
}

int gp_shared_memory_fd(const GpSharedMemory *shared)
{
    return shared->fd;
}

/* Our own count is stored, whatever stands there. The worker says that it waits before it looks the last time. */
static void tell_taken(GpSharedMemory *shared)
{
    __atomic_store_n(&shared->count->taken, ++shared->taken, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&shared->count->waiting, __ATOMIC_SEQ_CST))
        (void) syscall(SYS_futex, &shared->count->taken, FUTEX_WAKE, 1, NULL, NULL, 0);
}

const guint8 *gp_shared_memory_take(GpSharedMemory *shared, guint64 at, guint64 length, GError **error)
{
    if (length == 0 || length > sizeof shared->copy || at > GP_SHARED_SIZE - length) {
        g_set_error(error, GP_ERROR, GP_ERROR_SANDBOX,
            "the unpack worker broke the protocol: content outside of the shared memory");
        return NULL;
    }
    gsize done = 0;
    while (done < length) {
        ssize_t got = pread(shared->fd, shared->copy + done, length - done, (off_t) (at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            gp_set_errno(error, got < 0 ? errno : EIO, "reading the shared memory");
            return NULL;
        }
        done += (gsize) got;
    }
    tell_taken(shared);
    return shared->copy;
}
