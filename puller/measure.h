/* MEASURE: a pull becomes an event of the guest's runtime measurement, so that a remote verifier sees which images ran.
 */
#pragma once

#include <glib.h>

#include "base/digest.h"

typedef enum {
    GP_MEASURE_AUTO = 0,    /* required where the attestation agent's socket exists, unless the agent itself answers
                               that it keeps no event log or that the platform has no runtime registers */
    GP_MEASURE_REQUIRED,    /* only an extended register will do */
    GP_MEASURE_BEST_EFFORT, /* whatever happens is reported */
    GP_MEASURE_OFF,         /* nobody is asked */
} GpMeasureMode;

const char *gp_measure_mode_name(GpMeasureMode mode); /* "best-effort" */
/* FALSE if there is no mode @name. */
gboolean gp_measure_mode_from_name(const char *name, GpMeasureMode *mode);

/* The event's content: {"digest":"sha256:…","image":"…"} in canonical form (RFC 8785), one line. @image must be UTF-8.
 * Caller's. */
char *gp_measure_event(const char *image, const GpDigest *digest);

/* Records that @image (as it was asked for) with the manifest @digest is about to be mounted, at the attestation agent
 * behind @socket. Waits for at most 10 seconds. *@outcome, caller's, says what came of it: "extended", "off",
 * "no-agent", "not-supported", "not-enabled" or "failed: …". FALSE, with *@outcome NULL, if @mode wants more than what
 * happened. Errors: those of gp_guest_extend_measurement(), UNSUPPORTED (the agent says that it does not measure). */
gboolean gp_measure_image(
    GpMeasureMode mode, const char *socket, const char *image, const GpDigest *digest, char **outcome, GError **error);
