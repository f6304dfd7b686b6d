/* The fetch worker's confinement. */
#pragma once

#include <glib.h>

/* Confines this process: network, threads (the resolver's), reading of what name resolution and TLS roots need. Errors:
 * SANDBOX. */
gboolean gp_fetch_worker_confine(GError **error);
