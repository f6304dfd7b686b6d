/* The functions behind the command table (cli/command.h); each prints its own result. */
#pragma once

#include "cli/command.h"

gboolean gp_command_pull(GpContext *context, int *status, GError **error);
gboolean gp_command_verify(GpContext *context, int *status, GError **error);
gboolean gp_command_verify_bundle(GpContext *context, int *status, GError **error);
gboolean gp_command_umount(GpContext *context, int *status, GError **error);

/* The whole program for "verify-bundle": argv[0] is that word. Returns the exit status. */
int gp_verify_bundle_main(int argc, char **argv);

gboolean gp_command_ref(GpContext *context, int *status, GError **error);
gboolean gp_command_registries_resolve(GpContext *context, int *status, GError **error);

gboolean gp_command_policy_check(GpContext *context, int *status, GError **error);
gboolean gp_command_policy_explain(GpContext *context, int *status, GError **error);
gboolean gp_command_policy_match(GpContext *context, int *status, GError **error);

gboolean gp_command_config_show(GpContext *context, int *status, GError **error);

gboolean gp_command_images(GpContext *context, int *status, GError **error);
gboolean gp_command_layers(GpContext *context, int *status, GError **error);
gboolean gp_command_rm(GpContext *context, int *status, GError **error);
gboolean gp_command_prune(GpContext *context, int *status, GError **error);
gboolean gp_command_df(GpContext *context, int *status, GError **error);
gboolean gp_command_fsck(GpContext *context, int *status, GError **error);

gboolean gp_command_volume_open(GpContext *context, int *status, GError **error);
gboolean gp_command_volume_close(GpContext *context, int *status, GError **error);
gboolean gp_command_volume_status(GpContext *context, int *status, GError **error);

gboolean gp_command_status(GpContext *context, int *status, GError **error);
