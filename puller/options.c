#include "puller/options.h"

#include "base/limits.h"
#include "puller/guest_services.h"
#include "puller/resource.h"

GpPullOptions *gp_pull_options_new(void)
{
    GpPullOptions *options = g_new0(GpPullOptions, 1);
    options->registries_d = g_strdup(GP_DEFAULT_REGISTRIES_D);
    options->store = g_strdup(GP_DEFAULT_STORE);
    options->runtime_dir = g_strdup(GP_DEFAULT_RUNTIME_DIR);
    options->cdh_socket = g_strdup(GP_DEFAULT_CDH_SOCKET);
    options->resource_endpoint = g_strdup(GP_DEFAULT_RESOURCE_ENDPOINT);
    options->agent_socket = g_strdup(GP_DEFAULT_AA_SOCKET);
    options->timeout = GP_DEFAULT_TIMEOUT;
    options->max_parallel = GP_DEFAULT_PARALLEL;
    options->max_pulls = GP_DEFAULT_PARALLEL;
    gp_layer_limits_init(&options->limits);
    options->low_water.percent = GP_DEFAULT_LOW_WATER_PERCENT;
    options->high_water.percent = GP_DEFAULT_HIGH_WATER_PERCENT;
    options->rw.rw_percent = GP_DEFAULT_RW_PERCENT;
    return options;
}

void gp_pull_options_free(GpPullOptions *options)
{
    if (!options)
        return;
    g_free(options->image);
    g_free(options->as);
    g_free(options->bundle);
    g_free(options->policy);
    g_free(options->policy_text);
    g_free(options->registries_d);
    g_free(options->sigstore_config);
    g_free(options->sigstore_config_text);
    g_free(options->authfile);
    g_free(options->https_proxy);
    g_free(options->http_proxy);
    g_free(options->no_proxy);
    g_free(options->registries);
    g_free(options->registries_text);
    g_strfreev(options->blob_directories);
    g_free(options->store);
    g_free(options->runtime_dir);
    g_free(options->platform);
    g_strfreev(options->plain_http);
    g_free(options->cert_dir);
    g_free(options->extra_roots);
    g_free(options->cdh_socket);
    g_free(options->key_provider_config);
    g_free(options->decryption_key);
    g_free(options->resource_endpoint);
    g_free(options->agent_socket);
    g_strfreev(options->bundle_roots);
    g_free(options->request_id);
    g_free(options->volume.device);
    g_free(options->volume.key);
    g_free(options);
}
