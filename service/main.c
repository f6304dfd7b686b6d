/* guest-pulld: the service on kata-agent's socket. Reads its options, opens its sockets, runs the main loop. */
#include <errno.h>
#include <locale.h>
#include <glib-unix.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/ttrpc.h"
#include "base/worker.h"
#include "service/eager.h"
#include "service/bundle_dir.h"
#include "service/child.h"
#include "service/listen.h"
#include "base/log.h"
#include "service/pulls.h"
#include "service/serve_pull.h"
#include "service/server.h"
#include "service/settings.h"
#include "service/status.h"
#include "service/upstream.h"

#define DEFAULT_LISTEN "unix:///run/confidential-containers/cdh.sock"
#define DEFAULT_UPSTREAM "unix:///run/guest-pull/cdh-upstream.sock"
#define NOT_GIVEN G_MININT /* a number that no option may have */
#define HUB "confidential-data-hub"
#define DEFAULT_STATUS "unix:///run/guest-pull/status.sock"

/* For the configuration. kata-agent allows six seconds for our socket to appear; the unit of a pull has only that. */
#define PATIENCE_MS 3000
#define UNIT_PATIENCE_MS 10000

/* Frames of up to four megabytes come and go: memory that they took is given back, not kept (both values also switch
 * glibc's own growing thresholds off). */
#define MMAP_THRESHOLD (64 * 1024)
#define TRIM_THRESHOLD (256 * 1024)

typedef struct {
    char *config, *listen, *upstream, *exec_upstream, *status, *program, *pull_socket, *log_format;
    char **bundle_roots, **puller_options, **rest;
    int max_parallel, timeout;
    gboolean verbose, version, serve_pull;
} Options;

typedef struct {
    const Options *options;
    int listen_fd, status_fd;
    char *listen_path, *status_path; /* NULL: inherited, not ours to remove */
    char *upstream_path;             /* NULL: there is none */
    GpPullsConfig pulls_config;
    GpPulls *pulls;
    GpServer *server;
    GpStatus *status;
    GpUpstream *upstream;
    GMainLoop *loop;
} Service;

/* Installed in the place of the confidential-data-hub (a link of that name to us), we start the real one, which then
 * lies beside our other programs: kata-agent gives no option but -c. */
static void apply_name(Options *options, const char *name)
{
    g_autofree char *base = g_path_get_basename(name);
    if (!options->exec_upstream && g_str_equal(base, HUB))
        options->exec_upstream = g_build_filename(gp_worker_directory(), HUB, NULL);
}

/* -c as kata-agent says it to the confidential-data-hub, in whose place we may stand. */
static gboolean parse_options(Options *options, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &options->config, "configuration (cdh.toml); may be missing", "FILE"},
        {"listen", 0, 0, G_OPTION_ARG_STRING, &options->listen, "socket to serve (" DEFAULT_LISTEN ")", "unix:PATH"},
        {"upstream", 0, 0, G_OPTION_ARG_STRING, &options->upstream,
            "socket of the real confidential-data-hub (" DEFAULT_UPSTREAM "), or none", "unix:PATH"},
        {"exec-upstream", 0, 0, G_OPTION_ARG_FILENAME, &options->exec_upstream,
            "start and supervise PROGRAM as the upstream; its own arguments behind --", "PROGRAM"},
        {"status", 0, 0, G_OPTION_ARG_STRING, &options->status, "socket for guest-pull status (" DEFAULT_STATUS ")",
            "unix:PATH"},
        {"guest-pull", 0, 0, G_OPTION_ARG_FILENAME, &options->program, "the puller; default: beside this program",
            "FILE"},
        {"bundle-root", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->bundle_roots,
            "where bundles may lie (" GP_DEFAULT_BUNDLE_ROOT "); repeatable", "DIR"},
        {"pull-socket", 0, 0, G_OPTION_ARG_STRING, &options->pull_socket,
            "run each pull in a unit that systemd starts there; default: as our own child", "unix:PATH"},
        {"serve-pull", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &options->serve_pull, NULL, NULL},
        {"puller-option", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->puller_options,
            "a further option for every guest-pull pull; repeatable", "OPTION"},
        {"max-parallel", 0, 0, G_OPTION_ARG_INT, &options->max_parallel, "pulls at once (4)", "N"},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &options->timeout, "seconds for one pull, whatever the client says (1200)",
            "SECONDS"},
        {"log-format", 0, 0, G_OPTION_ARG_STRING, &options->log_format, "text, json or journald", "FORMAT"},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &options->verbose, "log more", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "print the version", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->rest, NULL, NULL}, {0}};
    g_autoptr(GOptionContext) context = g_option_context_new("[-- UPSTREAM-ARGUMENT…]");
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_summary(context, "Serves kata-agent's image pulls and relays everything else to the "
                                          "confidential-data-hub. See guest-pulld(8).");
    g_autoptr(GError) cause = NULL;
    if (g_option_context_parse(context, argc, argv, &cause))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s", cause->message);
    return FALSE;
}

