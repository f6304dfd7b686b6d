/* config show. */
#include "cli/commands.h"
#include "cli/output.h"

static void print_value(json_t *value)
{
    if (json_is_string(value))
        gp_print("%s", json_string_value(value));
    else if (json_is_integer(value))
        gp_print("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        gp_print("%s", json_is_true(value) ? "true" : "false");
    else if (json_is_null(value))
        gp_print("-");
    for (size_t i = 0; i < json_array_size(value); i++)
        gp_print("%s%s", i ? ", " : "", json_string_value(json_array_get(value, i)));
}

static void print_config(json_t *config)
{
    const char *file = json_string_value(json_object_get(config, "file"));
    json_t *settings = json_object_get(config, "settings"), *ignored = json_object_get(config, "ignored");
    size_t i;
    json_t *row;
    gp_print("%-26s%s\n", "file", file ? file : "none");
    json_array_foreach(settings, i, row)
    {
        gp_print("%-26s", json_string_value(json_object_get(row, "name")));
        print_value(json_object_get(row, "value"));
        gp_print("  (%s)\n", json_string_value(json_object_get(row, "origin")));
    }
    json_array_foreach(ignored, i, row)
    {
        gp_print("%-26s%s\n", "ignored", json_string_value(row));
    }
}

gboolean gp_command_config_show(GpContext *context, int *status, GError **error)
{
    json_t *config = gp_config_describe(context->config, context->pull);
    *status = 0;
    if (context->json) {
        gp_print_json(config);
        return TRUE;
    }
    print_config(config);
    json_decref(config);
    (void) error;
    return TRUE;
}
