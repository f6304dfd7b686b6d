#include "puller/key_provider.h"

#include <fcntl.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/ttrpc.h"
#include "puller/guest_services.h"
#include "puller/jwe.h"

#define ENCRYPTED "+encrypted"
#define PUBLIC_OPTIONS "org.opencontainers.image.enc.pubopts"
#define KEYS "org.opencontainers.image.enc.keys."
#define PROVIDER KEYS "provider."
#define JWE KEYS "jwe"

struct _GpKeyProviders {
    char *cdh_socket;
    GHashTable *sockets;   /* name to path; "" for a provider that is reached in no way of ours */
    EVP_PKEY *private_key; /* NULL: none */
};

gboolean gp_layer_is_encrypted(const GpDescriptor *layer)
{
    return g_str_has_suffix(layer->media_type, ENCRYPTED);
}

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* What follows @prefix in the names of @layer's annotations, in alphabetic order: a table has none of its own. */
static GPtrArray *names_behind(const GpDescriptor *layer, const char *prefix)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer key;
    if (!layer->annotations)
        return names;
    g_hash_table_iter_init(&iter, layer->annotations);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        if (g_str_has_prefix(key, prefix))
            g_ptr_array_add(names, g_strdup((char *) key + strlen(prefix)));
    g_ptr_array_sort(names, by_text);
    return names;
}

GPtrArray *gp_layer_key_providers(const GpDescriptor *layer)
{
    return names_behind(layer, PROVIDER);
}

json_t *gp_manifest_encryption(const GpManifest *manifest)
{
    json_t *list = json_array();
    for (guint i = 0; i < manifest->layers->len; i++) {
        const GpDescriptor *layer = manifest->layers->pdata[i];
        if (!gp_layer_is_encrypted(layer))
            continue;
        g_autoptr(GPtrArray) providers = gp_layer_key_providers(layer);
        g_autofree char *digest = gp_digest_to_string(&layer->digest);
        json_t *names = json_array();
        for (guint k = 0; k < providers->len; k++)
            json_array_append_new(names, json_string(providers->pdata[k]));
        json_array_append_new(list, json_pack("{s:s, s:o}", "digest", digest, "providers", names));
    }
    return list;
}

/* ---- configuration */

static gboolean read_provider(
    GpKeyProviders *providers, const char *name, json_t *value, const char *place, GError **error)
{
    json_t *ttrpc, *grpc, *native, *cmd;
    const GpJsonField fields[] = {{"ttrpc", GP_JSON_STRING, GP_JSON_OPTIONAL, &ttrpc},
        {"grpc", GP_JSON_STRING, GP_JSON_OPTIONAL, &grpc}, {"native", GP_JSON_STRING, GP_JSON_OPTIONAL, &native},
        {"cmd", GP_JSON_OBJECT, GP_JSON_NULLABLE, &cmd}, {NULL}};
    if (!json_is_object(value)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: must be an object", place);
        return FALSE;
    }
    if (!gp_json_fields(value, place, fields, TRUE, error))
        return FALSE;
    if (!ttrpc && native)
        return TRUE; /* "inside this process", says the confidential-data-hub's own configuration: ask the hub */
    g_autofree char *path = ttrpc ? gp_unix_path(json_string_value(ttrpc), error) : g_strdup("");
    if (!path) {
        g_prefix_error(error, "%s.ttrpc: ", place);
        return FALSE;
    }
    g_hash_table_insert(providers->sockets, g_strdup(name), g_steal_pointer(&path));
    return TRUE;
}

static gboolean read_config(GpKeyProviders *providers, GBytes *config, GError **error)
{
    json_t *list;
    const GpJsonField fields[] = {{"key-providers", GP_JSON_OBJECT, GP_JSON_MANDATORY, &list}, {NULL}};
    gsize length;
    const void *data = g_bytes_get_data(config, &length);
    g_autoptr(json_t) document = gp_json_parse(data, length, GP_LIMIT_KEY_PROVIDERS, "$", error);
    if (!document || !gp_json_fields(document, "$", fields, TRUE, error))
        return FALSE;
    const char *name;
    json_t *value;
    json_object_foreach(list, name, value)
    {
        g_autofree char *place = gp_json_path_key("$.key-providers", name);
        if (!read_provider(providers, name, value, place, error))
            return FALSE;
    }
    return TRUE;
}

GpKeyProviders *gp_key_providers_new(const char *cdh_socket, GBytes *config, GError **error)
{
    g_autoptr(GpKeyProviders) providers = g_new0(GpKeyProviders, 1);
    g_autoptr(GError) cause = NULL;
    providers->cdh_socket = g_strdup(cdh_socket);
    providers->sockets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (!config || read_config(providers, config, &cause))
        return g_steal_pointer(&providers);
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "the configuration of key providers: %s", cause->message);
    return NULL;
}

static gboolean load_private_key(GpKeyProviders *providers, const char *path, GError **error)
{
    g_autoptr(GBytes) pem = gp_read_file(AT_FDCWD, path, GP_LIMIT_KEY, "decryption key", error);
    return pem && (providers->private_key = gp_jwe_key_parse(pem, path, error)) != NULL;
}

