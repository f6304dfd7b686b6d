/* The bundle directory that kata-agent names, checked before anything is done in it and put back as it was when a pull
 * fails. The path comes through a request; the directory is held open, so that what was checked is what is cleaned up.
 */
#pragma once

#include <glib.h>

#define GP_DEFAULT_BUNDLE_ROOT "/run/kata-containers"

typedef struct _GpBundleDir GpBundleDir;

/* Opens @path, which must be an existing directory strictly below one of @roots (NULL-ended, absolute paths), on the
 * same filesystem as that root, reached through no symbolic link, written in its one plain form (no "..", ".", "//" or
 * trailing slash) of printable characters, and without anything at <path>/rootfs. Errors: INVALID, NOT_FOUND, INTERNAL.
 */
GpBundleDir *gp_bundle_dir_open(const char *path, const char *const *roots, GError **error);
/* The same directory again after a pull into it has failed, to undo what that pull left: a rootfs may be there.
 * @had_config: what gp_bundle_dir_had_config() said before. Errors: as above. */
GpBundleDir *gp_bundle_dir_reopen(const char *path, const char *const *roots, gboolean had_config, GError **error);
void gp_bundle_dir_free(GpBundleDir *dir);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpBundleDir, gp_bundle_dir_free)

const char *gp_bundle_dir_path(const GpBundleDir *dir);
gboolean gp_bundle_dir_had_config(const GpBundleDir *dir);

/* TRUE if both are the same directory, however it was named. */
gboolean gp_bundle_dir_same(const GpBundleDir *a, const GpBundleDir *b);

/* TRUE if exactly one mount is on <path>/rootfs: the agent unmounts once. Errors: INTERNAL. */
gboolean gp_bundle_dir_check_mounted(const GpBundleDir *dir, GError **error);

/* Unmounts whatever is on <path>/rootfs, removes that directory, and removes config.json (and what there is of one half
 * written) unless it was there when @dir was opened. Nothing to do is success. The agent must not find a rootfs after a
 * failure (it would bind-mount a path of the host's choice only when there is none, and use what it finds when there is
 * one). Errors: INTERNAL. */
gboolean gp_bundle_dir_undo(const GpBundleDir *dir, GError **error);
