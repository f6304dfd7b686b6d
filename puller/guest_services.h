/* The guest's other services, as the puller uses them: resources and keys from the confidential-data-hub, measurements
 * by the attestation agent. Each call is one connection of its own, blocking, safe from any thread. */
#pragma once

#include <glib.h>

#define GP_DEFAULT_CDH_SOCKET "/run/guest-pull/cdh-upstream.sock"
#define GP_DEFAULT_AA_SOCKET "/run/confidential-containers/attestation-agent/attestation-agent.sock"

/* The resource @uri ("kbs:///repository/type/tag", "kbs+plugin://…") from the confidential-data-hub at @socket, at most
 * @max bytes. The result is wiped with its last reference. Errors, all naming @uri: USAGE (no such form), LIMIT, KEY
 * (anything else: absent, refused, too late, no such service). */
GBytes *gp_guest_get_resource(const char *socket, const char *uri, guint deadline_ms, gsize max, GError **error);

/* Hands @input (ocicrypt's key provider protocol, JSON) to UnWrapKey and returns the answer's JSON, wiped with its
 * last reference. Errors: LIMIT, KEY. */
GBytes *gp_guest_unwrap_key(const char *socket, GBytes *input, guint deadline_ms, gsize max, GError **error);

typedef enum {
    GP_EXTEND_OK = 0,
    GP_EXTEND_NOT_SUPPORTED = 1, /* this platform has no runtime registers */
    GP_EXTEND_NOT_ENABLED = 2,   /* the attestation agent keeps no event log */
} GpExtendResult;

/* Extends the runtime measurement by one event in the domain "github.com/confidential-containers"; @content must have
 * no line feed (the event log has a line an event). FALSE unless the agent answered; what *@result means is the
 * caller's policy. Errors: NETWORK and what gp_ttrpc_call() says, INVALID (an answer that makes no sense), USAGE
 * (@content). */
gboolean gp_guest_extend_measurement(const char *socket, const char *operation, const char *content, guint deadline_ms,
    GpExtendResult *result, GError **error);
