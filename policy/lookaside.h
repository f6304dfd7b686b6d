/* containers-registries.d(5): where detached signatures of a docker reference are, and whether sigstore attachments are
 * used. */
#pragma once

#include <glib.h>

#include "policy/reference.h"

typedef struct _GpLookaside GpLookaside;

GpLookaside *gp_lookaside_new(void);
void gp_lookaside_free(GpLookaside *lookaside);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpLookaside, gp_lookaside_free)

/* Adds one YAML file's text (named @what): "default-docker" and "docker: <scope>:", each with "lookaside" (file:///…,
 * http://… or https://…) and "use-sigstore-attachments". "sigstore" is the old name of "lookaside"; both at once must
 * agree. The "-staging" keys are for writers and ignored. A scope, or default-docker, in two files is an error, and so
 * is an unknown key. Nothing is added on error. Errors: INVALID with the line, LIMIT. */
gboolean gp_lookaside_add(GpLookaside *lookaside, GBytes *yaml, const char *what, GError **error);

/* The base URL to read signatures from (file, http, https; no final slash), or NULL when none is configured. Each
 * option is inherited separately from the most specific scope that has it (gp_reference_scopes(), then default-docker).
 * Caller's. */
char *gp_lookaside_base(const GpLookaside *lookaside, const GpReference *reference);

/* URL of signature number @index (from 1) of @digest: base/path-without-domain@sha256=hex/signature-N. Caller's. */
char *gp_lookaside_signature_url(const char *base, const GpReference *reference, const GpDigest *digest, guint index);

/* Whether .sig tags and referrers are to be asked (use-sigstore-attachments): @fallback where nothing is written. */
gboolean gp_lookaside_use_attachments(const GpLookaside *lookaside, const GpReference *reference, gboolean fallback);
