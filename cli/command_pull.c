/* pull, verify, umount. */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "policy/verdict.h"
#include "puller/pull.h"
#include "storage/mounts.h"

static void print_attempt(const GpVerdictAttempt *attempt, int depth)
{
    gboolean name = attempt->signer && !strstr(attempt->reason, attempt->signer);
    gp_print("%*s%s %s: %s%s%s\n", 6 + 2 * depth, "", attempt->accepted ? "+" : "-", attempt->source, attempt->reason,
        name ? ", by " : "", name ? attempt->signer : "");
}

/* What was required and why it holds or not; with @verbose its place in the policy and every signature. */
static void print_judged(const GpVerdictRequirement *judged, gboolean verbose, int depth)
{
    gboolean accepted = judged->result == GP_VERDICT_ACCEPT;
    gp_print("%*s%s %s%s%s\n", 4 + 2 * depth, "", accepted ? "+" : "-", judged->type,
        accepted && judged->by ? " by " : ": ", accepted && judged->by ? judged->by : judged->reason);
    if (verbose)
        gp_print("%*s%s\n", 6 + 2 * depth, "", judged->place);
    for (guint i = 0; (verbose || !accepted) && i < judged->attempts->len; i++)
        print_attempt(judged->attempts->pdata[i], depth);
    for (guint i = 0; judged->parts && i < judged->parts->len; i++)
        print_judged(judged->parts->pdata[i], verbose, depth + 1);
}

static void print_verdict(const GpVerdict *verdict, gboolean verbose)
{
    gp_print(
        "  verdict   %s, scope %s\n", verdict->result == GP_VERDICT_ACCEPT ? "accepted" : "refused", verdict->scope);
    for (guint i = 0; i < verdict->requirements->len; i++)
        print_judged(verdict->requirements->pdata[i], verbose, 0);
}

static void print_layers(json_t *report)
{
    json_t *layers = json_object_get(report, "layers");
    size_t i, reused = 0;
    json_t *layer;
    json_array_foreach(layers, i, layer) reused += json_is_true(json_object_get(layer, "reused"));
    json_t *bytes = json_object_get(report, "bytes");
    g_autofree char *downloaded = gp_format_bytes((guint64) json_integer_value(json_object_get(bytes, "downloaded")));
    gp_print("  layers    %zu, %zu of them reused; %s downloaded in %.2f s\n", json_array_size(layers), reused,
        downloaded, json_real_value(json_object_get(json_object_get(report, "timings"), "total")));
}

/* What a person wants to see; with --quiet only the digest. */
static void print_encryption(json_t *report)
{
    size_t i, k;
    json_t *layer, *name;
    json_array_foreach(json_object_get(report, "encrypted"), i, layer)
    {
        json_t *names = json_object_get(layer, "providers");
        g_autoptr(GString) list = g_string_new(NULL);
        json_array_foreach(names, k, name)
        {
            g_autofree char *shown = gp_escape(json_string_value(name), -1, 80);
            g_string_append_printf(list, "%s%s", k ? ", " : "", shown);
        }
        gp_print("  encrypted %.19s…  key by %s\n", json_string_value(json_object_get(layer, "digest")),
            list->len ? list->str : "no key provider");
    }
}

static void print_result(const GpContext *context, const GpPull *pull, json_t *report)
{
    g_autofree char *digest = gp_digest_to_string(gp_pull_manifest_digest(pull));
    if (context->quiet) {
        gp_print("%s\n", digest);
        return;
    }
    gp_print("%s\n  image     %s\n", digest, json_string_value(json_object_get(report, "image")));
    print_verdict(gp_pull_verdict(pull), context->verbose || !context->pull->bundle);
    print_encryption(report);
    if (context->pull->bundle) {
        print_layers(report);
        gp_print("  rootfs    %s\n", json_string_value(json_object_get(report, "rootfs")));
    }
}

