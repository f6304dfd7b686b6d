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

/* Asks @program for the settings of @config (NULL: of the puller's default file), for at most @patience_ms. Errors: the
 * puller's own (USAGE with the file and the key), NOT_FOUND, CANCELLED (no answer in time), INTERNAL (one that makes no
 * sense). Then nothing is known, and no pull may start: the configuration may be narrower than the defaults. */
gboolean gp_settings_ask(
    const char *program, const char *config, guint patience_ms, GpSettings *settings, GError **error);
void gp_settings_clear(GpSettings *settings);
