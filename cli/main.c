/* guest-pull: the command line. Parses the global options, finds the command in the table, reports what came of it. */
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "base/crypto_memory.h"
#include "base/error.h"
#include "base/log.h"
#include "base/worker.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/output.h"

#define NOT_GIVEN G_MININT
/* Each of a pull's dozen threads would keep what it has freed to itself. */
#define ARENAS 2

typedef struct {
    char *config, *policy, *registries, *registries_d, *authfile, *store, *platform, *cert_dir, *decryption_key, *as,
        *bundle, *rw_size, *identity, *older_than, *until_free, *log_format;
    char **plain_http;
    gboolean json, quiet, verbose, allow_unencrypted, receipts, quarantine, discard, version;
    int timeout, max_parallel;
    char **words;
} Arguments;

static void arguments_clear(Arguments *a)
{
    char *const strings[] = {a->config, a->policy, a->registries, a->registries_d, a->authfile, a->store, a->platform,
        a->cert_dir, a->decryption_key, a->as, a->bundle, a->rw_size, a->identity, a->older_than, a->until_free,
        a->log_format};
    for (gsize i = 0; i < G_N_ELEMENTS(strings); i++)
        g_free(strings[i]);
    g_strfreev(a->plain_http);
    g_strfreev(a->words);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

static char *command_list(void)
{
    GString *text = g_string_new("Commands:\n");
    for (const GpCommand *command = gp_commands; command->name; command++) {
        g_autofree char *left = g_strconcat(command->name, *command->arguments ? " " : "", command->arguments, NULL);
        g_string_append_printf(text, "  %-28s %s\n", left, command->summary);
    }
    g_string_append(text, "\nIMAGE: a registry's reference, oci:DIR[:TAG] or dir:DIR. No policy: refused.");
    return g_string_free(text, FALSE);
}

static gboolean parse(int argc, char **argv, Arguments *a, GError **error)
{
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &a->config, "configuration: TOML or JSON", "FILE"},
        {"policy", 0, 0, G_OPTION_ARG_STRING, &a->policy, "what may run (containers-policy.json)", "FILE|URI"},
        {"bundle", 'b', 0, G_OPTION_ARG_FILENAME, &a->bundle, "pull: where rootfs and config.json appear", "DIR"},
        {"as", 0, 0, G_OPTION_ARG_STRING, &a->as, "the identity of a local image", "REFERENCE"},
        {"identity", 0, 0, G_OPTION_ARG_STRING, &a->identity, "policy match: a signedIdentity", "JSON"},
        {"registries", 0, 0, G_OPTION_ARG_STRING, &a->registries, "mirrors and such (registries.conf)", "FILE|URI"},
        {"registries-d", 0, 0, G_OPTION_ARG_FILENAME, &a->registries_d, "where signatures are (registries.d)", "DIR"},
        {"authfile", 0, 0, G_OPTION_ARG_STRING, &a->authfile, "credentials (auth.json)", "FILE|URI"},
        {"store", 0, 0, G_OPTION_ARG_FILENAME, &a->store, "the content store", "DIR"},
        {"platform", 0, 0, G_OPTION_ARG_STRING, &a->platform, "instead of this machine's", "OS/ARCH[/VARIANT]"},
        {"plain-http", 0, 0, G_OPTION_ARG_STRING_ARRAY, &a->plain_http, "talk http to this registry (repeatable)",
            "HOST[:PORT]"},
        {"decryption-key", 0, 0, G_OPTION_ARG_FILENAME, &a->decryption_key, "RSA key for encrypted layers (debugging)",
            "FILE"},
        {"cert-dir", 0, 0, G_OPTION_ARG_FILENAME, &a->cert_dir, "CAs and client certificates", "DIR"},
        {"rw-size", 0, 0, G_OPTION_ARG_STRING, &a->rw_size, "size of the writable tmpfs layer", "BYTES|PERCENT"},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &a->timeout, "for everything together", "SECONDS"},
        {"max-parallel", 0, 0, G_OPTION_ARG_INT, &a->max_parallel, "layers at the same time", "N"},
        {"allow-unencrypted-store", 0, 0, G_OPTION_ARG_NONE, &a->allow_unencrypted, "for debugging only", NULL},
        {"older-than", 0, 0, G_OPTION_ARG_STRING, &a->older_than, "prune: images not pulled for so long", "AGE"},
        {"until-free", 0, 0, G_OPTION_ARG_STRING, &a->until_free, "prune: old images until so much is free",
            "BYTES|PERCENT"},
        {"quarantine", 0, 0, G_OPTION_ARG_NONE, &a->quarantine, "fsck: take out of use what is damaged", NULL},
        {"receipts", 0, 0, G_OPTION_ARG_NONE, &a->receipts, "images: the receipts of all pulls", NULL},
        {"discard", 0, 0, G_OPTION_ARG_NONE, &a->discard, "volume open: make a persistent volume anew", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &a->json, "one JSON object on standard output", NULL},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &a->quiet, "no progress", NULL},
        {"log-format", 0, 0, G_OPTION_ARG_STRING, &a->log_format, "text, json or journald", "FORMAT"},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &a->verbose, "say what is done", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &a->version, "print the version", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &a->words, NULL, NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("COMMAND [ARGUMENT…]");
    g_autofree char *list = command_list();
    g_option_context_set_summary(context, "Pulls, verifies and mounts container images inside a confidential VM.");
    g_option_context_set_description(context, list);
    g_option_context_add_main_entries(context, entries, NULL);
    g_autoptr(GError) cause = NULL;
    if (g_option_context_parse(context, &argc, &argv, &cause))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s\nSee guest-pull --help.", cause->message);
    return FALSE;
}

