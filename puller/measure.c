#include "puller/measure.h"

#include <unistd.h>

#include "base/error.h"
#include "puller/guest_services.h"

#define OPERATION "PullImage"
#define DEADLINE_MS 10000

static const char *const names[] = {
    [GP_MEASURE_AUTO] = "auto",
    [GP_MEASURE_REQUIRED] = "required",
    [GP_MEASURE_BEST_EFFORT] = "best-effort",
    [GP_MEASURE_OFF] = "off",
};

const char *gp_measure_mode_name(GpMeasureMode mode)
{
    return names[mode];
}

gboolean gp_measure_mode_from_name(const char *name, GpMeasureMode *mode)
{
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_str_equal(name, names[i])) {
            *mode = (GpMeasureMode) i;
            return TRUE;
        }
    return FALSE;
}

/* RFC 8785, 3.2.2.2: the short escapes where there is one, \u00xx in lower case for other controls, the rest as it is.
 */
static void append_string(GString *out, const char *text)
{
    static const char *const special = "\"\\\b\f\n\r\t", *const letters = "\"\\bfnrt";
    g_string_append_c(out, '"');
    for (const char *p = text; *p; p++) {
        const char *found = strchr(special, *p);
        if (found)
            g_string_append_printf(out, "\\%c", letters[found - special]);
        else if ((guchar) *p < 0x20)
            g_string_append_printf(out, "\\u%04x", (guint) *p);
        else
            g_string_append_c(out, *p);
    }
    g_string_append_c(out, '"');
}

char *gp_measure_event(const char *image, const GpDigest *digest)
{
    g_autofree char *text = gp_digest_to_string(digest);
    GString *out = g_string_new("{\"digest\":");
    append_string(out, text);
    g_string_append(out, ",\"image\":");
    append_string(out, image);
    g_string_append_c(out, '}');
    return g_string_free(out, FALSE);
}

/* What the agent's answer is called, or why there is none. */
static char *extend(const char *socket, const char *image, const GpDigest *digest, GError **error)
{
    static const char *const answers[] = {
        [GP_EXTEND_OK] = "extended",
        [GP_EXTEND_NOT_SUPPORTED] = "not-supported",
        [GP_EXTEND_NOT_ENABLED] = "not-enabled",
    };
    g_autofree char *event = gp_measure_event(image, digest);
    GpExtendResult result;
    if (!gp_guest_extend_measurement(socket, OPERATION, event, DEADLINE_MS, &result, error)) {
        g_prefix_error(error, "measuring the image: %s: ", socket);
        return NULL;
    }
    return g_strdup(answers[result]);
}

gboolean gp_measure_image(
    GpMeasureMode mode, const char *socket, const char *image, const GpDigest *digest, char **outcome, GError **error)
{
    if (mode == GP_MEASURE_OFF || (mode == GP_MEASURE_AUTO && access(socket, F_OK) < 0)) {
        *outcome = g_strdup(mode == GP_MEASURE_OFF ? "off" : "no-agent");
        return TRUE;
    }
    g_autoptr(GError) failure = NULL;
    g_autofree char *answer = extend(socket, image, digest, &failure);
    if (!answer && mode != GP_MEASURE_BEST_EFFORT) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    if (answer && mode == GP_MEASURE_REQUIRED && !g_str_equal(answer, "extended")) {
        g_set_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED,
            "measuring the image: the attestation agent answers \"%s\"\nEnable its event log, or do not set "
            "measurement = \"required\".",
            answer);
        return FALSE;
    }
    *outcome = answer ? g_steal_pointer(&answer) : g_strconcat("failed: ", failure->message, NULL);
    return TRUE;
}
