/* Where the registries behind a name really are: containers-registries.conf(5), version 2, of which the table that
 * image-rs reads is a part. Text in, decisions out. */
#pragma once

#include <glib.h>

#include "policy/reference.h"

typedef struct _GpRegistries GpRegistries;

GpRegistries *gp_registries_new(void);
void gp_registries_free(GpRegistries *registries);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpRegistries, gp_registries_free)

/* Adds the tables of one TOML text, called @what. "[[registry]]" has prefix, location, insecure, blocked,
 * mirror-by-digest-only and "[[registry.mirror]]" with location, insecure, pull-from-mirror (all, digest-only,
 * tag-only). A prefix that is there before, in this text or one added earlier, is an error, and so are unknown keys,
 * prefixes that could never match, locations that are no host with an optional path, and both ways of saying
 * "digests only" at once. Nothing is added on error. Errors: INVALID with the place, LIMIT, UNSUPPORTED (aliases,
 * credential helpers). */
gboolean gp_registries_add(GpRegistries *registries, GBytes *toml, const char *what, GError **error);

/* A place to ask. */
typedef struct {
    GpReference
        *reference;    /* the physical one: what credentials are looked up by; never what the policy is asked for */
    gboolean insecure; /* plain http may be used with this host */
    gboolean mirror;
    char *why; /* for people: "mirror 1 of prefix docker.io" */
} GpRegistryPlace;

/* The places for @reference in the order in which they are to be asked, the registry itself last: GpRegistryPlace*, at
 * least one. The longest prefix counts, "host/path" with a boundary of '/', ':' or '@' behind it, or "*.example.com".
 * *@prefix (may be NULL): the one that matched, borrowed, or NULL. Errors: POLICY (blocked), INVALID (a place that
 * cannot be made of this name). */
GPtrArray *gp_registries_resolve(
    const GpRegistries *registries, const GpReference *reference, const char **prefix, GError **error);

/* A name without a registry is one of docker.io here (see policy/reference.h). Where unqualified-search-registries
 * wants others asked, such a name, @written as the person did, would mean another image to whoever wrote that: refused
 * as UNSUPPORTED. */
gboolean gp_registries_check_short_name(const GpRegistries *registries, const char *written, GError **error);
