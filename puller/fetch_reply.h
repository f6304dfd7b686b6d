/* What the fetch worker says about a request through its reply pipe: parsed here, believed nowhere. Included by
 * puller/fetch.c only. */
#pragma once

#include <glib.h>

#include "puller/request_log.h"

typedef struct {
    guint64 bytes;
    char *content_type, *next; /* NULL when absent */
} GpFetchReply;

void gp_fetch_reply_clear(GpFetchReply *reply);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GpFetchReply, gp_fetch_reply_clear)

/* Reads the frames of the reply pipe @fd to the reply itself; those before it go to @log, as does that none came.
 * Errors: the worker's own, of the codes that it may report; SANDBOX when it died or broke its protocol; CANCELLED. */
gboolean gp_fetch_reply_read(int fd, GpRequestLog *log, const GpAsked *asked, GpFetchReply *reply, GError **error);

/* Nobody waits for the reply any more: what has been told by now goes to @log. */
void gp_fetch_reply_give_up(int fd, GpRequestLog *log, const GpAsked *asked);

/* Why an answer fails to come: CANCELLED if that is the reason, else SANDBOX. */
void gp_fetch_set_worker_died(GError **error);