static gboolean check_options(const Options *options, GError **error)
{
    if (options->rest && !options->exec_upstream) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_USAGE, "argument %s: only --exec-upstream takes arguments", options->rest[0]);
        return FALSE;
    }
    if (options->exec_upstream && !g_path_is_absolute(options->exec_upstream)) {
        g_set_error(
            error, GP_ERROR, GP_ERROR_USAGE, "--exec-upstream %s: not an absolute path", options->exec_upstream);
        return FALSE;
    }
    if (options->exec_upstream && g_strcmp0(options->upstream, "none") == 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--exec-upstream needs a socket for the upstream, not none");
        return FALSE;
    }
    if (options->max_parallel != NOT_GIVEN &&
        (options->max_parallel < 1 || options->max_parallel > GP_LIMIT_PARALLEL)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--max-parallel: 1 to %d", GP_LIMIT_PARALLEL);
        return FALSE;
    }
    if (options->timeout != NOT_GIVEN && options->timeout < 1) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--timeout: a number of seconds greater than 0");
        return FALSE;
    }
    for (char **root = options->bundle_roots; root && *root; root++)
        if (!g_path_is_absolute(*root) || g_str_has_suffix(*root, "/")) {
            g_set_error(
                error, GP_ERROR, GP_ERROR_USAGE, "--bundle-root %s: an absolute path without / at its end", *root);
            return FALSE;
        }
    return TRUE;
}

static char *program_beside_us(const char *name)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *directory = g_path_get_dirname(self ? self : "/usr/bin/guest-pulld");
    return g_build_filename(directory, name, NULL);
}

/* kata-agent names the file whether it exists or not; the puller would call a missing one a mistake. Of one that is out
 * of reach the puller says so. */
