/* The real confidential-data-hub as our child: started with its socket moved, started again when it dies. */
#pragma once

#include <glib.h>
#include <jansson.h>

typedef struct _GpUpstream GpUpstream;

/* How long a relayed request waits for it to listen; kata-agent allows its services six seconds. */
#define GP_UPSTREAM_PATIENCE_MS 6000

/* Writes a copy of @config (NULL or missing: only what a start without a file would use) beside @socket_path, with the
 * socket moved there and [image] and [guest_pull] taken out, and starts @program -c COPY @arguments… (NULL-ended or
 * NULL). It is started again with a growing pause for as long as it keeps dying. Errors: USAGE (the configuration
 * cannot be read or rewritten), NOT_FOUND (no such program), INTERNAL. */
GpUpstream *gp_upstream_start(
    const char *program, const char *const *arguments, const char *config, const char *socket_path, GError **error);
/* Ends it and waits for that; removes the copy. */
void gp_upstream_free(GpUpstream *upstream);

/* {"pid":N,"starts":N}; a new reference. */
json_t *gp_upstream_status(const GpUpstream *upstream);