/* @given replaces *@field if it was given. */
static void take(GpContext *context, char **field, char **given, const char *setting, const char *option)
{
    if (!*given)
        return;
    g_free(*field);
    *field = g_steal_pointer(given);
    if (setting && context->config)
        gp_config_override(context->config, setting, option, context->pull);
}

/* A file's name becomes absolute; a URI stays as it is. */
static void take_location(GpContext *context, char **field, char **given, const char *setting, const char *option)
{
    if (*given && !strstr(*given, ":/")) {
        char *absolute = g_canonicalize_filename(*given, NULL);
        g_free(*given);
        *given = absolute;
    }
    take(context, field, given, setting, option);
}

/* Options that are no strings: only their origin is left to note. */
static void note(GpContext *context, gboolean given, const char *setting, const char *option)
{
    if (given && context->config)
        gp_config_override(context->config, setting, option, context->pull);
}

static gboolean apply_numbers(Arguments *a, GpContext *context, GError **error)
{
    GpPullOptions *options = context->pull;
    if ((a->timeout < 1 && a->timeout != NOT_GIVEN) || (a->max_parallel < 1 && a->max_parallel != NOT_GIVEN)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--timeout and --max-parallel take a positive number");
        return FALSE;
    }
    if (a->rw_size && !gp_rootfs_parse_size(a->rw_size, &options->rw, error))
        return FALSE;
    note(context, a->rw_size != NULL, "rw_size", "--rw-size");
    options->timeout = a->timeout > 0 ? (guint) a->timeout : options->timeout;
    note(context, a->timeout > 0, "timeout", "--timeout");
    options->max_parallel = a->max_parallel > 0 ? (guint) a->max_parallel : options->max_parallel;
    note(context, a->max_parallel > 0, "max_parallel", "--max-parallel");
    return TRUE;
}

