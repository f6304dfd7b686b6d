/* One client: its requests in flight, its pulls, its relay. */
#pragma once

#include <glib.h>

#include "service/pulls.h"

typedef struct _GpConnection GpConnection;

typedef struct {
    const char *upstream; /* NULL: none */
    guint patience_ms;
    GpPulls *pulls;
    guint64 frames, relayed, malformed; /* counted over all connections */
    /* The connection has ended and is being freed. */
    void (*ended)(GpConnection *connection, gpointer user_data);
    gpointer user_data;
} GpConnectionShared;

/* Takes @fd. @shared is borrowed. */
GpConnection *gp_connection_new(int fd, GpConnectionShared *shared);
/* Closes it without calling shared->ended; its pulls are cancelled. */
void gp_connection_free(GpConnection *connection);
