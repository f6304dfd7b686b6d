/* Whose keys open an encrypted layer: the key providers that its annotations name, asked over ttrpc (ocicrypt's key
 * provider protocol; in a confidential guest always the confidential-data-hub). */
#pragma once

#include <glib.h>

#include "puller/descriptor.h"
#include "puller/layer_key.h"
#include "puller/manifest.h"

/* TRUE for a media type with "+encrypted". */
gboolean gp_layer_is_encrypted(const GpDescriptor *layer);

/* The names of the providers for whom @layer's key is wrapped, in the order in which they are asked; a new array of
 * char*, empty if there is none. Schemes without provider ("jwe", "pgp", "pkcs7", "pkcs11") are not among them. */
GPtrArray *gp_layer_key_providers(const GpDescriptor *layer);

/* [{"digest", "providers": [name]}]: the encrypted layers of @manifest, in order. New reference. */
json_t *gp_manifest_encryption(const GpManifest *manifest);

/* The ways to the providers. */
typedef struct _GpKeyProviders GpKeyProviders;

/* @cdh_socket: of the confidential-data-hub, which speaks for every provider that the configuration does not name.
 * @config: ocicrypt's configuration (OCICRYPT_KEYPROVIDER_CONFIG: {"key-providers": {NAME: {"ttrpc": ADDRESS}}}) as
 * read, or NULL. Providers there by "grpc" or "cmd" parse, and are refused when they are needed: this program starts no
 * programs of others. Errors: USAGE naming the place. */
GpKeyProviders *gp_key_providers_new(const char *cdh_socket, GBytes *config, GError **error);
/* The same with the configuration in the file @path; NULL: none. @private_key: a file with an RSA key that is tried
 * first, on keys wrapped for "jwe" (debugging); NULL: none. Errors: KEY (cannot be read, is none), LIMIT, USAGE. */
GpKeyProviders *gp_key_providers_load(
    const char *cdh_socket, const char *path, const char *private_key, GError **error);
void gp_key_providers_free(GpKeyProviders *providers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpKeyProviders, gp_key_providers_free)

/* The key of the encrypted @layer: each packet for "jwe" is tried with the private key, if there is one; then each
 * wrapped packet of each provider is handed over, unread, until one is unwrapped
 * to options that make sense. Thread-safe; takes up to GP_KEY_TIMEOUT seconds a packet. Errors: KEY, beginning with
 * "cannot decrypt the layer"; INVALID, LIMIT (annotations). */
#define GP_KEY_TIMEOUT 50
GpLayerKey *gp_layer_key_unwrap(const GpKeyProviders *providers, const GpDescriptor *layer, GError **error);
