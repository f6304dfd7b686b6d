/* config.json of an OCI bundle (runtime-spec config.md) from an image configuration, such that "crun run" starts it as
 * it is. */
#pragma once

#include <glib.h>

/* What the image says about its process; borrowed. */
typedef struct {
    char **env, **entrypoint, **cmd; /* NULL when absent */
    const char *working_dir, *user;  /* NULL when absent */
    GHashTable *labels;              /* char* to char*; become annotations; NULL when absent */
    const char *stop_signal;
    const char *os, *architecture;
} GpBundleConfig;

/* Resolves "user[:group]" by /etc/passwd and /etc/group *inside* @rootfs_fd (storage/user.h) and writes
 * @bundle/config.json (0600, replaced atomically). What the image does not say: PATH is the usual one, HOME the user's,
 * the directory "/", and the program "sh". The last because an image without a program is pulled all the same:
 * kata-agent brings its own config.json with the pod's command. Errors: INVALID (no such user, malformed), LIMIT,
 * INTERNAL, SPACE. */
gboolean gp_bundle_write_config(const char *bundle, int rootfs_fd, const GpBundleConfig *config, GError **error);
