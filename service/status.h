/* The service's state for "guest-pull status" and for Prometheus, on a socket of root's. */
#pragma once

#include <glib.h>

#include "service/pulls.h"
#include "service/server.h"
#include "service/upstream.h"

typedef struct _GpStatus GpStatus;

/* Answers on @listen_fd (borrowed): a client that sends a line "GET /metrics …" (curl --unix-socket) gets Prometheus
 * text over HTTP/1.0; one that sends anything else, or shuts its side down, gets one JSON document. One answer a
 * connection. @upstream may be NULL; all are borrowed. */
GpStatus *gp_status_new(int listen_fd, GpServer *server, GpPulls *pulls, GpUpstream *upstream);
void gp_status_free(GpStatus *status);
