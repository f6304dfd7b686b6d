#include "storage/crypt_mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <libcryptsetup.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/luks2_header.h"

#define SMALL_JOURNAL ((guint64) GP_MIB)

typedef struct crypt_device Device;

/* A key in locked memory that is wiped when it is freed. */
typedef struct {
    char *bytes;
} Key;

static void key_clear(Key *key)
{
    crypt_safe_free(key->bytes);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Key, key_clear)

/* ---- what libcryptsetup says */

static void remember(int level, const char *message, void *last)
{
    char **text = last;
    if (level != CRYPT_LOG_ERROR)
        return;
    g_autofree char *line = g_strchomp(g_strdup(message));
    g_free(*text);
    *text = gp_escape(line, -1, 300);
}

static gboolean has_module(const char *name)
{
    g_autofree char *path = g_build_filename("/sys/module", name, NULL);
    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

/* The modules (comma-separated) that this kernel does not show; NULL. One that is built in may not show either, so this
 * explains a failure and makes none. Caller's. */
static char *missing_modules(void)
{
    static const char *const names[] = {"dm_mod", "dm_crypt", "dm_integrity", NULL};
    g_autoptr(GPtrArray) missing = g_ptr_array_new();
    for (gsize i = 0; names[i]; i++)
        if (!has_module(names[i]))
            g_ptr_array_add(missing, (gpointer) (guintptr) names[i]);
    g_ptr_array_add(missing, NULL);
    return missing->len > 1 ? g_strjoinv(", ", (char **) missing->pdata) : NULL;
}

/* The errno of a library call as an error of ours: what the kernel lacks is told as such. */
static gboolean fail(GError **error, int result, const char *what, const char *said)
{
    g_autofree char *missing = missing_modules();
    if (!missing) {
        gp_set_errno(error, -result, "volume: %s%s%s", what, said ? ": " : "", said ? said : "");
        return FALSE;
    }
    g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
        "volume: %s: %s%s%s\nThis kernel shows no %s: the volume needs device-mapper with dm-crypt and dm-integrity.",
        what, said ? said : "", said ? ": " : "", g_strerror(-result), missing);
    return FALSE;
}

/* The kernel loads targets by itself where it may start modprobe; a kernel that may not is helped. */
static void load_modules(gboolean integrity)
{
    static const char *const programs[] = {"/usr/sbin/modprobe", "/sbin/modprobe"};
    const char *modules[] = {"dm_mod", "dm_crypt", integrity ? "dm_integrity" : NULL};
    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++)
        for (gsize p = 0; modules[i] && !has_module(modules[i]) && p < G_N_ELEMENTS(programs); p++) {
            const char *argv[] = {programs[p], "-q", modules[i], NULL};
            (void) g_spawn_sync(NULL, (char **) (guintptr) argv, NULL,
                G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        }
}

/* ---- key and header, in memory alone */

static gboolean make_key(gsize size, Key *key, GError **error)
{
    key->bytes = crypt_safe_alloc(size);
    for (gsize done = 0; key->bytes && done < size;) {
        ssize_t got = getrandom(key->bytes + done, size - done, 0);
        if (got < 0 && errno != EINTR) {
            gp_set_errno(error, errno, "getrandom");
            return FALSE;
        }
        done += got > 0 ? (gsize) got : 0;
    }
    if (!key->bytes)
        gp_set_errno(error, ENOMEM, "a key in locked memory");
    return key->bytes != NULL;
}

/* A file of this process alone, with @content or empty: where libcryptsetup finds the header. */
static int memory_file(GBytes *content, char **path, GError **error)
{
    GP_AUTOFD int fd = memfd_create("header", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t) GP_LUKS2_DATA_OFFSET) < 0) {
        gp_set_errno(error, errno, "memory for the header");
        return -1;
    }
    if (content && !gp_write_all(fd, g_bytes_get_data(content, NULL), g_bytes_get_size(content), error))
        return -1;
    *path = g_strdup_printf("/proc/%d/fd/%d", (int) getpid(), fd);
    return gp_steal_fd(&fd);
}

/* The first GP_LUKS2_DATA_OFFSET bytes of @fd. */
static GBytes *read_area(int fd, GError **error)
{
    g_autofree guint8 *bytes = g_malloc(GP_LUKS2_DATA_OFFSET);
    if (lseek(fd, 0, SEEK_SET) == 0 &&
        gp_read_full(fd, bytes, GP_LUKS2_DATA_OFFSET, error) == (gssize) GP_LUKS2_DATA_OFFSET)
        return g_bytes_new_take(g_steal_pointer(&bytes), GP_LUKS2_DATA_OFFSET);
    if (error && !*error)
        gp_set_errno(error, EIO, "volume: reading the header");
    return NULL;
}

