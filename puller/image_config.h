/* The image configuration (image-spec config.md; Docker's is the same in what is read here), as far as a bundle needs
 * it. */
#pragma once

#include <glib.h>

#include "base/digest.h"

typedef struct {
    char *os, *architecture;
    GArray *diff_ids;                       /* GpDigest, one a layer */
    char **env, **entrypoint, **cmd;        /* NULL when absent */
    char *working_dir, *user, *stop_signal; /* NULL when absent */
    GHashTable *labels;                     /* NULL when absent */
} GpImageConfig;

/* Unknown keys are allowed (the format is open); what is read is typed strictly. @layers: how many the manifest has,
 * must agree with rootfs.diff_ids. Errors: INVALID, LIMIT, UNSUPPORTED. */
GpImageConfig *gp_image_config_parse(GBytes *bytes, guint layers, GError **error);
void gp_image_config_free(GpImageConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpImageConfig, gp_image_config_free)
