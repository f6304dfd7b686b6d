#include "puller/config_limits.h"

#include "base/error.h"
#include "puller/room.h"

static int find(const char *name)
{
    for (guint i = 0; gp_layer_limit_name(i); i++)
        if (strcmp(gp_layer_limit_name(i), name) == 0)
            return (int) i;
    return -1;
}

static gboolean read_number(json_t *value, guint64 *number)
{
    GpSpace space;
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *number = (guint64) json_integer_value(value);
        return TRUE;
    }
    if (!json_is_string(value) || !gp_space_parse(json_string_value(value), "", &space, NULL) || space.percent)
        return FALSE;
    *number = space.bytes;
    return TRUE;
}

gboolean gp_limits_set(GpLayerLimits *limits, json_t *section, const char *place, GError **error)
{
    const char *name;
    json_t *value;
    if (!json_is_object(section)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: must be a section", place);
        return FALSE;
    }
    gp_layer_limits_init(limits);
    json_object_foreach(section, name, value)
    {
        int i = find(name);
        guint64 number = 0;
        g_autofree char *shown = gp_escape(name, -1, 80);
        if (i < 0) {
            g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: there is no limit \"%s\"", place, shown);
            return FALSE;
        }
        if (!read_number(value, &number) || number < 1 || number > gp_layer_limit_ceiling((guint) i)) {
            g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
                "%s.%s: must be a whole number from 1 to %" G_GUINT64_FORMAT ", perhaps with K, M, G or T", place,
                shown, gp_layer_limit_ceiling((guint) i));
            return FALSE;
        }
        *gp_layer_limit_value(limits, (guint) i) = number;
    }
    return TRUE;
}

json_t *gp_limits_describe(const GpLayerLimits *limits)
{
    GpLayerLimits copy = *limits;
    json_t *object = json_object();
    for (guint i = 0; gp_layer_limit_name(i); i++)
        json_object_set_new(object, gp_layer_limit_name(i), json_integer((json_int_t) *gp_layer_limit_value(&copy, i)));
    return object;
}