/* ---- mapping */

typedef struct {
    Device *device;
    char *said; /* the last error that libcryptsetup told */
    int memory; /* the header's file */
} Session;

static void session_clear(Session *session)
{
    if (session->device)
        crypt_free(session->device);
    g_free(session->said);
    gp_close_fd(&session->memory);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Session, session_clear)

static gboolean begin(
    const GpVolumeConfig *config, const GpCryptBacking *backing, GBytes *header, Session *session, GError **error)
{
    g_autofree char *path = NULL;
    session->memory = memory_file(header, &path, error);
    if (session->memory < 0)
        return FALSE;
    load_modules(gp_volume_cipher(config->integrity)->integrity != NULL);
    int result = crypt_init_data_device(&session->device, path, backing->path);
    if (result < 0)
        return fail(error, result, "libcryptsetup", NULL);
    crypt_set_log_callback(session->device, remember, &session->said);
    return TRUE;
}

/* Makes a LUKS2 header with @key's digest and without a keyslot. */
static gboolean format(Session *session, const GpVolumeConfig *config, const Key *key, GError **error)
{
    const GpVolumeCipher *cipher = gp_volume_cipher(config->integrity);
    /* For the digest alone: @key is as random as they come, stretching it would only take time. */
    const struct crypt_pbkdf_type pbkdf = {
        .type = CRYPT_KDF_PBKDF2, .hash = "sha256", .iterations = 1000, .flags = CRYPT_PBKDF_NO_BENCHMARK};
    /* dm-integrity writes its whole journal when it is made, usually 64 MiB; what is ephemeral has no use for one. */
    const struct crypt_params_integrity small_journal = {
        .journal_size = SMALL_JOURNAL, .tag_size = 0, .sector_size = GP_LUKS2_SECTOR_SIZE};
    gboolean ephemeral = config->mode == GP_VOLUME_EPHEMERAL;
    struct crypt_params_luks2 params = {.pbkdf = &pbkdf,
        .integrity = cipher->integrity,
        .integrity_params = cipher->integrity && ephemeral ? &small_journal : NULL,
        .sector_size = GP_LUKS2_SECTOR_SIZE,
        .label = GP_VOLUME_NAME};
    int result = crypt_set_metadata_size(session->device, GP_LUKS2_METADATA_SIZE, GP_LUKS2_KEYSLOTS_SIZE);
    if (result == 0)
        result = crypt_set_data_offset(session->device, GP_LUKS2_DATA_OFFSET / 512);
    if (result == 0)
        result = crypt_format(
            session->device, CRYPT_LUKS2, cipher->cipher, cipher->mode, NULL, key->bytes, cipher->key_size, &params);
    return result == 0 || fail(error, result, "making the header", session->said);
}

static gboolean activate(Session *session, const GpVolumeConfig *config, const Key *key, GError **error)
{
    const GpVolumeCipher *cipher = gp_volume_cipher(config->integrity);
    /* The journal makes a sector and its tag survive a power cut together; nothing ephemeral survives one. */
    gboolean journal = config->mode == GP_VOLUME_PERSISTENT;
    guint32 flags = CRYPT_ACTIVATE_KEYRING_KEY | (cipher->integrity && !journal ? CRYPT_ACTIVATE_NO_JOURNAL : 0);
    int result = crypt_activate_by_volume_key(session->device, GP_VOLUME_NAME, key->bytes, cipher->key_size, flags);
    return result >= 0 || fail(error, result, "mapping it", session->said);
}

gboolean gp_crypt_map_ephemeral(const GpVolumeConfig *config, const GpCryptBacking *backing, GError **error)
{
    g_auto(Key) key = {NULL};
    g_auto(Session) session = {.memory = -1};
    return make_key(gp_volume_cipher(config->integrity)->key_size, &key, error) &&
           begin(config, backing, NULL, &session, error) && format(&session, config, &key, error) &&
           activate(&session, config, &key, error);
}

/* ---- persistent */

static gboolean add_keyslot(Session *session, const Key *key, gsize key_size, GBytes *passphrase, GError **error)
{
    /* Enough for a passphrase, little for a small guest; a random key would need none of it. */
    const struct crypt_pbkdf_type pbkdf = {.type = CRYPT_KDF_ARGON2ID,
        .hash = "sha256",
        .iterations = 4,
        .max_memory_kb = 16 * 1024,
        .parallel_threads = 1,
        .flags = CRYPT_PBKDF_NO_BENCHMARK};
    int result = crypt_set_pbkdf_type(session->device, &pbkdf);
    if (result == 0)
        result = crypt_keyslot_add_by_volume_key(
            session->device, 0, key->bytes, key_size, g_bytes_get_data(passphrase, NULL), g_bytes_get_size(passphrase));
    return result >= 0 || fail(error, result, "making the keyslot", session->said);
}

