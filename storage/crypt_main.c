/* guest-pull-volume: opens and closes the encrypted volume, started by guest-pull (storage/volume_request.h). A program
 * of its own so that no other one carries libcryptsetup: it is started once a boot, the puller for every image. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/crypto_memory.h"
#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "storage/crypt_backing.h"
#include "storage/crypt_filesystem.h"
#include "storage/crypt_mapping.h"
#include "storage/volume_request.h"

#define MAPPING "/dev/mapper/" GP_VOLUME_NAME

static gboolean close_volume(const GpVolumeRequest *request, GError **error)
{
    return gp_crypt_unmount(MAPPING, request->mountpoint, error) && gp_crypt_unmap(error);
}

/* Adds the seconds since *@since as @name, and starts anew. */
static void note_time(json_t *timings, const char *name, gint64 *since)
{
    gint64 now = g_get_monotonic_time();
    json_object_set_new(timings, name, json_real((double) (now - *since) / G_USEC_PER_SEC));
    *since = now;
}

/* *@header: of a persistent volume that is made now. */
static gboolean map(const GpVolumeRequest *request, const GpCryptBacking *backing, GBytes **header, GError **error)
{
    if (request->config.mode == GP_VOLUME_EPHEMERAL)
        return gp_crypt_map_ephemeral(&request->config, backing, error);
    if (request->key)
        return gp_crypt_map_persistent(&request->config, backing, request->key, request->discard, header, error);
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "volume: the key is empty");
    return FALSE;
}

/* Opening a persistent volume that is there may fail for what the disk has become, in ways that only the kernel names.
 */
static void say_what_to_do(const GpVolumeConfig *config, gboolean made_now, GError **error)
{
    gboolean opened = config->mode == GP_VOLUME_PERSISTENT && !made_now;
    if (opened && error && *error && (*error)->code != GP_ERROR_KEY && !strchr((*error)->message, '\n')) {
        g_autoptr(GError) cause = g_steal_pointer(error);
        g_set_error(error, GP_ERROR, cause->code,
            "%s\nIf the disk is not what it was: guest-pull volume open --discard makes the volume anew.",
            cause->message);
    }
}

static gboolean make_volume(const GpVolumeRequest *request, json_t *timings, GError **error)
{
    GpVolumeConfig chosen = request->config;
    const GpVolumeConfig *config = &chosen;
    gint64 since = g_get_monotonic_time();
    g_auto(GpCryptBacking) backing = {.fd = -1};
    g_autoptr(GBytes) header = NULL;
    if (!gp_crypt_backing_find(config, &backing, error))
        return FALSE;
    if (!map(request, &backing, &header, error)) {
        say_what_to_do(config, request->discard, error);
        return FALSE;
    }
    chosen.filesystem = gp_volume_filesystem(config, backing.bytes);
    note_time(timings, "mapping", &since);
    if (header || config->mode == GP_VOLUME_EPHEMERAL) {
        if (!gp_crypt_make_filesystem(config, MAPPING, error) ||
            (header && !gp_crypt_write_header(&backing, header, error)))
            return FALSE;
        note_time(timings, "filesystem", &since);
    }
    if (!gp_crypt_mount(config, MAPPING, request->mountpoint, error)) {
        say_what_to_do(config, header != NULL, error);
        return FALSE;
    }
    note_time(timings, "mount", &since);
    return TRUE;
}

/* Half a volume of a run that was killed is removed first; after a failure nothing is left. */
static gboolean open_volume(const GpVolumeRequest *request, json_t *timings, GError **error)
{
    if (!close_volume(request, error))
        return FALSE;
    if (make_volume(request, timings, error))
        return TRUE;
    (void) close_volume(request, NULL);
    return FALSE;
}

static json_t *serve(GError **error)
{
    g_auto(GpVolumeRequest) request = {0};
    g_autoptr(json_t) timings = json_object();
    g_autoptr(GBytes) bytes =
        gp_read_all(GP_VOLUME_REQUEST_FD, GP_LIMIT_FETCH_REQUEST + GP_LIMIT_KEY, "request", error);
    if (!bytes || !gp_volume_request_read(bytes, &request, error))
        return NULL;
    if (request.close ? !close_volume(&request, error) : !open_volume(&request, timings, error))
        return NULL;
    return json_pack("{s:O}", "timings", timings);
}

/* Keys pass through here: none of it into a core file, a debugger or the swap space. */
static gboolean lock_down(GError **error)
{
#ifdef GP_SANITIZED /* whose shadow memory is larger than any machine's */
    return TRUE;
#endif
    if (prctl(PR_SET_DUMPABLE, 0) == 0 && mlockall(MCL_CURRENT | MCL_FUTURE) == 0)
        return TRUE;
    gp_set_errno(error, errno, "volume: locking memory");
    return FALSE;
}

int main(int argc, char **argv)
{
    (void) argv;
    gp_crypto_ends_without_memory();
    if (argc != 1) {
        fputs("guest-pull-volume is started by guest-pull\n", stderr);
        return 2;
    }
    g_autoptr(GError) error = NULL;
    json_t *answer = lock_down(&error) ? serve(&error) : NULL;
    if (!answer)
        answer = json_pack(
            "{s:{s:s, s:s}}", "error", "code", gp_error_info(gp_error_code(error))->name, "message", error->message);
    g_autofree char *text = gp_json_to_text(answer, FALSE);
    json_decref(answer);
    return gp_write_all(GP_VOLUME_ANSWER_FD, text, strlen(text), NULL) ? 0 : 1;
}
