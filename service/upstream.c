#include "service/upstream.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "service/child.h"
#include "base/log.h"
#include "service/toml_edit.h"

#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 10000
#define HEALTHY_SECONDS 30 /* whoever lived so long starts again without a pause */
#define END_MS 2000        /* between SIGTERM and SIGKILL when we end */

struct _GpUpstream {
    char *program;
    char **arguments; /* whole argv */
    char *copy;       /* configuration written for it */
    char *socket_path;
    GpChild child;
    gint64 started; /* monotonic */
    guint pause_ms;
    guint64 starts;
    guint end_source, restart_source;
};

/* ---- the configuration that it gets */

static gboolean plain(const char *text)
{
    for (; *text; text++)
        if (!g_ascii_isprint(*text) || *text == '"' || *text == '\\')
            return FALSE;
    return TRUE;
}

/* The [kbc] section that stands in for a missing file: without -c the confidential-data-hub would take these from
 * AA_KBC_PARAMS or the kernel's command line (agent.aa_kbc_params=NAME::URL); with our -c it no longer does. */
static char *kbc_section(GError **error)
{
    g_autofree char *cmdline = NULL;
    g_autofree char *found = g_strdup(g_getenv("AA_KBC_PARAMS"));
    if (!found && g_file_get_contents("/proc/cmdline", &cmdline, NULL, NULL)) {
        g_auto(GStrv) words = g_strsplit_set(cmdline, " \n", -1);
        for (char **word = words; !found && *word; word++)
            if (g_str_has_prefix(*word, "agent.aa_kbc_params="))
                found = g_strdup(*word + strlen("agent.aa_kbc_params="));
    }
    if (!found)
        found = g_strdup("offline_fs_kbc::");
    g_auto(GStrv) parts = g_strsplit(found, "::", 2);
    if (g_strv_length(parts) != 2 || !plain(parts[0]) || !plain(parts[1])) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "aa_kbc_params: not of the form NAME::URL");
        return NULL;
    }
    return g_strdup_printf("[kbc]\nname = \"%s\"\nurl = \"%s\"\n", parts[0], parts[1]);
}

/* What @config says, less what is not for the upstream. */
static char *configuration(const char *config, GError **error)
{
    static const char *const taken_out[] = {"image", "guest_pull", "socket", NULL};
    if (!config || access(config, F_OK) < 0)
        return kbc_section(error);
    g_autoptr(GBytes) bytes = gp_read_file(AT_FDCWD, config, GP_LIMIT_POLICY, "configuration", error);
    if (!bytes)
        return NULL;
    gsize length;
    const char *text = g_bytes_get_data(bytes, &length);
    char *rest = gp_toml_without(text ? text : "", length, taken_out, error);
    if (!rest)
        g_prefix_error(error, "%s: ", config);
    return rest;
}

static gboolean write_copy(const GpUpstream *upstream, const char *config, GError **error)
{
    g_autofree char *rest = configuration(config, error);
    if (!rest)
        return FALSE;
    g_autofree char *text = g_strdup_printf("socket = \"unix://%s\"\n%s", upstream->socket_path, rest);
    g_autofree char *directory = g_path_get_dirname(upstream->copy);
    g_autoptr(GError) cause = NULL;
    if (!gp_mkdir_p(directory, 0755, error))
        return FALSE;
    if (g_file_set_contents_full(upstream->copy, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &cause))
        return TRUE;
    gp_propagate_foreign(error, &cause, GP_ERROR_INTERNAL, "writing %s", upstream->copy);
    return FALSE;
}

/* ---- its life */

static gboolean start(GpUpstream *upstream, GError **error);

static gboolean on_restart(gpointer user_data)
{
    GpUpstream *upstream = user_data;
    g_autoptr(GError) error = NULL;
    if (start(upstream, &error)) {
        upstream->restart_source = 0;
        return G_SOURCE_REMOVE;
    }
    gp_log(G_LOG_LEVEL_CRITICAL, NULL, "%s", error->message);
    upstream->pause_ms = LONGEST_PAUSE_MS;
    upstream->restart_source = g_timeout_add(upstream->pause_ms, on_restart, upstream);
    return G_SOURCE_REMOVE;
}