static gboolean is_absent(const char *path)
{
    struct stat st;
    return lstat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* What does not depend on what the configuration says. */
static gboolean fill_run_config(const Options *options, GpRunConfig *config, GError **error)
{
    config->program = options->program ? g_strdup(options->program) : program_beside_us("guest-pull");
    if (options->config && !is_absent(options->config))
        config->config = g_strdup(options->config);
    if (options->pull_socket && !(config->pull_socket = gp_unix_path(options->pull_socket, error)))
        return FALSE;
    config->extra = g_strdupv(options->puller_options);
    return TRUE;
}

static void run_config_clear(GpRunConfig *config)
{
    g_free(config->program);
    g_free(config->config);
    g_free(config->pull_socket);
    g_strfreev(config->bundle_roots);
    g_strfreev(config->extra);
}

/* The option, the configuration, the default: the first that says something. */
static guint choose(int option, guint setting, guint otherwise)
{
    if (option > 0)
        return (guint) option;
    return setting > 0 ? setting : otherwise;
}

static void choose_roots(const Options *options, const GpSettings *settings, GpRunConfig *config)
{
    static const char *const default_roots[] = {GP_DEFAULT_BUNDLE_ROOT, NULL};
    char **roots = options->bundle_roots ? options->bundle_roots : settings->bundle_roots;
    g_strfreev(config->bundle_roots);
    config->bundle_roots = g_strdupv(roots ? roots : (char **) (gsize) default_roots);
}

/* What the configuration says about pulls. Unknown, it does not stop us: the other services' relay is worth having. But
 * no pull starts before it is known (GpPullsConfig.settle): it may be narrower than the defaults. */
static gboolean settle(Service *service, gboolean *eager, GError **error)
{
    const Options *options = service->options;
    GpPullsConfig *config = &service->pulls_config;
    GpSettings settings = {0};
    if (!gp_settings_ask(config->run.program, config->run.config, PATIENCE_MS, &settings, error)) {
        g_prefix_error(error, "the configuration: ");
        return FALSE;
    }
    choose_roots(options, &settings, &config->run);
    config->max_parallel =
        choose(options->max_parallel, MIN(settings.max_pulls, GP_LIMIT_PARALLEL), GP_DEFAULT_PARALLEL);
    config->timeout = choose(options->timeout, settings.timeout, GP_DEFAULT_TIMEOUT);
    *eager = settings.eager;
    gp_settings_clear(&settings);
    return TRUE;
}

/* Called for a pull; the volume that was to be open by now is opened by the pull itself. */
static gboolean settle_late(gpointer user_data, GError **error)
{
    Service *service = user_data;
    gboolean eager;
    if (!settle(service, &eager, error))
        return FALSE;
    service->pulls_config.settle = NULL;
    return TRUE;
}

static gboolean fill_pulls_config(Service *service, gboolean *eager, GError **error)
{
    GpPullsConfig *config = &service->pulls_config;
    config->max_queue = GP_DEFAULT_PULL_QUEUE;
    if (!fill_run_config(service->options, &config->run, error))
        return FALSE;
    g_autoptr(GError) unsettled = NULL;
    if (!settle(service, eager, &unsettled)) {
        gp_log(G_LOG_LEVEL_CRITICAL, NULL, "%s", unsettled->message);
        config->settle = settle_late;
        config->user_data = service;
    }
    return TRUE;
}

/* The unit of one pull; everything about the sockets of the service is not its business. */
static gboolean serve_pull(const Options *options, GError **error)
{
    GpRunConfig config = {0};
    GpSettings settings = {0};
    g_autoptr(GError) unsettled = NULL;
    gboolean ok = fill_run_config(options, &config, error);
    g_clear_pointer(&config.pull_socket, g_free);
    if (ok && !options->bundle_roots)
        (void) gp_settings_ask(config.program, config.config, UNIT_PATIENCE_MS, &settings, &unsettled);
    choose_roots(options, &settings, &config);
    gp_settings_clear(&settings);
    ok = ok && gp_serve_pull(&config, unsettled, error);
    run_config_clear(&config);
    return ok;
}

/* The socket @name of the supervisor, or one of our own at @address. */
static int open_socket(const char *name, const char *address, char **path, GError **error)
{
    g_autoptr(GError) cause = NULL;
    int fd = gp_listen_inherited(name, &cause);
    if (fd >= 0)
        return fd;
    if (cause) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return -1;
    }
    *path = gp_unix_path(address, error);
    return *path ? gp_listen_unix(*path, error) : -1;
}

