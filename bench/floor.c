/* floor gzip|zstd DIR sha256:HEX < BLOB: the least that unpacking a layer costs on this machine: both hashes, inflate, tar, write; two
 * threads, no store, no sandbox, no checks of paths. What a pull is measured against, and nothing to be used. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zstd.h>

#define CHUNK (256 * 1024)
#define SLOTS 16

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- between the two threads */

static struct {
    unsigned char *data[SLOTS];
    size_t length[SLOTS];
    unsigned written, taken;
    int ended, holding;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static unsigned char *ring_slot(void)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.written - ring.taken >= SLOTS)
        pthread_cond_wait(&ring.changed, &ring.lock);
    pthread_mutex_unlock(&ring.lock);
    return ring.data[ring.written % SLOTS];
}

static void ring_give(size_t length)
{
    pthread_mutex_lock(&ring.lock);
    if (length)
        ring.length[ring.written++ % SLOTS] = length;
    else
        ring.ended = 1;
    pthread_cond_signal(&ring.changed);
    pthread_mutex_unlock(&ring.lock);
}

static size_t ring_take(const void **data)
{
    pthread_mutex_lock(&ring.lock);
    ring.taken += (unsigned) ring.holding;
    ring.holding = 0;
    pthread_cond_signal(&ring.changed);
    while (ring.written == ring.taken && !ring.ended)
        pthread_cond_wait(&ring.changed, &ring.lock);
    size_t length = 0;
    if (ring.written != ring.taken) {
        *data = ring.data[ring.taken % SLOTS];
        length = ring.length[ring.taken % SLOTS];
        ring.holding = 1;
    }
    pthread_mutex_unlock(&ring.lock);
    return length;
}

/* ---- first thread: blob, its hash, its content */

static EVP_MD_CTX *blob_hash, *diff_hash;
static unsigned char input[CHUNK];

static size_t read_input(void)
{
    ssize_t got = read(0, input, sizeof input);
    if (got < 0)
        die("read");
    EVP_DigestUpdate(blob_hash, input, (size_t) got);
    return (size_t) got;
}

static void inflate_gzip(void)
{
    static struct inflate_state state;
    isal_inflate_init(&state);
    state.crc_flag = ISAL_GZIP;
    unsigned char *slot = ring_slot();
    state.next_out = slot;
    state.avail_out = CHUNK;
    for (size_t got; (got = read_input()) > 0;) {
        state.next_in = input;
        state.avail_in = (uint32_t) got;
        while (state.avail_in > 0 || state.avail_out == 0) {
            if (state.block_state == ISAL_BLOCK_FINISH) {
                isal_inflate_reset(&state);
                state.crc_flag = ISAL_GZIP;
            }
            if (isal_inflate(&state) != ISAL_DECOMP_OK)
                exit(1);
            if (state.avail_out > 0)
                continue;
            ring_give(CHUNK);
            state.next_out = slot = ring_slot();
            state.avail_out = CHUNK;
        }
    }
    if (state.avail_out < CHUNK)
        ring_give(CHUNK - state.avail_out);
}

static void inflate_zstd(void)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_outBuffer out = {ring_slot(), CHUNK, 0};
    for (size_t got; (got = read_input()) > 0;) {
        ZSTD_inBuffer in = {input, got, 0};
        int full = 0;
        while (in.pos < in.size || full) {
            if (ZSTD_isError(ZSTD_decompressStream(stream, &out, &in)))
                exit(1);
            full = out.pos == CHUNK;
            if (full) {
                ring_give(CHUNK);
                out = (ZSTD_outBuffer){ring_slot(), CHUNK, 0};
            }
        }
    }
    if (out.pos > 0)
        ring_give(out.pos);
}

static void *decompress(void *form)
{
    if (strcmp(form, "gzip") == 0)
        inflate_gzip();
    else
        inflate_zstd();
    ring_give(0);
    return NULL;
}

/* ---- second thread: tar to files */

static la_ssize_t next_block(struct archive *archive, void *data, const void **block)
{
    (void) archive;
    (void) data;
    size_t length = ring_take(block);
    if (length)
        EVP_DigestUpdate(diff_hash, *block, length);
    return (la_ssize_t) length;
}

