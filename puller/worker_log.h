/* What is told of each HTTP exchange of a job: a frame for the puller's report (fetch_protocol.h), and with --verbose a
 * line for people. */
#pragma once

#include <glib.h>

#include "puller/worker_exchange.h"

typedef struct {
    int fd;       /* the reply pipe; borrowed */
    gint64 began; /* monotonic microseconds: when the request came */
    guint told, untold;
    gboolean verbose;
} GpExchangeLog;

/* Makes @fd non-blocking: telling never waits. */
void gp_exchange_log_init(GpExchangeLog *log, int fd, gboolean verbose);

/* Tells of @exchange, which is over; @token: it was a token server's. @problem: what went wrong, or NULL. What finds no
 * room, or comes after GP_LIMIT_EXCHANGES others, is counted. */
void gp_exchange_log_tell(GpExchangeLog *log, const GpExchange *exchange, gboolean token, const char *problem);