static gboolean open_service(Service *service, GError **error)
{
    const Options *options = service->options;
    const char *upstream = options->upstream ? options->upstream : DEFAULT_UPSTREAM;
    gboolean eager = FALSE;
    if (!g_str_equal(upstream, "none") && !(service->upstream_path = gp_unix_path(upstream, error)))
        return FALSE;
    /* The pullers ask the same upstream for policies and keys. */
    if (options->upstream && service->upstream_path)
        g_setenv("GUEST_PULL_CDH_SOCKET", service->upstream_path, TRUE);
    if (!fill_pulls_config(service, &eager, error))
        return FALSE;
    service->listen_fd =
        open_socket(NULL, options->listen ? options->listen : DEFAULT_LISTEN, &service->listen_path, error);
    if (service->listen_fd < 0)
        return FALSE;
    service->status_fd =
        open_socket("status", options->status ? options->status : DEFAULT_STATUS, &service->status_path, error);
    if (service->status_fd < 0)
        return FALSE;
    if (options->exec_upstream) {
        service->upstream = gp_upstream_start(options->exec_upstream, (const char *const *) options->rest,
            options->config, service->upstream_path, error);
        if (!service->upstream)
            return FALSE;
    }
    service->pulls = gp_pulls_new(&service->pulls_config);
    if (eager)
        gp_eager_open_volume(&service->pulls_config.run);
    service->server = gp_server_new(
        service->listen_fd, service->upstream_path, service->upstream ? GP_UPSTREAM_PATIENCE_MS : 0, service->pulls);
    service->status = gp_status_new(service->status_fd, service->server, service->pulls, service->upstream);
    return TRUE;
}

static void close_socket(int *fd, char **path)
{
    if (*path && *fd >= 0)
        gp_listen_remove(*path, *fd);
    gp_close_fd(fd);
    g_clear_pointer(path, g_free);
}

static void close_service(Service *service)
{
    gp_status_free(service->status);
    gp_server_free(service->server);
    gp_pulls_free(service->pulls);
    gp_upstream_free(service->upstream);
    close_socket(&service->listen_fd, &service->listen_path);
    close_socket(&service->status_fd, &service->status_path);
    g_free(service->upstream_path);
    run_config_clear(&service->pulls_config.run);
}

static gboolean on_signal(gpointer user_data)
{
    Service *service = user_data;
    g_main_loop_quit(service->loop);
    return G_SOURCE_CONTINUE;
}

static void run(Service *service)
{
    service->loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, on_signal, service);
    g_unix_signal_add(SIGINT, on_signal, service);
    gp_log(G_LOG_LEVEL_INFO, NULL, "guest-pulld " GP_VERSION " serves %s, relays to %s",
        service->listen_path ? service->listen_path : "the supervisor's socket",
        service->upstream_path ? service->upstream_path : "nobody");
    gp_listen_notify("READY=1");
    g_main_loop_run(service->loop);
    gp_listen_notify("STOPPING=1");
    g_main_loop_unref(service->loop);
}

static void options_clear(Options *options)
{
    char **strings[] = {&options->config, &options->listen, &options->upstream, &options->exec_upstream,
        &options->status, &options->program, &options->pull_socket, &options->log_format};
    for (gsize i = 0; i < G_N_ELEMENTS(strings); i++)
        g_clear_pointer(strings[i], g_free);
    g_strfreev(options->bundle_roots);
    g_strfreev(options->puller_options);
    g_strfreev(options->rest);
}

int main(int argc, char **argv)
{
    (void) setlocale(LC_ALL, "C.UTF-8");
    (void) mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    (void) mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    (void) signal(SIGPIPE, SIG_IGN); /* whoever reads our log may go before us */
    /* Relayed secrets are in our memory. */
    (void) setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});

    gp_child_outlive_pullers();

    Options options = {.max_parallel = NOT_GIVEN, .timeout = NOT_GIVEN};
    Service service = {.options = &options, .listen_fd = -1, .status_fd = -1};
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strdup(argc > 0 ? argv[0] : "");
    if (parse_options(&options, &argc, &argv, &error))
        apply_name(&options, name);
    if (!error && options.version) {
        puts("guest-pulld " GP_VERSION);
    } else if (!error && check_options(&options, &error) &&
               gp_log_open("guest-pulld", options.log_format, options.verbose, &error)) {
        if (options.serve_pull)
            (void) serve_pull(&options, &error);
        else if (open_service(&service, &error))
            run(&service);
    }
    close_service(&service);
    options_clear(&options);
    if (!error)
        return 0;
    gp_log(G_LOG_LEVEL_CRITICAL, NULL, "%s", error->message);
    return gp_error_info(error->code)->exit_status;
}
