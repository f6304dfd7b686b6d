#include "puller/mount.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "puller/overlay_plan.h"
#include "storage/bundle.h"
#include "storage/mounting.h"
#include "storage/mounts.h"
#include "storage/uppers.h"

/* O_PATH descriptors of the layers, base first. */
typedef struct {
    int *fds;
    gsize count;
    gsize first; /* the lowest one that shows: those below it count for the root's attributes only */
} LayerFds;

static void layer_fds_clear(LayerFds *layers)
{
    while (layers->count > 0)
        close(layers->fds[--layers->count]);
    g_free(layers->fds);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LayerFds, layer_fds_clear)

/* Does the layer's root directory hide everything below? overlayfs does not look at that one for the mark. */
static gboolean root_is_opaque(int fd)
{
    char value = 0;
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    return getxattr(path, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

static gboolean open_layers(const GpMountRequest *request, LayerFds *layers, GError **error)
{
    const GPtrArray *descriptors = request->manifest->layers;
    layers->fds = g_new0(int, descriptors->len + 1);
    for (guint i = 0; i < descriptors->len; i++) {
        const GpDescriptor *layer = descriptors->pdata[i];
        int fd = gp_store_open_layer_root(request->store, &layer->digest, error);
        if (fd < 0)
            return FALSE;
        if (root_is_opaque(fd))
            layers->first = layers->count;
        layers->fds[layers->count++] = fd;
    }
    return TRUE;
}

static gboolean write_config(const GpMountRequest *request, GError **error)
{
    const GpImageConfig *image = request->config;
    GpBundleConfig config = {.env = image->env,
        .entrypoint = image->entrypoint,
        .cmd = image->cmd,
        .working_dir = image->working_dir,
        .user = image->user,
        .labels = image->labels,
        .stop_signal = image->stop_signal,
        .os = image->os,
        .architecture = image->architecture};
    g_autofree char *rootfs = g_build_filename(request->bundle, "rootfs", NULL);
    GP_AUTOFD int fd = open(rootfs, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "%s: the mount is not there", rootfs);
        return FALSE;
    }
    return gp_bundle_write_config(request->bundle, fd, &config, error);
}

static GPtrArray *plan_directories(const GpMountRequest *request, const LayerFds *layers, GError **error)
{
    g_autoptr(GPtrArray) implied = g_ptr_array_new_with_free_func((GDestroyNotify) g_ptr_array_unref);
    g_autoptr(GPtrArray) whiteouts = g_ptr_array_new_with_free_func((GDestroyNotify) g_ptr_array_unref);
    for (guint i = 0; i < request->manifest->layers->len; i++) {
        const GpDescriptor *layer = request->manifest->layers->pdata[i];
        GPtrArray *only_named = NULL, *hiding = NULL;
        if (!gp_store_layer_directories(request->store, &layer->digest, &only_named, &hiding, error))
            return NULL;
        g_ptr_array_add(implied, only_named);
        g_ptr_array_add(whiteouts, hiding);
    }
    const GpOverlayStack stack = {layers->fds, layers->count, implied, whiteouts};
    return gp_overlay_plan(&stack, error);
}

static gboolean mount_image(const GpMountRequest *request, GError **error)
{
    g_auto(LayerFds) layers = {0};
    if (!open_layers(request, &layers, error))
        return FALSE;
    g_autoptr(GPtrArray) directories = plan_directories(request, &layers, error);
    if (!directories)
        return FALSE;
    GP_AUTOFD int uppers = gp_uppers_reserve(request->runtime_dir, request->rw, request->rw_total, error);
    if (uppers < 0 || !gp_rootfs_mount(layers.fds + layers.first, layers.count - layers.first, directories,
                          request->bundle, request->rw, error))
        return FALSE;
    if (!write_config(request, error)) {
        /* A config.json that is there now is somebody else's. */
        (void) gp_rootfs_umount(request->bundle, NULL);
        return FALSE;
    }
    if (gp_mounts_record(request->runtime_dir, request->bundle,
            (GpMountsOf){gp_store_fd(request->store), request->manifest_digest}, error))
        return TRUE;
    gp_mount_undo(request);
    return FALSE;
}

gboolean gp_mount_image(const GpMountRequest *request, GError **error)
{
    *request->mounting = gp_mounting_begin(request->runtime_dir, request->bundle, error);
    if (*request->mounting < 0)
        return FALSE;
    if (mount_image(request, error))
        return TRUE;
    gp_mounting_end(request->runtime_dir, request->bundle, request->mounting);
    return FALSE;
}

void gp_mount_keep(const GpMountRequest *request)
{
    gp_mounting_end(request->runtime_dir, request->bundle, request->mounting);
}

void gp_mount_undo(const GpMountRequest *request)
{
    (void) gp_rootfs_umount(request->bundle, NULL);
    (void) gp_mounts_forget(request->runtime_dir, request->bundle, NULL);
    g_autofree char *config = g_build_filename(request->bundle, "config.json", NULL);
    (void) unlink(config);
    gp_mounting_end(request->runtime_dir, request->bundle, request->mounting);
}
