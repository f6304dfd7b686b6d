/* Operating system and processor, in Go's words as image indexes use them (image-spec image-index.md, "platform"). */
#pragma once

#include <glib.h>

typedef struct {
    char *os, *architecture, *variant; /* variant NULL: none */
} GpPlatform;

/* Parses "os/arch[/variant]"; NULL text: this machine. Usual other names are understood (x86_64, aarch64), and "arm"
 * alone is v7 as for docker. The old content of @platform is not freed. Errors: USAGE. */
gboolean gp_platform_parse(const char *text, GpPlatform *platform, GError **error);
void gp_platform_clear(GpPlatform *platform);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GpPlatform, gp_platform_clear)

/* "os/arch[/variant]", owned by the caller. */
char *gp_platform_to_string(const GpPlatform *platform);

/* How well an image for @os/@architecture/@variant (variant NULL or "": none) runs on @platform: 0 is best, each step
 * further is less specific, -1 does not run. Order of variants: arm v8 > v7 > v6 > v5 > none, arm64 v8 > none, amd64 v4
 * > … > v1 > none. */
int gp_platform_rank(const GpPlatform *platform, const char *os, const char *architecture, const char *variant);
