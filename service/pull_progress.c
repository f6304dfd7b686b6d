#include "service/pull_progress.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

#define MAX_WORD 32

/* Only what can be shown anywhere: no escapes for terminals, no quotes for JSON or Prometheus. */
static gboolean check_word(json_t *value, GError **error)
{
    const char *word = json_string_value(value);
    gboolean good = word[0] != '\0' && strlen(word) <= MAX_WORD;
    for (const char *at = word; good && *at; at++)
        good = g_ascii_isalnum(*at) || *at == '-';
    if (!good)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the puller's progress has a state or digest that is none");
    return good;
}

static gboolean check_layer(json_t *layer, guint64 *fetched, guint64 *size, GError **error)
{
    json_t *digest, *state, *its_size, *its_fetched;
    const GpJsonField fields[] = {{"digest", GP_JSON_STRING, GP_JSON_MANDATORY, &digest},
        {"state", GP_JSON_STRING, GP_JSON_MANDATORY, &state}, {"size", GP_JSON_INTEGER, GP_JSON_MANDATORY, &its_size},
        {"fetched", GP_JSON_INTEGER, GP_JSON_MANDATORY, &its_fetched}, {0}};
    if (!gp_json_fields(layer, "$.layers[]", fields, TRUE, error) || !check_word(digest, error) ||
        !check_word(state, error))
        return FALSE;
    json_int_t size_value = json_integer_value(its_size), fetched_value = json_integer_value(its_fetched);
    if (size_value < 0 || fetched_value < 0 || (guint64) size_value > GP_LIMIT_BLOB ||
        (guint64) fetched_value > GP_LIMIT_BLOB) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the puller's progress has a size that no layer has");
        return FALSE;
    }
    *size += (guint64) size_value;
    *fetched += (guint64) fetched_value;
    return TRUE;
}

gboolean gp_pull_progress_check(json_t *progress, guint64 *fetched, guint64 *size, GError **error)
{
    json_t *state, *layers;
    const GpJsonField fields[] = {{"state", GP_JSON_STRING, GP_JSON_MANDATORY, &state},
        {"layers", GP_JSON_ARRAY, GP_JSON_MANDATORY, &layers}, {0}};
    *fetched = *size = 0;
    if (!gp_json_fields(progress, "$", fields, TRUE, error) || !check_word(state, error))
        return FALSE;
    if (json_array_size(layers) > GP_LIMIT_LAYERS) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "the puller's progress has more than %d layers", GP_LIMIT_LAYERS);
        return FALSE;
    }
    size_t i;
    json_t *layer;
    json_array_foreach(layers, i, layer)
    {
        if (!json_is_object(layer)) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "the puller's progress has a layer that is no object");
            return FALSE;
        }
        if (!check_layer(layer, fetched, size, error))
            return FALSE;
    }
    return TRUE;
}