static gboolean apply(Arguments *a, GpContext *context, GError **error)
{
    GpPullOptions *options = context->pull;
    if (!apply_numbers(a, context, error))
        return FALSE;
    take_location(context, &options->policy, &a->policy, "policy", "--policy");
    take_location(context, &options->registries, &a->registries, "registries", "--registries");
    take(context, &options->registries_d, &a->registries_d, "registries_d", "--registries-d");
    take_location(context, &options->authfile, &a->authfile, "authfile", "--authfile");
    take(context, &options->store, &a->store, "store", "--store");
    take(context, &options->platform, &a->platform, NULL, NULL);
    take(context, &options->decryption_key, &a->decryption_key, NULL, NULL);
    take(context, &options->cert_dir, &a->cert_dir, "cert_dir", "--cert-dir");
    take(context, &options->as, &a->as, NULL, NULL);
    take(context, &options->bundle, &a->bundle, NULL, NULL);
    if (a->plain_http) {
        g_strfreev(options->plain_http);
        options->plain_http = g_steal_pointer(&a->plain_http);
        note(context, TRUE, "plain_http", "--plain-http");
    }
    options->allow_unencrypted_store = options->allow_unencrypted_store || a->allow_unencrypted;
    note(context, a->allow_unencrypted, "allow_unencrypted_store", "--allow-unencrypted-store");
    options->verbose = a->verbose;
    options->request_id = g_strdup(gp_request_id());
    context->identity = a->identity;
    context->older_than = a->older_than;
    context->until_free = a->until_free;
    context->quarantine = a->quarantine;
    context->receipts = a->receipts;
    context->discard = a->discard;
    context->json = a->json;
    context->quiet = a->quiet;
    context->verbose = a->verbose;
    gp_worker_set_verbose(a->verbose);
    return TRUE;
}

/* "policy check FILE" is a row named "policy check": the longest name that the words begin with. */
static const GpCommand *find_command(char **words, guint *used)
{
    const GpCommand *found = NULL;
    for (const GpCommand *command = gp_commands; command->name; command++) {
        g_auto(GStrv) parts = g_strsplit(command->name, " ", 0);
        guint n = g_strv_length(parts);
        gboolean same = g_strv_length(words) >= n;
        for (guint i = 0; same && i < n; i++)
            same = g_str_equal(parts[i], words[i]);
        if (same && n > *used) {
            found = command;
            *used = n;
        }
    }
    return found;
}

static gboolean dispatch(Arguments *a, GpContext *context, int *status, GError **error)
{
    if (a->version) {
        gp_print("guest-pull %s\n", GP_VERSION);
        return TRUE;
    }
    guint used = 0;
    const GpCommand *command = a->words ? find_command(a->words, &used) : NULL;
    if (!command) {
        g_autofree char *shown = a->words ? gp_escape(a->words[0], -1, 100) : g_strdup("");
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s%s\nSee guest-pull --help.",
            a->words ? "no such command: " : "which command?", shown);
        return FALSE;
    }
    context->words = a->words + used;
    context->n_words = g_strv_length(context->words);
    if (context->n_words < command->min_words || context->n_words > command->max_words) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "usage: guest-pull %s %s", command->name, command->arguments);
        return FALSE;
    }
    if (!command->unconfigured) {
        context->config = gp_config_load(a->config, &gp_config_places, context->pull, error);
        if (!context->config)
            return FALSE;
    }
    return apply(a, context, error) && command->run(context, status, error);
}

int main(int argc, char **argv)
{
    gp_crypto_ends_without_memory();
    (void) mallopt(M_ARENA_MAX, ARENAS);
    gp_output_init();
    (void) setlocale(LC_ALL, "C.UTF-8");
    (void) signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && g_str_equal(argv[1], "verify-bundle")) {
        int verdict = gp_verify_bundle_main(argc - 1, argv + 1);
        return gp_output_flush() || verdict != 0 ? verdict : gp_error_info(GP_ERROR_SPACE)->exit_status;
    }
    g_auto(Arguments) arguments = {.timeout = NOT_GIVEN, .max_parallel = NOT_GIVEN};
    g_autoptr(GpPullOptions) options = gp_pull_options_new();
    GpContext context = {.pull = options};
    g_autoptr(GError) error = NULL;
    int status = 0;
    /* A failure to parse is reported as JSON too if that was asked for anywhere. */
    for (int i = 1; i < argc; i++)
        context.json = context.json || g_str_equal(argv[i], "--json");
    if (!parse(argc, argv, &arguments, &error) ||
        !gp_log_open("guest-pull", arguments.log_format ? arguments.log_format : "text", arguments.verbose, &error) ||
        !dispatch(&arguments, &context, &status, &error)) {
        if (error)
            status = gp_report_error(error, context.json, NULL);
    }
    gp_config_free(context.config);
    if (!gp_output_flush() && status == 0)
        status = gp_error_info(GP_ERROR_SPACE)->exit_status;
    return status;
}
