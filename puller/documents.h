/* The documents that decide about a pull: policy, where signatures are, credentials. Fetched for every pull, at the
 * same time, from wherever the options say. */
#pragma once

#include <glib.h>

#include "policy/credentials.h"
#include "policy/lookaside.h"
#include "policy/policy.h"
#include "policy/registries.h"
#include "puller/options.h"
#include "puller/resource.h"

/* Could anything that @options name, or a key that their policy names, have to come from the KBS? Reads a policy that
 * is a file; asks nobody. */
gboolean gp_documents_may_need_kbs(const GpPullOptions *options);

typedef struct _GpDocuments GpDocuments;

/* Fetches all; what went wrong is told by whoever asks for the document. @options is borrowed. */
GpDocuments *gp_documents_fetch(const GpPullOptions *options, GpResources *resources);
void gp_documents_free(GpDocuments *documents);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpDocuments, gp_documents_free)

/* The policy and, in *@digest (caller's), the digest of its bytes. Errors: POLICY (there is none, or it cannot be had),
 * INVALID, LIMIT, USAGE, CANCELLED. */
GpPolicy *gp_documents_policy(const GpDocuments *documents, char **digest, GError **error);

/* registries_d if it was given, else the sigstore configuration, else the default directory. Errors: KEY (cannot be
 * had), INVALID, LIMIT, USAGE, CANCELLED. */
GpLookaside *gp_documents_lookaside(const GpDocuments *documents, GError **error);

/* An empty one when none is configured; a directory is all its *.conf files. Errors: as above. */
GpRegistries *gp_documents_registries(const GpDocuments *documents, GError **error);

/* *@credentials stays NULL when none are configured. Errors: as above. */
gboolean gp_documents_credentials(const GpDocuments *documents, GpCredentials **credentials, GError **error);
