#include "cli/output.h"

#include <stdio.h>

#include "base/error.h"
#include "base/json.h"

void gp_print_json(json_t *value)
{
    g_autofree char *text = gp_json_to_text(value, FALSE);
    json_decref(value);
    (void) printf("%s\n", text);
}

void gp_print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) vprintf(format, arguments);
    va_end(arguments);
}

int gp_report_error(const GError *error, gboolean json, json_t *extra)
{
    const GpErrorInfo *info = gp_error_info((int) gp_error_code(error));
    g_autofree char *message = NULL, *hint = NULL;
    gp_error_split(error, &message, &hint);
    if (json) {
        /* A message may quote what is not UTF-8 in spite of every gp_escape(); JSON must not break on it. */
        g_autofree char *valid = g_utf8_make_valid(message, -1);
        json_t *report = extra ? extra : json_object();
        json_object_set_new(report, "error",
            json_pack("{s:s, s:s, s:b, s:s?}", "code", info->name, "message", valid, "retryable", info->retryable,
                "detail", hint));
        gp_print_json(report);
    } else {
        json_decref(extra);
        (void) fprintf(stderr, "guest-pull: %s\n", message);
        if (hint)
            (void) fprintf(stderr, "  %s\n", hint);
    }
    return info->exit_status;
}

char *gp_format_bytes(guint64 bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double) bytes;
    guint unit = 0;
    while (value >= 1000 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1000;
        unit++;
    }
    return g_strdup_printf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}
