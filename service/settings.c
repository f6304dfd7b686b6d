#include "service/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "service/child.h"
#include "service/pull_report.h"

/* ---- what it says */

static char **string_list(json_t *array)
{
    GPtrArray *list = g_ptr_array_new();
    size_t i;
    json_t *value;
    json_array_foreach(array, i, value)
    {
        g_ptr_array_add(list, g_strdup(json_string_value(value)));
    }
    g_ptr_array_add(list, NULL);
    return (char **) g_ptr_array_free(list, FALSE);
}

static void take(GpSettings *settings, const char *name, json_t *value)
{
    guint count = (guint) CLAMP(json_integer_value(value), 0, G_MAXINT32);
    if (g_str_equal(name, "bundle_roots") && json_array_size(value) > 0 && !settings->bundle_roots)
        settings->bundle_roots = string_list(value);
    else if (g_str_equal(name, "timeout"))
        settings->timeout = count;
    else if (g_str_equal(name, "max_pulls"))
        settings->max_pulls = count;
    else if (g_str_equal(name, "volume.eager"))
        settings->eager = json_is_true(value);
}

static gboolean read_settings(json_t *report, GpSettings *settings, GError **error)
{
    json_t *list;
    const GpJsonField top[] = {{"settings", GP_JSON_ARRAY, GP_JSON_MANDATORY, &list}, {0}};
    if (!gp_json_fields(report, "$", top, FALSE, error))
        return FALSE;
    size_t i;
    json_t *setting;
    json_array_foreach(list, i, setting)
    {
        json_t *name, *value, *origin;
        const GpJsonField fields[] = {{"name", GP_JSON_STRING, GP_JSON_MANDATORY, &name},
            {"value", GP_JSON_ANY, GP_JSON_NULLABLE, &value}, {"origin", GP_JSON_STRING, GP_JSON_MANDATORY, &origin},
            {0}};
        if (!gp_json_fields(setting, "$.settings[]", fields, TRUE, error))
            return FALSE;
        /* The puller's defaults are not the service's. */
        if (value && !g_str_equal(json_string_value(origin), "default"))
            take(settings, json_string_value(name), value);
    }
    return TRUE;
}

/* ---- asking */

/* What comes through @fd before its end, as far as GP_LIMIT_PULL_REPORT. Errors: CANCELLED. */
static GBytes *read_answer(int fd, guint patience_ms, GError **error)
{
    g_autoptr(GByteArray) answer = g_byte_array_new();
    gint64 end = g_get_monotonic_time() + (gint64) patience_ms * 1000;
    while (answer->len < GP_LIMIT_PULL_REPORT) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        gint64 left = (end - g_get_monotonic_time()) / 1000;
        guint8 chunk[4096];
        if (left <= 0) {
            g_set_error(error, GP_ERROR, GP_ERROR_CANCELLED,
                "guest-pull config show does not answer within %.1f seconds", patience_ms / 1000.0);
            return NULL;
        }
        if (poll(&wait, 1, (int) left) <= 0)
            continue;
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got <= 0)
            break;
        g_byte_array_append(answer, chunk, (guint) got);
    }
    return g_byte_array_free_to_bytes(g_steal_pointer(&answer));
}

/* Runs it to its end; the wait status and what it said. */
static GBytes *run(const char *program, const char *config, guint patience_ms, int *wait_status, GError **error)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) {
        gp_set_errno(error, errno, "pipe");
        return NULL;
    }
    GP_AUTOFD int read_fd = fds[0];
    GP_AUTOFD int write_fd = fds[1];
    g_autofree char *option = g_strdup_printf("--config=%s", config ? config : "");
    const char *const argv[] = {program, "config", "show", "--json", config ? option : NULL, NULL};
    g_auto(GStrv) environment = gp_child_environment();
    const GpChildStart start = {.argv = argv, .envp = environment, .stdout_fd = write_fd, .death_signal = SIGKILL};
    GpChild child;
    if (!gp_child_spawn(&start, &child, error))
        return NULL;
    gp_close_fd(&write_fd);
    GBytes *answer = read_answer(read_fd, patience_ms, error);
    /* Who has closed its output is about to end; who has not, is not waited for. */
    struct pollfd ended = {.fd = child.pidfd, .events = POLLIN};
    if (answer)
        (void) poll(&ended, 1, 1000);
    *wait_status = gp_child_reap(&child);
    return answer;
}

gboolean gp_settings_ask(
    const char *program, const char *config, guint patience_ms, GpSettings *settings, GError **error)
{
    int wait_status = 0;
    g_autoptr(GBytes) answer = run(program, config, patience_ms, &wait_status, error);
    if (!answer)
        return FALSE;
    g_autoptr(json_t) report = gp_pull_report_parse(answer, wait_status, error);
    return report && read_settings(report, settings, error);
}

void gp_settings_clear(GpSettings *settings)
{
    g_clear_pointer(&settings->bundle_roots, g_strfreev);
}
