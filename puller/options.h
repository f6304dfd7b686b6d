/* What one pull or verification is asked to do: filled by the command line or the service, read by everyone in puller/.
 */
#pragma once

#include <glib.h>

#include "puller/manifest.h"
#include "storage/rootfs.h"

typedef struct {
    char *image;  /* the IMAGE argument */
    char *as;     /* identity for a local image; NULL */
    char *bundle; /* NULL: verify only */
    char *policy; /* path or URI; NULL: there is none, and everything is refused */
    char *registries_d;
    gboolean registries_d_given; /* else a missing directory is no error */
    char *authfile;              /* NULL: anonymous */
    char *store;
    char *runtime_dir;
    char *platform; /* NULL: this machine */
    char **plain_http;
    char *cert_dir;
    guint timeout; /* seconds, for everything */
    guint max_parallel;
    GpRootfsLimits rw;
    gboolean allow_unencrypted_store;
    gboolean verbose;
} GpPullOptions;

#define GP_DEFAULT_STORE "/var/lib/guest-pull"
#define GP_DEFAULT_RUNTIME_DIR "/run/guest-pull"
#define GP_DEFAULT_REGISTRIES_D "/etc/containers/registries.d"

GpPullOptions *gp_pull_options_new(void); /* with the defaults */
void gp_pull_options_free(GpPullOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpPullOptions, gp_pull_options_free)