GpKeyProviders *gp_key_providers_load(const char *cdh_socket, const char *path, const char *private_key, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) bytes =
        path ? gp_read_file(AT_FDCWD, path, GP_LIMIT_KEY_PROVIDERS, "configuration of key providers", &cause) : NULL;
    if (path && !bytes) {
        g_set_error(error, GP_ERROR, g_error_matches(cause, GP_ERROR, GP_ERROR_LIMIT) ? GP_ERROR_LIMIT : GP_ERROR_KEY,
            "cannot decrypt the layer: %s", cause->message);
        return NULL;
    }
    g_autoptr(GpKeyProviders) providers = gp_key_providers_new(cdh_socket, bytes, error);
    if (!providers || (private_key && !load_private_key(providers, private_key, error)))
        return NULL;
    return g_steal_pointer(&providers);
}

void gp_key_providers_free(GpKeyProviders *providers)
{
    if (!providers)
        return;
    g_hash_table_unref(providers->sockets);
    EVP_PKEY_free(providers->private_key);
    g_free(providers->cdh_socket);
    g_free(providers);
}

static const char *socket_of(const GpKeyProviders *providers, const char *name, GError **error)
{
    const char *path = g_hash_table_lookup(providers->sockets, name);
    if (!path && providers->cdh_socket)
        return providers->cdh_socket;
    if (path && *path)
        return path;
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s",
        path ? "is configured by \"cmd\" or \"grpc\", only \"ttrpc\" is known" : "no socket to ask it at");
    return NULL;
}

/* ---- one packet */

static GBytes *request_for(const char *packet)
{
    g_autoptr(json_t) request =
        json_pack("{s:s, s:{}, s:{s:s}}", "op", "keyunwrap", "keywrapparams", "keyunwrapparams", "annotation", packet);
    char *text = gp_json_to_text(request, FALSE);
    return g_bytes_new_take(text, strlen(text));
}

/* CDH writes a list of numbers (Rust's Vec<u8>), Go's providers base64. */
static GBytes *options_from(json_t *value)
{
    guint8 *data;
    if (json_is_string(value)) {
        gsize length = 0;
        g_autofree char *again = NULL;
        guchar *raw = g_base64_decode(json_string_value(value), &length);
        GBytes *bytes = gp_ttrpc_secret_bytes(length, &data);
        memcpy(data, raw, length);
        again = g_base64_encode(raw, length);
        gboolean same = strcmp(again, json_string_value(value)) == 0;
        explicit_bzero(raw, length);
        explicit_bzero(again, strlen(again));
        g_free(raw);
        if (!same)
            g_clear_pointer(&bytes, g_bytes_unref);
        return bytes;
    }
    if (!json_is_array(value))
        return NULL;
    gsize length = json_array_size(value);
    g_autoptr(GBytes) bytes = gp_ttrpc_secret_bytes(length, &data);
    for (gsize i = 0; i < length; i++) {
        json_t *number = json_array_get(value, i);
        if (!json_is_integer(number) || json_integer_value(number) < 0 || json_integer_value(number) > 255)
            return NULL;
        data[i] = (guint8) json_integer_value(number);
    }
    return g_steal_pointer(&bytes);
}

static GBytes *read_answer(GBytes *answer, GError **error)
{
    json_t *results, *options;
    const GpJsonField top[] = {{"keyunwrapresults", GP_JSON_OBJECT, GP_JSON_MANDATORY, &results}, {NULL}};
    const GpJsonField inner[] = {{"optsdata", GP_JSON_ANY, GP_JSON_MANDATORY, &options}, {NULL}};
    gsize length;
    const void *data = g_bytes_get_data(answer, &length);
    g_autoptr(json_t) document = gp_json_parse(data, length, GP_LIMIT_UNWRAP_ANSWER, "the answer", NULL);
    GBytes *bytes = NULL;
    if (document && gp_json_fields(document, "$", top, FALSE, NULL) &&
        gp_json_fields(results, "$.keyunwrapresults", inner, FALSE, NULL))
        bytes = options_from(options);
    if (!bytes)
        g_set_error(error, GP_ERROR, GP_ERROR_KEY,
            "an answer that is not {\"keyunwrapresults\": {\"optsdata\": numbers or base64}}");
    return bytes;
}

static GpLayerKey *unwrap_packet(const char *socket, const char *public_options, const char *packet, GError **error)
{
    g_autoptr(GBytes) request = request_for(packet);
    g_autoptr(GBytes) answer =
        gp_guest_unwrap_key(socket, request, GP_KEY_TIMEOUT * 1000, GP_LIMIT_UNWRAP_ANSWER, error);
    g_autoptr(GBytes) options = answer ? read_answer(answer, error) : NULL;
    return options ? gp_layer_key_parse(public_options, options, error) : NULL;
}

/* ---- one layer */