static gboolean on_end(int fd, GIOCondition condition, gpointer user_data)
{
    GpUpstream *upstream = user_data;
    upstream->end_source = 0;
    pid_t pid = upstream->child.pid;
    g_autofree char *how = gp_child_describe(gp_child_reap(&upstream->child));
    gboolean healthy = g_get_monotonic_time() - upstream->started >= HEALTHY_SECONDS * G_TIME_SPAN_SECOND;
    upstream->pause_ms = healthy ? FIRST_PAUSE_MS : MIN(upstream->pause_ms * 2, LONGEST_PAUSE_MS);
    gp_log(G_LOG_LEVEL_WARNING, NULL, "%s (process %d) ended with %s; it is started again in %.1f s", upstream->program,
        (int) pid, how, upstream->pause_ms / 1000.0);
    upstream->restart_source = g_timeout_add(upstream->pause_ms, on_restart, upstream);
    return G_SOURCE_REMOVE;
}

static gboolean start(GpUpstream *upstream, GError **error)
{
    (void) unlink(upstream->socket_path); /* what a killed one left; if it listens, it is ours and dead */
    g_auto(GStrv) environment = gp_child_environment();
    const GpChildStart start = {.argv = (const char *const *) upstream->arguments,
        .envp = environment,
        .stdout_fd = -1,
        .death_signal = SIGKILL};
    if (!gp_child_spawn(&start, &upstream->child, error))
        return FALSE;
    upstream->starts++;
    upstream->started = g_get_monotonic_time();
    upstream->end_source = g_unix_fd_add(upstream->child.pidfd, G_IO_IN, on_end, upstream);
    gp_log(G_LOG_LEVEL_INFO, NULL, "started %s as process %d", upstream->program, (int) upstream->child.pid);
    return TRUE;
}

GpUpstream *gp_upstream_start(
    const char *program, const char *const *arguments, const char *config, const char *socket_path, GError **error)
{
    GpUpstream *upstream = g_new0(GpUpstream, 1);
    upstream->program = g_strdup(program);
    upstream->socket_path = g_strdup(socket_path);
    upstream->copy = g_strconcat(socket_path, ".toml", NULL); /* its reader goes by the suffix */
    upstream->child.pidfd = -1;
    upstream->pause_ms = FIRST_PAUSE_MS / 2;
    GPtrArray *argv = g_ptr_array_new();
    g_ptr_array_add(argv, g_strdup(program));
    g_ptr_array_add(argv, g_strdup("-c"));
    g_ptr_array_add(argv, g_strdup(upstream->copy));
    for (const char *const *argument = arguments; argument && *argument; argument++)
        g_ptr_array_add(argv, g_strdup(*argument));
    g_ptr_array_add(argv, NULL);
    upstream->arguments = (char **) g_ptr_array_free(argv, FALSE);

    if (write_copy(upstream, config, error) && start(upstream, error))
        return upstream;
    gp_upstream_free(upstream);
    return NULL;
}

void gp_upstream_free(GpUpstream *upstream)
{
    if (!upstream)
        return;
    if (upstream->end_source)
        g_source_remove(upstream->end_source);
    if (upstream->restart_source)
        g_source_remove(upstream->restart_source);
    if (upstream->child.pid > 0) {
        struct pollfd wait = {.fd = upstream->child.pidfd, .events = POLLIN};
        gp_child_signal(&upstream->child, SIGTERM, FALSE);
        (void) poll(&wait, 1, END_MS);
        (void) gp_child_reap(&upstream->child);
        (void) unlink(upstream->socket_path);
    }
    (void) unlink(upstream->copy);
    g_strfreev(upstream->arguments);
    g_free(upstream->program);
    g_free(upstream->copy);
    g_free(upstream->socket_path);
    g_free(upstream);
}

json_t *gp_upstream_status(const GpUpstream *upstream)
{
    return json_pack("{s:i, s:I}", "pid", (int) upstream->child.pid, "starts", (json_int_t) upstream->starts);
}
