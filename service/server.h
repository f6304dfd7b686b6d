/* The ttrpc server: accepts connections, serves api.ImagePullService itself and relays everything else. */
#pragma once

#include <glib.h>

#include "service/pulls.h"

typedef struct _GpServer GpServer;

/* Serves on @listen_fd (borrowed). @upstream: socket path of the real confidential-data-hub, NULL when there is none
 * (then its services are unknown). @patience_ms: see gp_relay_new(). @pulls is borrowed. */
GpServer *gp_server_new(int listen_fd, const char *upstream, guint patience_ms, GpPulls *pulls);
/* Closes all connections, which cancels their pulls. */
void gp_server_free(GpServer *server);

/* {"connections":N,"frames":N,"relayed":N,"malformed":N}; a new reference. */
json_t *gp_server_status(const GpServer *server);
