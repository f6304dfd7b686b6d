/* What guest-pulld and the unit of one pull say to each other over a unix socket of messages (SOCK_SEQPACKET), root's
 * alone: each message is one JSON object.
 *
 *   to the unit, once:    {"pull":IMAGE,"bundle":DIR,"request":ID,"seconds":N}
 *                      or {"undo":DIR,"hadConfig":BOOL,"request":ID,"pid":N}
 *   back, any number:     {"pid":N}, {"progress":{…}}
 *   back, last:           {"digest":"sha256:…"}, {"error":{"code","message"}} or {"undone":true}
 *
 * When our side is shut down the unit ends the pull and takes back what it did. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/limits.h"

#define GP_UNIT_MESSAGE (GP_LIMIT_PULL_PROGRESS + 1024)

/* The next message on @fd, without waiting. NULL without @error: none yet (*@end FALSE), or the other side is gone
 * (*@end TRUE). Errors: INVALID, LIMIT, INTERNAL. New reference. */
json_t *gp_unit_receive(int fd, gboolean *end, GError **error);

/* Sends @message (consumed), waiting at most @wait_ms for room. Errors: INTERNAL. */
gboolean gp_unit_send(int fd, json_t *message, int wait_ms, GError **error);

/* A failure as a message, and back; the hint stays with its message. */
json_t *gp_unit_error(const GError *why);
GError *gp_unit_read_error(json_t *failure);