/* A layer on its way needs a handful of descriptors and a finished one keeps some until the commit: an image of as many
 * layers as are allowed needs more than the 1024 that are usual, and whoever set the hard limit knows better. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void) setrlimit(RLIMIT_NOFILE, &limit);
}

/* Whoever reads "failed" looks for no mount, so an answer that nobody got undoes the pull. */
static gboolean deliver(GpPull *pull, GError **error)
{
    if (gp_output_flush()) {
        gp_pull_keep(pull);
        return TRUE;
    }
    g_set_error(error, GP_ERROR, GP_ERROR_SPACE, "the result could not be written to standard output");
    gp_pull_undo(pull);
    return FALSE;
}

/* What another place made good; on standard error, beside whatever comes of it. */
static void print_warnings(json_t *warnings)
{
    size_t i;
    json_t *text;
    json_array_foreach(warnings, i, text)
    {
        gp_print_warning(json_string_value(text));
    }
}

static gboolean run_pull(GpContext *context, int *status, GError **error)
{
    raise_file_limit();
    context->pull->image = g_strdup(context->words[0]);
    g_autoptr(GpPull) pull = gp_pull_new(context->pull);
    g_autoptr(GError) failure = NULL;
    gboolean ok = gp_pull_prepare(pull, &failure);
    if (ok) {
        GpProgress *progress = context->pull->bundle ? gp_progress_start(pull, context->quiet) : NULL;
        ok = gp_pull_run(pull, &failure);
        gp_progress_stop(progress);
    }
    const GpVerdict *verdict = gp_pull_verdict(pull);
    g_autoptr(json_t) warnings = gp_pull_warnings(pull);
    if (!context->json && !context->quiet)
        print_warnings(warnings);
    if (!ok) {
        json_t *extra =
            context->json ? json_pack("{s:O, s:o}", "warnings", warnings, "timings", gp_pull_timings(pull)) : NULL;
        if (context->json && verdict)
            json_object_set_new(extra, "verdict", gp_verdict_to_json(verdict));
        else if (verdict && !context->pull->bundle && !context->quiet)
            print_verdict(verdict, TRUE);
        *status = gp_report_error(failure, context->json, extra);
        return FALSE;
    }
    json_t *report = gp_pull_report(pull);
    if (context->pull->request_id)
        json_object_set_new(report, "requestId", json_string(context->pull->request_id));
    if (context->json) {
        gp_print_json(report);
    } else {
        print_result(context, pull, report);
        json_decref(report);
    }
    return deliver(pull, error);
}

gboolean gp_command_pull(GpContext *context, int *status, GError **error)
{
    if (!context->pull->bundle) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "pull needs --bundle DIR\nTo see only whether an image would be accepted: guest-pull verify IMAGE.");
        return FALSE;
    }
    /* An empty name is an empty variable of a script, not the current directory; and reports are UTF-8. */
    if (!*context->pull->bundle || !g_utf8_validate(context->pull->bundle, -1, NULL)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--bundle: %s",
            *context->pull->bundle ? "the name is not UTF-8" : "the name is empty");
        return FALSE;
    }
    if (geteuid() != 0) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "pull needs root, because it mounts\nTo see only whether an image would be accepted: guest-pull verify "
            "IMAGE.");
        return FALSE;
    }
    g_autofree char *bundle = g_canonicalize_filename(context->pull->bundle, NULL);
    g_free(context->pull->bundle);
    context->pull->bundle = g_steal_pointer(&bundle);
    return run_pull(context, status, error);
}

gboolean gp_command_verify(GpContext *context, int *status, GError **error)
{
    g_clear_pointer(&context->pull->bundle, g_free);
    return run_pull(context, status, error);
}

gboolean gp_command_umount(GpContext *context, int *status, GError **error)
{
    if (!*context->words[0]) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "umount: the bundle's name is empty");
        return FALSE;
    }
    g_autofree char *bundle = g_canonicalize_filename(context->words[0], NULL);
    if (!gp_rootfs_umount(bundle, error) || !gp_mounts_forget(context->pull->runtime_dir, bundle, error))
        return FALSE;
    if (context->json)
        gp_print_json(json_pack("{s:s}", "unmounted", bundle));
    *status = 0;
    return TRUE;
}
