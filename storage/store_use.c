/* Who uses which layer and which image. A use is a shared lock on one byte of locks/used, a removal an exclusive one:
 * open file description locks (fcntl(2)), because one descriptor holds any number of them and no lock file has to go
 * away again. Two digests that meet in one byte keep each other longer than needed; nothing else comes of it. */
#include <errno.h>
#include <fcntl.h>

#include "base/error.h"
#include "base/io.h"
#include "storage/store_internal.h"

#define USED "locks/used"
#define POLL_MICROSECONDS 20000
#define USE_WAIT                                                                                                       \
    (60 * G_USEC_PER_SEC) /* a claim lasts for a rename and a ref; only a stuck process keeps it longer                \
                           */
#define IMAGES_BIT ((guint64) 1 << 62)

/* The byte of @digest: the first 62 bits, in one half for layers and in the other for images. */
static off_t byte_of(const char *kind, const GpDigest *digest)
{
    guint64 bits;
    memcpy(&bits, digest->bytes, sizeof bits);
    bits >>= 2;
    return (off_t) (g_str_equal(kind, "image") ? bits | IMAGES_BIT : bits);
}

static gboolean lock_byte(int fd, short type, off_t byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* FALSE with errno EAGAIN when somebody else has kept it until @wait microseconds were over. */
static gboolean wait_for_byte(GpStore *store, int fd, short type, off_t byte, gint64 wait, GError **error)
{
    gint64 end = g_get_monotonic_time() + wait;
    while (!lock_byte(fd, type, byte)) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            gp_set_errno(error, errno, "store %s: " USED, store->path);
            return FALSE;
        }
        if (store->cancelled && store->cancelled(error))
            return FALSE;
        if (g_get_monotonic_time() >= end) {
            g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
                "store %s: another process is using it\nTry again when its pull or fsck has ended.", store->path);
            return FALSE;
        }
        g_usleep(POLL_MICROSECONDS);
    }
    return TRUE;
}

int gp_store_open_used(const GpStore *store)
{
    int fd = openat(store->fd, USED, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && store->mode == GP_STORE_READ)
        fd = openat(store->fd, USED, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd;
}

gboolean gp_store_use(GpStore *store, const char *kind, const GpDigest *digest, GError **error)
{
    /* Nobody can have claimed anything in a store that cannot be written to. */
    if (store->uses_fd < 0 && store->mode == GP_STORE_READ)
        return TRUE;
    return wait_for_byte(store, store->uses_fd, F_RDLCK, byte_of(kind, digest), USE_WAIT, error);
}

void gp_store_unuse(GpStore *store, const char *kind, const GpDigest *digest)
{
    if (store->uses_fd >= 0)
        (void) lock_byte(store->uses_fd, F_UNLCK, byte_of(kind, digest));
}

gboolean gp_store_use_image(GpStore *store, const GpDigest *manifest, const GArray *layers, GError **error)
{
    for (guint i = 0; i < layers->len; i++)
        if (!gp_store_use(store, "layer", &g_array_index(layers, GpDigest, i), error))
            return FALSE;
    return gp_store_use(store, "image", manifest, error);
}

gboolean gp_store_claim(GpStore *store, const char *kind, const GpDigest *digest, gboolean wait, GError **error)
{
    if (!wait)
        return lock_byte(store->claims_fd, F_WRLCK, byte_of(kind, digest));
    return wait_for_byte(store, store->claims_fd, F_WRLCK, byte_of(kind, digest), USE_WAIT, error);
}

void gp_store_disclaim(GpStore *store, const char *kind, const GpDigest *digest)
{
    (void) lock_byte(store->claims_fd, F_UNLCK, byte_of(kind, digest));
}
