/* The settings that a configuration can have: names, kinds, places in GpPullOptions. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "puller/options.h"

typedef enum {
    GP_SETTING_POLICY,
    GP_SETTING_REGISTRIES_D,
    GP_SETTING_SIGSTORE_CONFIG,
    GP_SETTING_AUTHFILE,
    GP_SETTING_REGISTRIES,
    GP_SETTING_BLOB_DIRECTORIES,
    GP_SETTING_STORE,
    GP_SETTING_RUNTIME_DIR,
    GP_SETTING_BUNDLE_ROOTS,
    GP_SETTING_CERT_DIR,
    GP_SETTING_EXTRA_ROOTS,
    GP_SETTING_PLAIN_HTTP,
    GP_SETTING_HTTPS_PROXY,
    GP_SETTING_HTTP_PROXY,
    GP_SETTING_NO_PROXY,
    GP_SETTING_MAX_PARALLEL,
    GP_SETTING_MAX_PULLS,
    GP_SETTING_TIMEOUT,
    GP_SETTING_RW_SIZE,
    GP_SETTING_RW_TOTAL,
    GP_SETTING_LIMITS,
    GP_SETTING_LOW_WATER,
    GP_SETTING_HIGH_WATER,
    GP_SETTING_UNENCRYPTED,
    GP_SETTING_FOREIGN,
    GP_SETTING_MEASUREMENT,
    GP_SETTING_CDH_SOCKET,
    GP_SETTING_RESOURCE_ENDPOINT,
    GP_SETTING_KEY_PROVIDER_CONFIG,
    GP_SETTING_AGENT_SOCKET,
    GP_SETTING_VOLUME_DEVICE,
    GP_SETTING_VOLUME_SIZE,
    GP_SETTING_VOLUME_MODE,
    GP_SETTING_VOLUME_KEY,
    GP_SETTING_VOLUME_INTEGRITY,
    GP_SETTING_VOLUME_FILESYSTEM,
    GP_SETTING_VOLUME_EAGER,
    GP_N_SETTINGS,
} GpSetting;

const char *gp_setting_name(GpSetting setting); /* "max_parallel" */
/* GP_N_SETTINGS when there is none @name. */
GpSetting gp_setting_find(const char *name);

/* How a value is written where it stands. */
typedef enum {
    GP_FORM_LOCATION, /* absolute path, file:/// or kbs:// URI */
    GP_FORM_INLINE,   /* the document itself */
    GP_FORM_PATH,
    GP_FORM_PATHS,
    GP_FORM_SOCKET,
    GP_FORM_ENDPOINT, /* http://127.0.0.1:PORT */
    GP_FORM_HOSTS,
    GP_FORM_PROXY,    /* http:// or socks URL; the host alone is http's */
    GP_FORM_NO_PROXY, /* hosts, domains and networks, comma-separated */
    GP_FORM_TABLE,    /* its keys are settings of their own */
    GP_FORM_CERTIFICATES,
    GP_FORM_COUNT,        /* 1 to the setting's ceiling */
    GP_FORM_COUNT_CAPPED, /* the same, more counts as the ceiling */
    GP_FORM_BOOLEAN,
    GP_FORM_SIZE,
    GP_FORM_LIMITS, /* a section of its own */
    GP_FORM_SPACE,  /* of a filesystem: bytes or percent */
    GP_FORM_MEASUREMENT,
    GP_FORM_DEVICE, /* absolute path or PARTLABEL=name */
    GP_FORM_BYTES,  /* "4G", or a number */
    GP_FORM_CHOICE, /* a name that storage/volume.h knows */
} GpForm;

/* A key of a section. */
typedef struct {
    const char *key; /* NULL ends a table */
    GpSetting setting;
    GpForm form;
} GpSettingKey;

/* Sets @setting in @options to @value, read as @form says, in place of whatever else was said about the same matter.
 * @place names it in errors. Errors: USAGE, LIMIT. */
gboolean gp_setting_set(
    GpPullOptions *options, const GpSettingKey *key, json_t *value, const char *place, GError **error);

/* Clears what @setting takes the place of, when it is set by other means than gp_setting_set(). */
void gp_setting_replaces(GpPullOptions *options, GpSetting setting);

/* Its value for people and scripts, secrets left out; null when not set. New reference. */
json_t *gp_setting_describe(const GpPullOptions *options, GpSetting setting);
