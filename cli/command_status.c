/* status: asks guest-pulld, over its status socket, what it is doing. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/ttrpc.h"
#include "cli/commands.h"
#include "cli/output.h"

#define SOCKET_NAME "status.sock" /* in the runtime directory */
#define PATIENCE 5                /* seconds */
#define SHOWN 300

static int connect_to(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = PATIENCE};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0) {
        gp_set_errno(error, errno, "socket");
        return -1;
    }
    if (connect(fd, (struct sockaddr *) &address, sizeof address) < 0) {
        g_set_error(error, GP_ERROR, errno == EACCES ? GP_ERROR_USAGE : GP_ERROR_NETWORK, "guest-pulld at %s: %s\n%s",
            path, g_strerror(errno), errno == EACCES ? "Only root may ask." : "Is the service running?");
        return -1;
    }
    (void) shutdown(fd, SHUT_WR); /* the whole request is that we are there */
    return gp_steal_fd(&fd);
}

static json_t *ask(const char *path, GError **error)
{
    GP_AUTOFD int fd = connect_to(path, error);
    if (fd < 0)
        return NULL;
    g_autoptr(GBytes) answer = gp_read_all(fd, GP_LIMIT_STATUS, "guest-pulld's answer", error);
    return answer ? gp_json_parse(g_bytes_get_data(answer, NULL), g_bytes_get_size(answer), GP_LIMIT_STATUS,
                        "guest-pulld's answer", error)
                  : NULL;
}

/* A string of @object, escaped; "" if there is none. Owned by the caller. */
static char *word(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return gp_escape(text ? text : "", -1, SHOWN);
}

static json_int_t number(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void print_layers(json_t *layers)
{
    size_t i;
    json_t *layer;
    json_array_foreach(layers, i, layer)
    {
        g_autofree char *digest = word(layer, "digest");
        g_autofree char *state = word(layer, "state");
        g_autofree char *fetched = gp_format_bytes((guint64) number(layer, "fetched"));
        g_autofree char *size = gp_format_bytes((guint64) number(layer, "size"));
        gp_print("    %-12s %-8s %9s of %9s\n", digest, state, fetched, size);
    }
}

static void print_pull(const GpContext *context, json_t *pull)
{
    g_autofree char *request = word(pull, "request");
    g_autofree char *image = word(pull, "image");
    g_autofree char *bundle = word(pull, "bundle");
    g_autofree char *state = word(pull, "state");
    g_autofree char *phase = word(pull, "phase");
    json_t *bytes = json_object_get(pull, "bytes");
    g_autofree char *fetched = gp_format_bytes((guint64) number(bytes, "fetched"));
    g_autofree char *size = gp_format_bytes((guint64) number(bytes, "size"));
    gp_print("  %s  %s%s%s  %s of %s in %zu layers  %.1f s\n    %s\n    into %s\n", request, state, *phase ? ", " : "",
        phase, fetched, size, json_array_size(json_object_get(pull, "layers")),
        json_real_value(json_object_get(pull, "ageSeconds")), image, bundle);
    if (context->verbose)
        print_layers(json_object_get(pull, "layers"));
}

static void print_status(const GpContext *context, json_t *answer)
{
    json_t *pulls = json_object_get(answer, "pulls");
    json_t *totals = json_object_get(pulls, "totals");
    json_t *server = json_object_get(answer, "server");
    g_autofree char *version = word(answer, "version");
    g_autofree char *fetched = gp_format_bytes((guint64) number(totals, "fetchedBytes"));
    json_t *in_flight = json_object_get(pulls, "inFlight");
    gp_print("guest-pulld %s (guest-pull %s), %zu pulls in flight, %" JSON_INTEGER_FORMAT " connections\n", version,
        GP_VERSION, json_array_size(in_flight), number(server, "connections"));
    size_t i;
    json_t *pull;
    json_array_foreach(in_flight, i, pull)
    {
        print_pull(context, pull);
    }
    gp_print("totals: %" JSON_INTEGER_FORMAT " asked, %" JSON_INTEGER_FORMAT " succeeded, %" JSON_INTEGER_FORMAT
             " failed (%" JSON_INTEGER_FORMAT " timed out, %" JSON_INTEGER_FORMAT " cancelled), %" JSON_INTEGER_FORMAT
             " refused, %s fetched\n",
        number(totals, "asked"), number(totals, "succeeded"), number(totals, "failed"), number(totals, "timedOut"),
        number(totals, "cancelled"), number(totals, "refused"), fetched);
}

gboolean gp_command_status(GpContext *context, int *status, GError **error)
{
    g_autofree char *path = context->n_words > 0 ? gp_unix_path(context->words[0], error)
                                                 : g_build_filename(context->pull->runtime_dir, SOCKET_NAME, NULL);
    if (!path)
        return FALSE;
    g_autoptr(json_t) answer = ask(path, error);
    if (!answer)
        return FALSE;
    if (context->json) {
        json_object_set_new(answer, "versions",
            json_pack("{s:s, s:O*}", "guest-pull", GP_VERSION, "guest-pulld", json_object_get(answer, "version")));
        gp_print_json(json_incref(answer));
    } else {
        print_status(context, answer);
    }
    *status = 0;
    return TRUE;
}
