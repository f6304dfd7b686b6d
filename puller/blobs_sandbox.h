/* What guest-pull-blobs gives up before it reads its first byte of a blob. */
#pragma once

#include <glib.h>

/* Errors: SANDBOX. */
gboolean gp_blobs_worker_confine(GError **error);
