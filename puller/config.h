/* Where a pull's options come from, in rising precedence: defaults; the kernel's command line (only where no [image]
 * section is); the configuration file's [image] and then [guest_pull]; the environment; the command line. See
 * docs/configuration.md. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "puller/options.h"

/* Where configuration is looked for. */
typedef struct {
    const char *const *files; /* the first one that exists is read, NULL-ended */
    const char *command_line; /* of the kernel; NULL or absent: none */
} GpConfigPlaces;

/* /run/confidential-containers/initdata/cdh.toml, /etc/guest-pull/config.toml; /proc/cmdline. */
extern const GpConfigPlaces gp_config_places;

typedef struct _GpConfig GpConfig;

/* Reads @file (NULL: the first of @places; none is fine) and sets @options, which hold the defaults. TOML, or JSON if
 * the name ends in .json or the first character is "{". Errors, naming the file and the key: USAGE, LIMIT. */
GpConfig *gp_config_load(const char *file, const GpConfigPlaces *places, GpPullOptions *options, GError **error);
void gp_config_free(GpConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpConfig, gp_config_free)

/* Notes that setting @name ("policy", as in [guest_pull]) was given by the command line's @option, which has set it in
 * @options; what it replaces there is cleared. */
void gp_config_override(GpConfig *config, const char *name, const char *option, GpPullOptions *options);

/* The effective configuration without secrets: {"file","settings":[{"name","value","origin"}],"ignored":[…]}; values
 * are null where nothing is set. New reference. */
json_t *gp_config_describe(const GpConfig *config, const GpPullOptions *options);
