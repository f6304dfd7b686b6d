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
#include "storage/crypt_mapping.h"
#include "storage/luks2_header.h"

typedef struct crypt_device Device;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Device, crypt_free)

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
    g_free(*text);
    *text = gp_escape(message, -1, 300);
}

static gboolean has_module(const char *name)
{
    g_autofree char *path = g_build_filename("/sys/module", name, NULL);
    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

/* The errno of a library call as an error of ours: what the kernel lacks is told as such. */
static gboolean fail(GError **error, int result, const char *what, const char *said)
{
    const char *missing = NULL;
    if (access("/dev/mapper/control", F_OK) < 0)
        missing = "dm_mod";
    else if (!has_module("dm_crypt"))
        missing = "dm_crypt";
    else if (!has_module("dm_integrity"))
        missing = "dm_integrity";
    if (missing) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "volume: %s: this kernel has no %s\nThe guest's kernel needs device-mapper with dm-crypt and dm-integrity.",
            what, missing);
        return FALSE;
    }
    gp_set_errno(error, -result, "volume: %s%s%s", what, said ? ": " : "", said ? said : "");
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

/* ---- parameters */

typedef struct {
    const char *mode;
    const char *integrity; /* NULL: none */
    gsize key_size;
} Cipher;

static const Cipher ciphers[] = {
    [GP_VOLUME_AES_GCM] = {"gcm-random", "aead", 32},
    [GP_VOLUME_XTS_HMAC] = {"xts-plain64", "hmac(sha256)", 64 + 32},
    [GP_VOLUME_NO_INTEGRITY] = {"xts-plain64", NULL, 64},
};

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

/* A file of this process alone, in memory: where the header lives. */
static int memory_file(char **path, GError **error)
{
    GP_AUTOFD int fd = memfd_create("header", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t) GP_LUKS2_DATA_OFFSET) < 0) {
        gp_set_errno(error, errno, "memory for the header");
        return -1;
    }
    *path = g_strdup_printf("/proc/%d/fd/%d", (int) getpid(), fd);
    return gp_steal_fd(&fd);
}

/* Writes a LUKS2 header with @key's digest and without a keyslot into the file @header. */
static gboolean format(Device *device, const GpVolumeConfig *config, const Key *key, char **said, GError **error)
{
    const Cipher *cipher = &ciphers[config->integrity];
    /* For the digest alone: @key is as random as they come, stretching it would only take time. */
    const struct crypt_pbkdf_type pbkdf = {
        .type = CRYPT_KDF_PBKDF2, .hash = "sha256", .iterations = 1000, .flags = CRYPT_PBKDF_NO_BENCHMARK};
    struct crypt_params_luks2 params = {
        .pbkdf = &pbkdf, .integrity = cipher->integrity, .sector_size = GP_LUKS2_SECTOR_SIZE, .label = GP_VOLUME_NAME};
    int result = crypt_set_metadata_size(device, GP_LUKS2_METADATA_SIZE, GP_LUKS2_KEYSLOTS_SIZE);
    if (result == 0)
        result = crypt_set_data_offset(device, GP_LUKS2_DATA_OFFSET / 512);
    if (result == 0)
        result = crypt_format(device, CRYPT_LUKS2, "aes", cipher->mode, NULL, key->bytes, cipher->key_size, &params);
    return result == 0 || fail(error, result, "making the header", *said);
}

gboolean gp_crypt_map_ephemeral(const GpVolumeConfig *config, const GpCryptBacking *backing, GError **error)
{
    const Cipher *cipher = &ciphers[config->integrity];
    g_autofree char *said = NULL;
    g_autofree char *header = NULL;
    g_auto(Key) key = {NULL};
    g_autoptr(Device) device = NULL;
    GP_AUTOFD int memory = memory_file(&header, error);
    if (memory < 0 || !make_key(cipher->key_size, &key, error))
        return FALSE;
    load_modules(cipher->integrity != NULL);
    int result = crypt_init_data_device(&device, header, backing->path);
    if (result < 0)
        return fail(error, result, "libcryptsetup", NULL);
    crypt_set_log_callback(device, remember, &said);
    if (!format(device, config, &key, &said, error))
        return FALSE;
    /* No journal: it makes a sector and its tag survive a power cut together, and nothing here survives one. */
    guint32 flags = CRYPT_ACTIVATE_KEYRING_KEY | (cipher->integrity ? CRYPT_ACTIVATE_NO_JOURNAL : 0);
    result = crypt_activate_by_volume_key(device, GP_VOLUME_NAME, key.bytes, cipher->key_size, flags);
    return result >= 0 || fail(error, result, "mapping it", said);
}

gboolean gp_crypt_unmap(GError **error)
{
    g_autofree char *said = NULL;
    if (access("/dev/mapper/control", F_OK) < 0 || crypt_status(NULL, GP_VOLUME_NAME) == CRYPT_INACTIVE)
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