static void make_parents(char *path)
{
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            die(path);
        *slash = '/';
    }
}

static void write_file(struct archive *archive, struct archive_entry *entry, char *path)
{
    int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW;
    int fd = open(path, flags, 0600);
    if (fd < 0 && errno == ENOENT) {
        make_parents(path);
        fd = open(path, flags, 0600);
    }
    if (fd < 0)
        die(path);
    const void *block;
    size_t length;
    la_int64_t offset;
    while (archive_read_data_block(archive, &block, &length, &offset) == ARCHIVE_OK)
        if (pwrite(fd, block, length, offset) != (ssize_t) length)
            die(path);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)}};
    const char *name;
    const void *value;
    archive_entry_xattr_reset(entry);
    if (fchown(fd, (uid_t) archive_entry_uid(entry), (gid_t) archive_entry_gid(entry)) < 0 ||
        fchmod(fd, archive_entry_perm(entry)) < 0)
        die(path);
    while (archive_entry_xattr_next(entry, &name, &value, &length) == ARCHIVE_OK)
        if (fsetxattr(fd, name, value, length, 0) < 0)
            die(name);
    if (futimens(fd, times) < 0)
        die(path);
    close(fd);
}

static void write_other(struct archive_entry *entry, char *path)
{
    const char *link = archive_entry_hardlink(entry);
    mode_t type = archive_entry_filetype(entry);
    if (link) {
        if (linkat(AT_FDCWD, link, AT_FDCWD, path, 0) < 0)
            die(path);
        return;
    }
    if (type == AE_IFDIR ? mkdir(path, 0755) < 0 && errno != EEXIST
        : type == AE_IFLNK ? symlink(archive_entry_symlink(entry), path) < 0
                           : mknod(path, archive_entry_mode(entry), archive_entry_rdev(entry)) < 0)
        die(path);
    if (lchown(path, (uid_t) archive_entry_uid(entry), (gid_t) archive_entry_gid(entry)) < 0)
        die(path);
    if (type != AE_IFLNK && chmod(path, archive_entry_perm(entry)) < 0)
        die(path);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)}};
    if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0)
        die(path);
}

static void untar(void)
{
    struct archive *archive = archive_read_new();
    struct archive_entry *entry;
    int result;
    archive_read_support_format_tar(archive);
    archive_read_open(archive, NULL, NULL, next_block, NULL);
    while ((result = archive_read_next_header(archive, &entry)) == ARCHIVE_OK || result == ARCHIVE_WARN) {
        char path[8192];
        snprintf(path, sizeof path, "%s", archive_entry_pathname(entry));
        if (archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry))
            write_file(archive, entry, path);
        else
            write_other(entry, path);
    }
    if (result != ARCHIVE_EOF) {
        fprintf(stderr, "%s\n", archive_error_string(archive));
        exit(1);
    }
    /* The hash is over the padding too. */
    const void *block;
    for (size_t length; (length = ring_take(&block)) > 0;)
        EVP_DigestUpdate(diff_hash, block, length);
}

int main(int argc, char **argv)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[80] = "sha256:";
    unsigned length = 0;
    pthread_t reader;
    if (argc != 4 || mkdir(argv[2], 0755) < 0 || chdir(argv[2]) < 0)
        die("floor gzip|zstd DIR DIGEST");
    umask(0);
    blob_hash = EVP_MD_CTX_new();
    diff_hash = EVP_MD_CTX_new();
    EVP_DigestInit_ex(blob_hash, EVP_sha256(), NULL);
    EVP_DigestInit_ex(diff_hash, EVP_sha256(), NULL);
    for (int i = 0; i < SLOTS; i++)
        if (!(ring.data[i] = malloc(CHUNK)))
            die("malloc");
    pthread_create(&reader, NULL, decompress, argv[1]);
    untar();
    pthread_join(reader, NULL);
    EVP_DigestFinal_ex(diff_hash, digest, &length);
    EVP_DigestFinal_ex(blob_hash, digest, &length);
    for (unsigned i = 0; i < length; i++)
        (void) snprintf(text + strlen(text), 3, "%02x", digest[i]);
    return strcmp(text, argv[3]) == 0 ? 0 : 1;
}
