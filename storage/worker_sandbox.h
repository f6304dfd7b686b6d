/* The unpack worker's confinement. */
#pragma once

#include <glib.h>

/* Confines this process: it can read and write the descriptors that it has, and nothing else. Errors: SANDBOX. */
gboolean gp_unpack_worker_confine(GError **error);
