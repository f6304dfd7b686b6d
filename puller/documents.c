#include "puller/documents.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "puller/lookaside_files.h"

enum { POLICY, SIGSTORE, CREDENTIALS, REGISTRIES, N_DOCUMENTS };

struct _GpDocuments {
    const GpPullOptions *options;
    GpResourceRequest rows[N_DOCUMENTS];
};

gboolean gp_documents_may_need_kbs(const GpPullOptions *options)
{
    const char *const locations[] = {
        options->policy, options->sigstore_config, options->authfile, options->registries, options->volume.key};
    for (gsize i = 0; i < G_N_ELEMENTS(locations); i++)
        if (locations[i] && gp_resource_is_remote(locations[i]))
            return TRUE;
    /* A policy in which these three letters do not occur names no key there: JSON that hides them behind \u escapes
     * gets the error that no KBS can be reached. */
    if (!options->policy)
        return options->policy_text && strstr(options->policy_text, "kbs");
    g_autoptr(GBytes) text = gp_resource_fetch(NULL, options->policy, GP_LIMIT_POLICY, "policy", NULL);
    gsize length = 0;
    const void *data = text ? g_bytes_get_data(text, &length) : NULL;
    return length > 0 && memmem(data, length, "kbs", strlen("kbs")) != NULL;
}

static GBytes *inline_text(const char *text)
{
    return text ? g_bytes_new(text, strlen(text)) : NULL;
}

static gboolean is_directory(const char *location)
{
    return location && g_path_is_absolute(location) && g_file_test(location, G_FILE_TEST_IS_DIR);
}

GpDocuments *gp_documents_fetch(const GpPullOptions *options, GpResources *resources)
{
    GpDocuments *documents = g_new0(GpDocuments, 1);
    documents->options = options;
    GpResourceRequest *rows = documents->rows;
    rows[POLICY] = (GpResourceRequest){.location = options->policy, .max = GP_LIMIT_POLICY, .what = "policy"};
    rows[SIGSTORE] = (GpResourceRequest){
        .location = options->sigstore_config, .max = GP_LIMIT_REGISTRIES, .what = "sigstore configuration"};
    rows[CREDENTIALS] =
        (GpResourceRequest){.location = options->authfile, .max = GP_LIMIT_AUTHFILE, .what = "credentials"};
    rows[REGISTRIES] = (GpResourceRequest){.location = is_directory(options->registries) ? NULL : options->registries,
        .max = GP_LIMIT_REGISTRIES,
        .what = "registries configuration"};
    gp_resources_fetch(resources, rows, N_DOCUMENTS);
    if (!options->registries)
        rows[REGISTRIES].bytes = inline_text(options->registries_text);
    if (!options->policy)
        rows[POLICY].bytes = inline_text(options->policy_text);
    if (!options->sigstore_config)
        rows[SIGSTORE].bytes = inline_text(options->sigstore_config_text);
    return documents;
}

void gp_documents_free(GpDocuments *documents)
{
    if (!documents)
        return;
    for (int i = 0; i < N_DOCUMENTS; i++)
        gp_resource_request_clear(&documents->rows[i]);
    g_free(documents);
}

static void tell(const GpResourceRequest *row, GError **error)
{
    g_propagate_error(error, g_error_copy(row->error));
}

/* An absent policy is a policy matter, whatever the reason for its absence. */
static void tell_policy(const GpResourceRequest *row, GError **error)
{
    if (row->error && row->error->code != GP_ERROR_KEY)
        tell(row, error);
    else if (row->error)
        g_set_error_literal(error, GP_ERROR, GP_ERROR_POLICY, row->error->message);
    else
        g_set_error(error, GP_ERROR, GP_ERROR_POLICY,
            "there is no policy, and without one every image is refused\nName one: --policy FILE (see "
            "guest-pull-policy in docs/policy.md).");
}

GpPolicy *gp_documents_policy(const GpDocuments *documents, char **digest, GError **error)
{
    const GpResourceRequest *row = &documents->rows[POLICY];
    if (!row->bytes) {
        tell_policy(row, error);
        return NULL;
    }
    GpDigest computed;
    gsize length;
    const void *data = g_bytes_get_data(row->bytes, &length);
    gp_digest_of(GP_DIGEST_SHA256, data, length, &computed);
    *digest = gp_digest_to_string(&computed);
    return gp_policy_parse(row->bytes, row->location ? row->location : "inline policy", error);
}

GpLookaside *gp_documents_lookaside(const GpDocuments *documents, GError **error)
{
    const GpPullOptions *options = documents->options;
    const GpResourceRequest *row = &documents->rows[SIGSTORE];
    if (row->error) {
        tell(row, error);
        return NULL;
    }
    if (options->registries_d_given || !row->bytes)
        return gp_lookaside_load(options->registries_d, options->registries_d_given, error);
    g_autoptr(GpLookaside) lookaside = gp_lookaside_new();
    const char *what = row->location ? row->location : "inline sigstore configuration";
    return gp_lookaside_add(lookaside, row->bytes, what, error) ? g_steal_pointer(&lookaside) : NULL;
}

GpRegistries *gp_documents_registries(const GpDocuments *documents, GError **error)
{
    const GpPullOptions *options = documents->options;
    const GpResourceRequest *row = &documents->rows[REGISTRIES];
    if (row->error) {
        tell(row, error);
        return NULL;
    }
    if (is_directory(options->registries) && !row->location)
        return gp_registries_load(options->registries, error);
    g_autoptr(GpRegistries) registries = gp_registries_new();
    const char *what = row->location ? row->location : "inline registries configuration";
    return !row->bytes || gp_registries_add(registries, row->bytes, what, error) ? g_steal_pointer(&registries) : NULL;
}

gboolean gp_documents_credentials(const GpDocuments *documents, GpCredentials **credentials, GError **error)
{
    const GpResourceRequest *row = &documents->rows[CREDENTIALS];
    if (!row->location)
        return TRUE;
    if (row->error)
        tell(row, error);
    else
        *credentials = gp_credentials_parse(row->bytes, row->location, error);
    return *credentials != NULL;
}
