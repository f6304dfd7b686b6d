/* What [guest_pull] of the configuration says about the service itself. The puller reads that file, strictly and in one
 * place; we ask it ("guest-pull config show --json"), so that no parser of it is in this process. */
#pragma once

#include <glib.h>

typedef struct {
    char **bundle_roots; /* NULL: not set */
    guint timeout;       /* seconds for one pull; 0: not set */
    guint max_pulls;     /* at once; 0: not set */
    gboolean eager;      /* volume.eager */
} GpSettings;

/* Asks @program for the settings of @config (NULL: of the puller's default file). Errors: the puller's own (USAGE with
 * the file and the key), NOT_FOUND, INTERNAL (no answer within three seconds, or one that makes no sense). */
gboolean gp_settings_ask(const char *program, const char *config, GpSettings *settings, GError **error);
void gp_settings_clear(GpSettings *settings);
