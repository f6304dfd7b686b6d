#include "cli/command.h"

#include "cli/commands.h"

const GpCommand gp_commands[] = {
    {"pull", "IMAGE --bundle DIR", "verify, store, mount DIR/rootfs; print the digest", 1, 1, gp_command_pull},
    {"verify", "IMAGE", "all up to the verdict; no layer is fetched", 1, 1, gp_command_verify},
    {"verify-bundle", "FILE|DIGEST", "a Sigstore bundle; see its own --help", 0, G_MAXUINT, gp_command_verify_bundle,
        TRUE},
    {"umount", "DIR", "undo a pull's mount", 1, 1, gp_command_umount},
    {"ref", "IMAGE", "a reference normalized, and its policy scopes", 1, 1, gp_command_ref, TRUE},
    {"policy check", "FILE", "parse a policy strictly", 1, 1, gp_command_policy_check},
    {"policy explain", "IMAGE", "scopes tried, the match and its requirements", 1, 1, gp_command_policy_explain},
    {"policy match", "INTENDED SIGNED", "one signedIdentity rule (--identity JSON)", 2, 2, gp_command_policy_match,
        TRUE},
    {"registries resolve", "IMAGE", "the places that are asked, in order, and why", 1, 1,
        gp_command_registries_resolve},
    {"config show", "", "effective configuration, origin of each value", 0, 0, gp_command_config_show},
    {"images", "", "images in the store; --receipts: past pulls", 0, 0, gp_command_images},
    {"layers", "", "layers in the store", 0, 0, gp_command_layers},
    {"rm", "IMAGE|DIGEST", "remove an image and the layers only it uses", 1, 1, gp_command_rm},
    {"prune", "", "remove what no image uses; old images if asked", 0, 0, gp_command_prune},
    {"df", "", "space: the store, writable layers, memory", 0, 0, gp_command_df},
    {"fsck", "[IMAGE|DIGEST]", "verify every byte that would be mounted", 0, 1, gp_command_fsck},
    {"volume open", "", "open and mount the encrypted volume", 0, 0, gp_command_volume_open},
    {"volume close", "", "unmount and close it", 0, 0, gp_command_volume_close},
    {"volume status", "", "is it open, on what, with integrity?", 0, 0, gp_command_volume_status},
    {"status", "[SOCKET]", "what guest-pulld is doing", 0, 1, gp_command_status, TRUE},
    {NULL, NULL, NULL, 0, 0, NULL, FALSE},
};