/* Makes the device one without a header. */
static gboolean erase_header(const GpCryptBacking *backing, GError **error)
{
    g_autofree guint8 *zeros = g_malloc0(GP_LUKS2_DATA_OFFSET);
    GP_AUTOFD int fd = open(backing->path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && !gp_write_all(fd, zeros, GP_LUKS2_DATA_OFFSET, error))
        return FALSE;
    if (fd >= 0 && fsync(fd) == 0)
        return TRUE;
    gp_set_errno(error, errno, "volume %s: erasing the header", backing->path);
    return FALSE;
}

static gboolean make_persistent(
    const GpVolumeConfig *config, const GpCryptBacking *backing, GBytes *passphrase, GBytes **header, GError **error)
{
    g_auto(Key) key = {NULL};
    g_auto(Session) session = {.memory = -1};
    gsize key_size = gp_volume_cipher(config->integrity)->key_size;
    if (!erase_header(backing, error) || !make_key(key_size, &key, error) ||
        !begin(config, backing, NULL, &session, error) || !format(&session, config, &key, error) ||
        !add_keyslot(&session, &key, key_size, passphrase, error) || !activate(&session, config, &key, error))
        return FALSE;
    *header = read_area(session.memory, error);
    return *header != NULL;
}

static gboolean open_persistent(
    const GpVolumeConfig *config, const GpCryptBacking *backing, GBytes *area, GBytes *passphrase, GError **error)
{
    g_auto(Session) session = {.memory = -1};
    g_autoptr(GBytes) header = gp_luks2_accept(area, config->integrity, error);
    if (!header || !begin(config, backing, header, &session, error))
        return FALSE;
    int result = crypt_load(session.device, CRYPT_LUKS2, NULL);
    if (result < 0)
        return fail(error, result, "loading the header", session.said);
    result = crypt_activate_by_passphrase(session.device, GP_VOLUME_NAME, 0, g_bytes_get_data(passphrase, NULL),
        g_bytes_get_size(passphrase), CRYPT_ACTIVATE_KEYRING_KEY);
    if (result >= 0)
        return TRUE;
    if (result != -EPERM)
        return fail(error, result, "mapping it", session.said);
    g_set_error(error, GP_ERROR, GP_ERROR_KEY,
        "volume %s: the key does not open it\nThe wrong key, or the keyslot was changed. guest-pull volume open "
        "--discard "
        "makes the volume anew.",
        backing->path);
    return FALSE;
}

gboolean gp_crypt_map_persistent(const GpVolumeConfig *config, const GpCryptBacking *backing, GBytes *key,
    gboolean discard, GBytes **header, GError **error)
{
    GP_AUTOFD int fd = open(backing->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        gp_set_errno(error, errno, "volume %s", backing->path);
        return FALSE;
    }
    g_autoptr(GBytes) area = read_area(fd, error);
    gp_close_fd(&fd);
    if (!area)
        return FALSE;
    if (discard || gp_luks2_is_blank(area))
        return make_persistent(config, backing, key, header, error);
    return open_persistent(config, backing, area, key, error);
}

gboolean gp_crypt_write_header(const GpCryptBacking *backing, GBytes *header, GError **error)
{
    const char *bytes = g_bytes_get_data(header, NULL);
    GP_AUTOFD int fd = open(backing->path, O_WRONLY | O_CLOEXEC);
    gsize first = GP_LUKS2_SECTOR_SIZE, rest = g_bytes_get_size(header) - first;
    if (fd >= 0 && pwrite(fd, bytes + first, rest, (off_t) first) == (ssize_t) rest && fsync(fd) == 0 &&
        pwrite(fd, bytes, first, 0) == (ssize_t) first && fsync(fd) == 0)
        return TRUE;
    gp_set_errno(error, errno, "volume %s: writing the header", backing->path);
    return FALSE;
}

/* ---- unmapping */

gboolean gp_crypt_unmap(GError **error)
{
    g_autofree char *said = NULL;
    /* The node in /dev may be there before its driver is. */
    if (access("/sys/class/misc/device-mapper", F_OK) < 0 || crypt_status(NULL, GP_VOLUME_NAME) == CRYPT_INACTIVE)
        return TRUE;
    crypt_set_log_callback(NULL, remember, &said);
    int result = crypt_deactivate(NULL, GP_VOLUME_NAME);
    crypt_set_log_callback(NULL, NULL, NULL);
    if (result == 0)
        return TRUE;
    if (result != -EBUSY)
        return fail(error, result, "unmapping it", said);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "volume: still in use\nFirst: guest-pull umount DIR.");
    return FALSE;
}
