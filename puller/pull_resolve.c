/* The first steps of a pull: the process is taken apart, and RESOLVE. */
#include <unistd.h>

#include "base/error.h"
#include "base/sandbox.h"
#include "puller/cancel.h"
#include "puller/documents.h"
#include "puller/locations.h"
#include "puller/pull_state.h"

/* ---- the two sides of the process: the worker has the network, the puller gives it up */

gboolean gp_pull_separate(GpPull *pull, GError **error)
{
    const GpPullOptions *options = pull->options;
    gboolean left;
    pull->resources = gp_resources_new(options->cdh_socket, options->resource_endpoint);
    if (gp_documents_may_need_kbs(options) && !gp_resources_connect(pull->resources, options->verbose, error))
        return FALSE;
    if (pull->name->type == GP_SOURCE_DOCKER) {
        GpFetchConfig config = {.plain_http = options->plain_http,
            .cert_dir = options->cert_dir,
            .extra_roots = options->extra_roots,
            .https_proxy = options->https_proxy,
            .http_proxy = options->http_proxy,
            .no_proxy = options->no_proxy,
            .timeout = options->timeout,
            .verbose = options->verbose};
        pull->fetch = gp_fetch_begin(&config, error);
        if (!pull->fetch)
            return FALSE;
    }
    if (!gp_sandbox_leave_network(&left, error))
        return FALSE;
    gp_cancel_guard(options->timeout);
    return TRUE;
}

/* ---- RESOLVE */

static gboolean look_scope_up(GpPull *pull, GError **error)
{
    gboolean docker_rules = pull->name->type == GP_SOURCE_DOCKER || pull->as;
    g_autofree char *local = docker_rules ? NULL : gp_image_name_scope(pull->name);
    pull->requirements = gp_policy_lookup(pull->policy, docker_rules ? "docker" : gp_source_type_name(pull->name->type),
        pull->identity, local, &pull->scope);
    if (!gp_verify_rejects_outright(pull->requirements))
        return TRUE;
    GpVerifyRequest request = {
        .scope = pull->scope, .requirements = pull->requirements, .policy_digest = pull->policy_digest};
    return gp_verify_image(&request, &pull->verdict, error);
}

/* The bundle as it really lies, below one of the roots. */
static gboolean check_bundle(const GpPull *pull, GError **error)
{
    const GpPullOptions *options = pull->options;
    if (!options->bundle || !options->bundle_roots)
        return TRUE;
    char *found = realpath(options->bundle, NULL);
    g_autofree char *real = g_strdup(found ? found : options->bundle);
    free(found);
    for (char **root = options->bundle_roots; *root; root++) {
        g_autofree char *below = g_str_has_suffix(*root, "/") ? g_strdup(*root) : g_strconcat(*root, "/", NULL);
        if (g_str_has_prefix(real, below))
            return TRUE;
    }
    g_autofree char *shown = gp_escape(real, -1, 512);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "bundle %s: not below any of bundle_roots", shown);
    return FALSE;
}

/* Where the image is asked for. Whom the policy is asked for and whom signatures must name stays pull->identity. */
static gboolean find_locations(GpPull *pull, const GpDocuments *documents, GError **error)
{
    const GpPullOptions *options = pull->options;
    if (pull->name->type != GP_SOURCE_DOCKER)
        return TRUE;
    pull->registries = gp_documents_registries(documents, error);
    if (!pull->registries || !gp_registries_check_short_name(pull->registries, options->image, error))
        return FALSE;
    pull->locations =
        gp_locations_for(pull->registries, pull->name->reference, pull->credentials, options->plain_http, error);
    return pull->locations != NULL;
}

static gpointer load_store(gpointer unused)
{
    gp_store_prepare();
    return unused;
}

/* Probably all layers are there then, and the pull does without libostree. */
static gboolean is_known(const GpPull *pull)
{
    g_autofree char *reference =
        pull->identity ? gp_reference_to_string(pull->identity) : g_strdup(pull->options->image);
    return gp_store_knows(pull->options->store, reference);
}

/* What takes long and needs no answer of the network goes to threads, while the fetch worker gets ready: libostree too,
 * for during its loading no thread can be started, which layers need. */
gboolean gp_pull_resolve(GpPull *pull, GError **error)
{
    const GpPullOptions *options = pull->options;
    if (options->as && pull->name->type == GP_SOURCE_DOCKER) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "--as is for local images: a registry's image has its own name");
        return FALSE;
    }
    if (options->as && !(pull->as = gp_reference_parse(options->as, error)))
        return FALSE;
    pull->identity = pull->as ? pull->as : pull->name->reference;

    if (!check_bundle(pull, error))
        return FALSE;
    g_autoptr(GpDocuments) documents = gp_documents_fetch(options, pull->resources);
    pull->policy = gp_documents_policy(documents, &pull->policy_digest, error);
    if (!pull->policy || !look_scope_up(pull, error))
        return FALSE;
    pull->material = gp_verify_material_start(pull->requirements, pull->resources);
    if (options->bundle && !is_known(pull))
        pull->loader = g_thread_try_new("libostree", load_store, NULL, NULL);
    pull->lookaside = gp_documents_lookaside(documents, error);
    return pull->lookaside && gp_documents_credentials(documents, &pull->credentials, error) &&
           find_locations(pull, documents, error);
}
