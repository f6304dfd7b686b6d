#include "service/eager.h"

#include <glib-unix.h>
#include <signal.h>
#include <sys/wait.h>

#include "service/child.h"
#include "base/log.h"

static gboolean on_end(gint fd, GIOCondition condition, gpointer user_data)
{
    (void) fd;
    (void) condition;
    GpChild *child = user_data;
    int status = gp_child_reap(child);
    g_autofree char *end = gp_child_describe(status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        gp_log(G_LOG_LEVEL_INFO, NULL, "the encrypted volume is open");
    else
        gp_log(G_LOG_LEVEL_WARNING, NULL, "the encrypted volume could not be opened: %s", end);
    return G_SOURCE_REMOVE;
}

void gp_eager_open_volume(const GpRunConfig *config)
{
    if (config->pull_socket)
        return;
    g_autofree char *option = g_strdup_printf("--config=%s", config->config ? config->config : "");
    const char *const argv[] = {config->program, "volume", "open", config->config ? option : NULL, NULL};
    g_auto(GStrv) environment = gp_child_environment();
    const GpChildStart start = {.argv = argv, .envp = environment, .stdout_fd = -1, .death_signal = SIGKILL};
    g_autoptr(GError) error = NULL;
    GpChild *child = g_new0(GpChild, 1);
    if (gp_child_spawn(&start, child, &error)) {
        (void) g_unix_fd_add_full(G_PRIORITY_DEFAULT, child->pidfd, G_IO_IN, on_end, child, g_free);
        return;
    }
    gp_log(G_LOG_LEVEL_WARNING, NULL, "the encrypted volume could not be opened: %s", error->message);
    g_free(child);
}