static gboolean check_packets(char **packets, const char *annotation, guint *total, GError **error)
{
    g_autofree char *shown = gp_escape(annotation, -1, 120);
    if (!*packets) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "annotation %s: not base64", shown);
        return FALSE;
    }
    for (; *packets; packets++) {
        gsize length = strlen(*packets);
        if (length == 0 ||
            strspn(*packets, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != length) {
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "annotation %s: not base64", shown);
            return FALSE;
        }
        if (length > GP_LIMIT_KEY_PACKET || ++*total > GP_LIMIT_KEY_PACKETS) {
            g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
                "annotation %s: more than %d wrapped keys, or one of more than %d bytes", shown, GP_LIMIT_KEY_PACKETS,
                GP_LIMIT_KEY_PACKET);
            return FALSE;
        }
    }
    return TRUE;
}

/* @reasons collects why each of them is not the one. */
static GpLayerKey *ask_provider(const GpKeyProviders *providers, const GpDescriptor *layer, const char *name,
    guint *total, GString *reasons, GError **error)
{
    g_autofree char *annotation = g_strconcat(PROVIDER, name, NULL);
    const char *public_options = g_hash_table_lookup(layer->annotations, PUBLIC_OPTIONS);
    g_auto(GStrv) packets = g_strsplit(g_hash_table_lookup(layer->annotations, annotation), ",", -1);
    if (!check_packets(packets, annotation, total, error))
        return NULL;
    g_autofree char *shown = gp_escape(name, -1, 80);
    for (guint i = 0; packets[i]; i++) {
        g_autoptr(GError) cause = NULL;
        const char *socket = socket_of(providers, name, &cause);
        GpLayerKey *key = socket ? unwrap_packet(socket, public_options, packets[i], &cause) : NULL;
        if (key)
            return key;
        /* The author's mistake, which no provider can mend. */
        if (gp_error_code(cause) == GP_ERROR_INVALID || gp_error_code(cause) == GP_ERROR_UNSUPPORTED) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
        g_string_append_printf(reasons, "; provider %s, key %u: %s", shown, i + 1, cause->message);
    }
    return NULL;
}

/* NULL without an error: no packet is for our private key, and @reasons says why. */
static GpLayerKey *try_private_key(
    const GpKeyProviders *providers, const GpDescriptor *layer, GString *reasons, guint *total, GError **error)
{
    const char *annotation = layer->annotations ? g_hash_table_lookup(layer->annotations, JWE) : NULL;
    const char *public_options = annotation ? g_hash_table_lookup(layer->annotations, PUBLIC_OPTIONS) : NULL;
    if (!providers->private_key || !public_options)
        return NULL;
    g_auto(GStrv) packets = g_strsplit(annotation, ",", -1);
    if (!check_packets(packets, JWE, total, error))
        return NULL;
    for (guint i = 0; packets[i]; i++) {
        g_autoptr(GError) cause = NULL;
        g_autoptr(GBytes) jwe = gp_base64_decode(packets[i], strlen(packets[i]));
        g_autoptr(GBytes) options = jwe ? gp_jwe_decrypt(jwe, providers->private_key, &cause) : NULL;
        GpLayerKey *key = options ? gp_layer_key_parse(public_options, options, &cause) : NULL;
        if (key)
            return key;
        g_string_append_printf(reasons, "; jwe, key %u: %s", i + 1, cause ? cause->message : "not base64");
    }
    return NULL;
}

static GpLayerKey *no_provider(const GpDescriptor *layer, GError **error)
{
    g_autoptr(GPtrArray) schemes = names_behind(layer, KEYS);
    g_autoptr(GString) list = g_string_new(NULL);
    for (guint i = 0; i < schemes->len; i++) {
        g_autofree char *shown = gp_escape(schemes->pdata[i], -1, 40);
        g_string_append_printf(list, "%s%s", i ? ", " : "", shown);
    }
    g_set_error(error, GP_ERROR, GP_ERROR_KEY,
        "no-key-provider: cannot decrypt the layer: its key is wrapped for %s, not for a key provider\n"
        "Encrypt the image with --encryption-key provider:attestation-agent:…",
        list->len ? list->str : "nobody");
    return NULL;
}

GpLayerKey *gp_layer_key_unwrap(const GpKeyProviders *providers, const GpDescriptor *layer, GError **error)
{
    g_autoptr(GPtrArray) names = gp_layer_key_providers(layer);
    g_autoptr(GString) reasons = g_string_new(NULL);
    g_autoptr(GError) problem = NULL;
    guint total = 0;
    GpLayerKey *own = try_private_key(providers, layer, reasons, &total, &problem);
    if (own || problem) {
        if (problem)
            g_propagate_error(error, g_steal_pointer(&problem));
        return own;
    }
    if (names->len == 0 && reasons->len == 0)
        return no_provider(layer, error);
    if (!g_hash_table_contains(layer->annotations, PUBLIC_OPTIONS)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "an encrypted layer without the annotation " PUBLIC_OPTIONS);
        return NULL;
    }
    for (guint i = 0; i < names->len; i++) {
        g_autoptr(GError) cause = NULL;
        GpLayerKey *key = ask_provider(providers, layer, names->pdata[i], &total, reasons, &cause);
        if (key)
            return key;
        if (cause) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
    }
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "key-not-released: cannot decrypt the layer%s", reasons->str);
    return NULL;
}
