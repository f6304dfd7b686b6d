/* volume open, close, status: the encrypted volume below the store. */
#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "puller/volume.h"
#include "storage/volume.h"

static void show_times(json_t *timings)
{
    const char *name;
    json_t *seconds;
    json_object_foreach(timings, name, seconds)
    {
        gp_print("  %-11s %.2f s\n", name, json_number_value(seconds));
    }
}

/* Consumes @report. */
static void show(const GpContext *context, json_t *report)
{
    if (context->json) {
        gp_print_json(report);
        return;
    }
    if (!json_is_true(json_object_get(report, "open"))) {
        gp_print("closed\n");
        json_decref(report);
        return;
    }
    const char *mountpoint = json_string_value(json_object_get(report, "mountpoint"));
    g_autofree char *bytes = gp_format_bytes((guint64) json_integer_value(json_object_get(report, "bytes")));
    gp_print("open\n  mapping     %s\n  device      %s\n  size        %s\n  integrity   %s\n  mounted     %s\n",
        json_string_value(json_object_get(report, "mapping")), json_string_value(json_object_get(report, "device")),
        bytes, json_is_true(json_object_get(report, "integrity")) ? "yes" : "no", mountpoint ? mountpoint : "no");
    show_times(json_object_get(report, "timings"));
    json_decref(report);
}

gboolean gp_command_volume_open(GpContext *context, int *status, GError **error)
{
    json_t *report = NULL;
    g_autoptr(GpResources) resources = gp_resources_new(context->pull->cdh_socket, context->pull->resource_endpoint);
    if (context->pull->volume.key && !gp_resources_connect(resources, context->verbose, error))
        return FALSE;
    if (!gp_puller_open_volume(context->pull, resources, context->discard, &report, error))
        return FALSE;
    show(context, report);
    *status = 0;
    return TRUE;
}

gboolean gp_command_volume_close(GpContext *context, int *status, GError **error)
{
    if (!gp_volume_close(context->pull->store, context->pull->runtime_dir, error))
        return FALSE;
    show(context, gp_volume_status(context->pull->store));
    *status = 0;
    return TRUE;
}

gboolean gp_command_volume_status(GpContext *context, int *status, GError **error)
{
    (void) error;
    show(context, gp_volume_status(context->pull->store));
    *status = 0;
    return TRUE;
}
