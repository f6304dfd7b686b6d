/* What one pull or verification is asked to do: filled by the command line or the service, read by everyone in puller/.
 */
#pragma once

#include <glib.h>

#include "puller/manifest.h"
#include "puller/measure.h"
#include "puller/room.h"
#include "storage/layer_limits.h"
#include "storage/rootfs.h"
#include "storage/volume.h"

typedef struct {
    char *image;       /* the IMAGE argument */
    char *as;          /* identity for a local image; NULL */
    char *bundle;      /* NULL: verify only */
    char *policy;      /* path or URI; with policy_text NULL too there is none, and everything is refused */
    char *policy_text; /* inline; only without policy */
    char *registries_d;
    gboolean registries_d_given; /* else a missing directory is no error */
    char *sigstore_config;       /* path or URI of one registries.d file, used unless registries_d_given; NULL */
    char *sigstore_config_text;  /* inline; only without sigstore_config */
    char *authfile;              /* path or URI; NULL: anonymous */
    char *registries;            /* registries.conf: path, directory or URI; NULL */
    char *registries_text;       /* inline; only without registries */
    char **blob_directories;     /* shared by the host, asked for blobs first; NULL */
    char *store;
    char *runtime_dir;
    char *platform; /* NULL: this machine */
    char **plain_http;
    char *cert_dir;
    char *extra_roots;                         /* further CA certificates, PEM; NULL */
    char *https_proxy, *http_proxy, *no_proxy; /* of registries; NULL: none */
    char *cdh_socket;                          /* of the confidential-data-hub: kbs:// resources */
    char *resource_endpoint;                   /* REST service to ask where that socket does not exist */
    char *key_provider_config; /* of ocicrypt: which key provider is asked where; NULL: all at cdh_socket */
    char *decryption_key;      /* file with an RSA key for "jwe" packets (debugging); NULL */
    char *agent_socket;        /* of the attestation agent */
    GpMeasureMode measurement;
    char **bundle_roots; /* a bundle must lie below one of them; NULL: anywhere */
    char *request_id;    /* of the service, for the receipt; NULL */
    guint timeout;       /* seconds, for everything */
    guint max_parallel;
    guint max_pulls; /* guest-pulld's: pulls at the same time */
    GpRootfsLimits rw;
    guint64 rw_total; /* bytes that all writable layers together may grow to; 0: no ceiling */
    GpLayerLimits limits;
    GpSpace low_water, high_water; /* free space in the store: see puller/room.h */
    GpVolumeConfig volume;         /* without a device: the store lies where it lies */
    gboolean allow_unencrypted_store;
    gboolean allow_foreign_layers; /* fetched from the URLs that the manifest names */
    gboolean verbose;
} GpPullOptions;

#define GP_DEFAULT_STORE "/var/lib/guest-pull"
#define GP_DEFAULT_RUNTIME_DIR "/run/guest-pull"
#define GP_DEFAULT_REGISTRIES_D "/etc/containers/registries.d"

GpPullOptions *gp_pull_options_new(void); /* with the defaults */
void gp_pull_options_free(GpPullOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpPullOptions, gp_pull_options_free)
