#include "puller/platform.h"

#include <sys/utsname.h>

#include "base/error.h"

/* Other names of an architecture, and the variant they imply when none is written. */
static const struct {
    const char *name, *architecture, *variant;
} aliases[] = {
    {"x86_64", "amd64", NULL},
    {"x86-64", "amd64", NULL},
    {"aarch64", "arm64", NULL},
    {"i386", "386", NULL},
    {"i686", "386", NULL},
    {"arm", "arm", "v7"},
    {"armhf", "arm", "v7"},
    {"armel", "arm", "v6"},
    {"armv7l", "arm", "v7"},
    {"armv6l", "arm", "v6"},
    {"armv8l", "arm", "v8"},
    {"loongarch64", "loong64", NULL},
};

/* Variants from the most to the least demanding: a machine runs what stands at its own place and behind. */
static const struct {
    const char *architecture;
    const char *order[5];
} variants[] = {
    {"arm", {"v8", "v7", "v6", "v5"}},
    {"arm64", {"v8"}},
    {"amd64", {"v4", "v3", "v2", "v1"}},
};

static gboolean is_word(const char *text)
{
    gsize length = strlen(text);
    for (const char *p = text; *p; p++)
        if (!g_ascii_islower(*p) && !g_ascii_isdigit(*p) && !strchr("._-", *p))
            return FALSE;
    return length > 0 && length <= 32;
}

static void set_architecture(GpPlatform *platform, const char *name, const char *variant)
{
    const char *architecture = name;
    for (gsize i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (strcmp(name, aliases[i].name) == 0) {
            architecture = aliases[i].architecture;
            variant = variant ? variant : aliases[i].variant;
        }
    platform->architecture = g_strdup(architecture);
    platform->variant = g_strdup(variant);
}

gboolean gp_platform_parse(const char *text, GpPlatform *platform, GError **error)
{
    *platform = (GpPlatform){0};
    if (!text) {
        struct utsname machine;
        if (uname(&machine) < 0) {
            g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "cannot ask the kernel for the machine's architecture");
            return FALSE;
        }
        platform->os = g_strdup("linux");
        set_architecture(platform, machine.machine, NULL);
        return TRUE;
    }
    g_auto(GStrv) parts = g_strsplit(text, "/", 4);
    guint count = g_strv_length(parts);
    gboolean good = count == 2 || count == 3;
    for (guint i = 0; good && i < count; i++)
        good = is_word(parts[i]);
    if (!good) {
        g_autofree char *shown = gp_escape(text, -1, 100);
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "platform \"%s\": not of the form OS/ARCH[/VARIANT]\nWrite for example linux/amd64 or linux/arm/v7.",
            shown);
        return FALSE;
    }
    platform->os = g_strdup(parts[0]);
    set_architecture(platform, parts[1], count == 3 ? parts[2] : NULL);
    return TRUE;
}

void gp_platform_clear(GpPlatform *platform)
{
    g_clear_pointer(&platform->os, g_free);
    g_clear_pointer(&platform->architecture, g_free);
    g_clear_pointer(&platform->variant, g_free);
}

char *gp_platform_to_string(const GpPlatform *platform)
{
    return g_strjoin("/", platform->os, platform->architecture, platform->variant, NULL);
}

/* Places behind @wanted at which @offered stands in @order, or -1. */
static int steps_down(const char *const *order, gsize length, const char *wanted, const char *offered)
{
    int start = -1;
    for (gsize i = 0; i < length && order[i]; i++) {
        if (strcmp(order[i], wanted) == 0)
            start = (int) i;
        if (start >= 0 && strcmp(order[i], offered) == 0)
            return (int) i - start;
    }
    return -1;
}

int gp_platform_rank(const GpPlatform *platform, const char *os, const char *architecture, const char *variant)
{
    enum { NO_VARIANT = 10, LAST = 11 };
    if (strcmp(platform->os, os) != 0 || strcmp(platform->architecture, architecture) != 0)
        return -1;
    const char *offered = variant ? variant : "";
    const char *wanted = platform->variant ? platform->variant : "";
    if (strcmp(offered, wanted) == 0)
        return 0;
    if (offered[0] == '\0')
        return NO_VARIANT;
    for (gsize i = 0; i < G_N_ELEMENTS(variants); i++) {
        if (strcmp(variants[i].architecture, architecture) != 0)
            continue;
        const char *const *order = variants[i].order;
        gsize length = 0;
        while (length < G_N_ELEMENTS(variants[i].order) && order[length])
            length++;
        if (wanted[0])
            return steps_down(order, length, wanted, offered);
        /* Nothing said: the least demanding variant is what every such machine runs. */
        return strcmp(order[length - 1], offered) == 0 ? LAST : -1;
    }
    return -1;
}
