/* registries resolve: the places that a pull would ask, and why; no network but for the documents themselves. */
#include "cli/commands.h"
#include "cli/output.h"
#include "puller/documents.h"

static GpRegistries *load(const GpContext *context, GError **error)
{
    const GpPullOptions *options = context->pull;
    const GpPullOptions only = {.registries = options->registries, .registries_text = options->registries_text};
    g_autoptr(GpResources) resources = gp_resources_new(options->cdh_socket, options->resource_endpoint);
    if (gp_documents_may_need_kbs(&only) && !gp_resources_connect(resources, options->verbose, error))
        return NULL;
    g_autoptr(GpDocuments) documents = gp_documents_fetch(&only, resources);
    return gp_documents_registries(documents, error);
}

static json_t *describe(const GpRegistryPlace *place)
{
    g_autofree char *location = gp_reference_to_string(place->reference);
    return json_pack("{s:s, s:b, s:b, s:s}", "location", location, "mirror", place->mirror, "insecure", place->insecure,
        "why", place->why);
}

static void print(const char *image, GPtrArray *places, char *const *directories)
{
    gp_print("image     %s (whom the policy is asked for)\n", image);
    for (; directories && *directories; directories++)
        gp_print("blobs     %s\n", *directories);
    for (guint i = 0; i < places->len; i++) {
        const GpRegistryPlace *place = places->pdata[i];
        g_autofree char *location = gp_reference_to_string(place->reference);
        gp_print("%-9s %s%s (%s)\n", place->mirror ? "mirror" : "registry", location,
            place->insecure ? " over plain http" : "", place->why);
    }
}

gboolean gp_command_registries_resolve(GpContext *context, int *status, GError **error)
{
    const char *written = context->words[0], *prefix = NULL;
    g_autoptr(GpReference) reference = gp_reference_parse(written, error);
    g_autoptr(GpRegistries) registries = reference ? load(context, error) : NULL;
    if (!registries || !gp_registries_check_short_name(registries, written, error))
        return FALSE;
    g_autoptr(GPtrArray) places = gp_registries_resolve(registries, reference, &prefix, error);
    if (!places)
        return FALSE;
    *status = 0;
    g_autofree char *image = gp_reference_to_string(reference);
    if (!context->json) {
        print(image, places, context->pull->blob_directories);
        return TRUE;
    }
    json_t *list = json_array(), *blobs = json_array();
    for (guint i = 0; i < places->len; i++)
        json_array_append_new(list, describe(places->pdata[i]));
    for (char **directory = context->pull->blob_directories; directory && *directory; directory++)
        json_array_append_new(blobs, json_string(*directory));
    gp_print_json(json_pack(
        "{s:s, s:s?, s:o, s:o}", "image", image, "prefix", prefix, "locations", list, "blobDirectories", blobs));
    return TRUE;
}
