#include "sigstore/bundle.h"

#include "base/error.h"
#include "base/limits.h"
#include "sigstore/openssl.h"
#include "sigstore/protojson.h"
#include "sigstore/refusal.h"
#include "sigstore/trusted_root.h"

#define HASH_SIZE 32

/* One parse: the version decides what an entry must have. */
typedef struct {
    GpBundle *bundle;
    int version; /* of 0.x */
} Reader;

void gp_log_entry_free(GpLogEntry *entry)
{
    if (!entry)
        return;
    g_clear_pointer(&entry->log_id, g_bytes_unref);
    g_clear_pointer(&entry->promise, g_bytes_unref);
    g_clear_pointer(&entry->root_hash, g_bytes_unref);
    g_clear_pointer(&entry->body, g_bytes_unref);
    g_clear_pointer(&entry->hashes, g_ptr_array_unref);
    g_free(entry->kind);
    g_free(entry->version);
    g_free(entry->checkpoint);
    g_free(entry);
}

GpBundle *gp_bundle_new(void)
{
    GpBundle *bundle = g_new0(GpBundle, 1);
    bundle->untrusted = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    bundle->entries = g_ptr_array_new_with_free_func((GDestroyNotify) gp_log_entry_free);
    bundle->timestamps = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    return bundle;
}

void gp_bundle_free(GpBundle *bundle)
{
    if (!bundle)
        return;
    g_clear_pointer(&bundle->certificate, g_bytes_unref);
    g_clear_pointer(&bundle->signature, g_bytes_unref);
    g_clear_pointer(&bundle->payload, g_bytes_unref);
    g_clear_pointer(&bundle->message_digest, g_bytes_unref);
    g_ptr_array_unref(bundle->untrusted);
    g_ptr_array_unref(bundle->entries);
    g_ptr_array_unref(bundle->timestamps);
    g_free(bundle->payload_type);
    g_free(bundle->message_digest_name);
    g_free(bundle);
}

static gboolean invalid(GError **error, const char *place, const char *what)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %s", place, what);
    return FALSE;
}

static gboolean too_many(GError **error, const char *place, int most)
{
    g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%s: more than %d", place, most);
    return FALSE;
}

static gboolean is_object(json_t *value, const char *place, GError **error)
{
    return json_is_object(value) || invalid(error, place, "must be an object");
}

/* The bytes of @object's only member @key. */
static GBytes *read_raw(json_t *object, const char *place, const char *key, gsize size, GError **error)
{
    json_t *raw = NULL;
    const GpProtoField fields[] = {{key, GP_JSON_STRING, TRUE, &raw}, {NULL}};
    if (!is_object(object, place, error) || !gp_proto_fields(object, place, fields, error))
        return NULL;
    return gp_proto_bytes(raw, place, key, size, error);
}

/* ---- a log's entry */

static gboolean read_hashes(GpLogEntry *entry, json_t *list, const char *place, GError **error)
{
    size_t i;
    json_t *item;
    entry->hashes = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    if (json_array_size(list) > GP_LIMIT_PROOF_HASHES)
        return too_many(error, place, GP_LIMIT_PROOF_HASHES);
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item))
            return invalid(error, place, "must be strings");
        GBytes *hash = gp_proto_bytes(item, place, "hashes", HASH_SIZE, error);
        if (!hash)
            return FALSE;
        g_ptr_array_add(entry->hashes, hash);
    }
    return TRUE;
}

static gboolean read_checkpoint(GpLogEntry *entry, json_t *object, const char *place, GError **error)
{
    json_t *envelope = NULL;
    const GpProtoField fields[] = {{"envelope", GP_JSON_STRING, TRUE, &envelope}, {NULL}};
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    if (json_string_length(envelope) == 0)
        return invalid(error, place, "the checkpoint is empty");
    entry->checkpoint = g_strdup(json_string_value(envelope));
    return TRUE;
}

static gboolean read_proof(GpLogEntry *entry, json_t *object, const char *parent, GError **error)
{
    json_t *index = NULL, *root = NULL, *size = NULL, *hashes = NULL, *checkpoint = NULL;
    const GpProtoField fields[] = {{"logIndex", GP_JSON_INTEGER, FALSE, &index},
        {"rootHash", GP_JSON_STRING, TRUE, &root}, {"treeSize", GP_JSON_INTEGER, TRUE, &size},
        {"hashes", GP_JSON_ARRAY, FALSE, &hashes}, {"checkpoint", GP_JSON_OBJECT, TRUE, &checkpoint}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, "inclusionProof");
    if (!gp_proto_fields(object, place, fields, error) ||
        !gp_proto_integer(index, place, "logIndex", &entry->proof_index, error) ||
        !gp_proto_integer(size, place, "treeSize", &entry->tree_size, error))
        return FALSE;
    if (entry->tree_size == 0)
        return invalid(error, place, "a tree of no entries");
    entry->root_hash = gp_proto_bytes(root, place, "rootHash", HASH_SIZE, error);
    if (!entry->root_hash || !read_hashes(entry, hashes, place, error) ||
        !read_checkpoint(entry, checkpoint, place, error))
        return FALSE;
    entry->has_proof = TRUE;
    return TRUE;
}

static gboolean read_kind(GpLogEntry *entry, json_t *object, const char *place, GError **error)
{
    json_t *kind = NULL, *version = NULL;
    const GpProtoField fields[] = {
        {"kind", GP_JSON_STRING, TRUE, &kind}, {"version", GP_JSON_STRING, TRUE, &version}, {NULL}};
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    entry->kind = g_strdup(json_string_value(kind));
    entry->version = g_strdup(json_string_value(version));
    return TRUE;
}

static gboolean check_proofs(const Reader *reader, const GpLogEntry *entry, const char *place, GError **error)
{
    if (reader->version == 1 && !entry->promise)
        return invalid(error, place, "a bundle of version 0.1 needs an inclusionPromise");
    if (reader->version > 1 && !entry->has_proof)
        return invalid(error, place, "needs an inclusionProof with checkpoint");
    return TRUE;
}

static gboolean read_entry(Reader *reader, json_t *object, const char *place, GError **error)
{
    json_t *index = NULL, *id = NULL, *kind = NULL, *time = NULL, *promise = NULL, *proof = NULL, *body = NULL;
    const GpProtoField fields[] = {{"logIndex", GP_JSON_INTEGER, FALSE, &index}, {"logId", GP_JSON_OBJECT, TRUE, &id},
        {"kindVersion", GP_JSON_OBJECT, TRUE, &kind}, {"integratedTime", GP_JSON_INTEGER, FALSE, &time},
        {"inclusionPromise", GP_JSON_OBJECT, FALSE, &promise}, {"inclusionProof", GP_JSON_OBJECT, FALSE, &proof},
        {"canonicalizedBody", GP_JSON_STRING, TRUE, &body}, {NULL}};
    GpLogEntry *entry = g_new0(GpLogEntry, 1);
    guint64 seconds = 0;
    g_ptr_array_add(reader->bundle->entries, entry);
    if (!is_object(object, place, error) || !gp_proto_fields(object, place, fields, error) ||
        !gp_proto_integer(index, place, "logIndex", &entry->log_index, error) ||
        !gp_proto_integer(time, place, "integratedTime", &seconds, error) ||
        !(entry->log_id = read_raw(id, place, "keyId", HASH_SIZE, error)) || !read_kind(entry, kind, place, error) ||
        !(entry->body = gp_proto_bytes(body, place, "canonicalizedBody", 0, error)))
        return FALSE;
    entry->integrated_time = (gint64) seconds;
    if (promise && !(entry->promise = read_raw(promise, place, "signedEntryTimestamp", 0, error)))
        return FALSE;
    return (!proof || read_proof(entry, proof, place, error)) && check_proofs(reader, entry, place, error);
}

static gboolean read_entries(Reader *reader, json_t *list, const char *parent, GError **error)
{
    size_t i;
    json_t *item;
    g_autofree char *place = gp_json_path_key(parent, "tlogEntries");
    if (json_array_size(list) > GP_LIMIT_LOG_ENTRIES)
        return too_many(error, place, GP_LIMIT_LOG_ENTRIES);
    json_array_foreach(list, i, item)
    {
        g_autofree char *at = gp_json_path_index(place, i);
        if (!read_entry(reader, item, at, error))
            return FALSE;
    }
    return TRUE;
}

/* ---- verification material */

static gboolean read_chain(Reader *reader, json_t *object, const char *parent, GError **error)
{
    json_t *list = NULL, *item;
    const GpProtoField fields[] = {{"certificates", GP_JSON_ARRAY, TRUE, &list}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, "x509CertificateChain");
    size_t i;
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    if (json_array_size(list) == 0)
        return invalid(error, place, "no certificate");
    if (json_array_size(list) > GP_LIMIT_CHAIN)
        return too_many(error, place, GP_LIMIT_CHAIN);
    json_array_foreach(list, i, item)
    {
        g_autofree char *at = gp_json_path_index(place, i);
        g_autoptr(GBytes) der = read_raw(item, at, "rawBytes", 0, error);
        g_autoptr(X509) certificate = der ? gp_certificate_from_der(der) : NULL;
        if (!certificate)
            return der ? invalid(error, at, "not a certificate in DER") : FALSE;
        /* What is trusted comes from the verifier; a root here would be an offer to trust somebody else. */
        if (i > 0 && X509_self_signed(certificate, 0) == 1)
            return invalid(error, at, "a root certificate");
        if (i == 0)
            reader->bundle->certificate = g_steal_pointer(&der);
        else
            g_ptr_array_add(reader->bundle->untrusted, g_steal_pointer(&der));
    }
    return TRUE;
}

static gboolean read_certificate(Reader *reader, json_t *object, const char *parent, GError **error)
{
    g_autofree char *place = gp_json_path_key(parent, "certificate");
    reader->bundle->certificate = read_raw(object, place, "rawBytes", 0, error);
    if (!reader->bundle->certificate)
        return FALSE;
    g_autoptr(X509) certificate = gp_certificate_from_der(reader->bundle->certificate);
    return certificate || invalid(error, place, "not a certificate in DER");
}

static gboolean read_hint(json_t *object, const char *parent, GError **error)
{
    json_t *hint = NULL;
    const GpProtoField fields[] = {{"hint", GP_JSON_STRING, FALSE, &hint}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, "publicKey");
    return gp_proto_fields(object, place, fields, error); /* any of the verifier's keys may be the one */
}

static gboolean read_timestamps(Reader *reader, json_t *object, const char *parent, GError **error)
{
    json_t *list = NULL, *item;
    const GpProtoField fields[] = {{"rfc3161Timestamps", GP_JSON_ARRAY, FALSE, &list}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, "timestampVerificationData");
    size_t i;
    if (!object)
        return TRUE;
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    if (json_array_size(list) > GP_LIMIT_TIMESTAMPS)
        return too_many(error, place, GP_LIMIT_TIMESTAMPS);
    json_array_foreach(list, i, item)
    {
        g_autofree char *at = gp_json_path_index(place, i);
        GBytes *stamp = read_raw(item, at, "signedTimestamp", 0, error);
        if (!stamp)
            return FALSE;
        g_ptr_array_add(reader->bundle->timestamps, stamp);
    }
    return TRUE;
}

static gboolean read_material(Reader *reader, json_t *object, GError **error)
{
    static const char place[] = "$.verificationMaterial";
    json_t *key = NULL, *chain = NULL, *certificate = NULL, *entries = NULL, *timestamps = NULL;
    const GpProtoField fields[] = {{"publicKey", GP_JSON_OBJECT, FALSE, &key},
        {"x509CertificateChain", GP_JSON_OBJECT, FALSE, &chain}, {"certificate", GP_JSON_OBJECT, FALSE, &certificate},
        {"tlogEntries", GP_JSON_ARRAY, FALSE, &entries},
        {"timestampVerificationData", GP_JSON_OBJECT, FALSE, &timestamps}, {NULL}};
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    if ((key != NULL) + (chain != NULL) + (certificate != NULL) != 1)
        return invalid(error, place, "needs exactly one of publicKey, certificate and x509CertificateChain");
    if (chain && reader->version >= 3)
        return invalid(error, place, "x509CertificateChain is not of version 0.3");
    return (!key || read_hint(key, place, error)) && (!chain || read_chain(reader, chain, place, error)) &&
           (!certificate || read_certificate(reader, certificate, place, error)) &&
           read_entries(reader, entries, place, error) && read_timestamps(reader, timestamps, place, error);
}

/* ---- content */

static gboolean read_digest(GpBundle *bundle, json_t *object, GError **error)
{
    static const char place[] = "$.messageSignature.messageDigest";
    static const struct {
        const char *name;
        gsize size;
    } known[] = {{"SHA2_256", 32}, {"SHA2_384", 48}, {"SHA2_512", 64}};
    json_t *algorithm = NULL, *digest = NULL;
    const GpProtoField fields[] = {
        {"algorithm", GP_JSON_STRING, TRUE, &algorithm}, {"digest", GP_JSON_STRING, TRUE, &digest}, {NULL}};
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strcmp(known[i].name, json_string_value(algorithm)) != 0)
            continue;
        bundle->message_digest_name = g_strdup(known[i].name);
        bundle->message_digest = gp_proto_bytes(digest, place, "digest", known[i].size, error);
        return bundle->message_digest != NULL;
    }
    return invalid(error, place, "algorithm must be SHA2_256, SHA2_384 or SHA2_512");
}

static gboolean read_message(GpBundle *bundle, json_t *object, GError **error)
{
    static const char place[] = "$.messageSignature";
    json_t *digest = NULL, *signature = NULL;
    const GpProtoField fields[] = {
        {"messageDigest", GP_JSON_OBJECT, FALSE, &digest}, {"signature", GP_JSON_STRING, TRUE, &signature}, {NULL}};
    if (!gp_proto_fields(object, place, fields, error) || (digest && !read_digest(bundle, digest, error)))
        return FALSE;
    bundle->signature = gp_proto_bytes(signature, place, "signature", 0, error);
    return bundle->signature != NULL;
}

static gboolean read_envelope(GpBundle *bundle, json_t *object, GError **error)
{
    static const char place[] = "$.dsseEnvelope";
    json_t *payload = NULL, *type = NULL, *signatures = NULL, *value = NULL, *key_id = NULL;
    const GpProtoField fields[] = {{"payload", GP_JSON_STRING, TRUE, &payload},
        {"payloadType", GP_JSON_STRING, TRUE, &type}, {"signatures", GP_JSON_ARRAY, TRUE, &signatures}, {NULL}};
    const GpProtoField inner[] = {
        {"sig", GP_JSON_STRING, TRUE, &value}, {"keyid", GP_JSON_STRING, FALSE, &key_id}, {NULL}};
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    json_t *only = json_array_get(signatures, 0);
    if (json_array_size(signatures) != 1 || !json_is_object(only))
        return invalid(error, place, "needs exactly one signature");
    if (!gp_proto_fields(only, "$.dsseEnvelope.signatures[0]", inner, error))
        return FALSE;
    bundle->payload_type = g_strdup(json_string_value(type));
    bundle->payload = gp_proto_bytes(payload, place, "payload", 0, error);
    bundle->signature = bundle->payload ? gp_proto_bytes(value, place, "sig", 0, error) : NULL;
    return bundle->signature != NULL;
}

/* ---- the whole */

static gboolean read_version(Reader *reader, const char *media_type, GError **error)
{
    static const struct {
        const char *type;
        int version;
    } known[] = {
        {"application/vnd.dev.sigstore.bundle+json;version=0.1", 1},
        {"application/vnd.dev.sigstore.bundle+json;version=0.2", 2},
        {"application/vnd.dev.sigstore.bundle+json;version=0.3", 3},
        {"application/vnd.dev.sigstore.bundle.v0.3+json", 3},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(known); i++)
        if (strcmp(known[i].type, media_type) == 0)
            reader->version = known[i].version;
    g_autofree char *shown = gp_escape(media_type, -1, 100);
    if (!reader->version)
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "$.mediaType: \"%s\" is not a bundle's", shown);
    return reader->version != 0;
}

static gboolean read_bundle(Reader *reader, json_t *document, GError **error)
{
    json_t *type = NULL, *material = NULL, *message = NULL, *envelope = NULL;
    const GpProtoField fields[] = {{"mediaType", GP_JSON_STRING, TRUE, &type},
        {"verificationMaterial", GP_JSON_OBJECT, TRUE, &material},
        {"messageSignature", GP_JSON_OBJECT, FALSE, &message}, {"dsseEnvelope", GP_JSON_OBJECT, FALSE, &envelope},
        {NULL}};
    if (!is_object(document, "$", error) || !gp_proto_fields(document, "$", fields, error) ||
        !read_version(reader, json_string_value(type), error))
        return FALSE;
    if ((message != NULL) + (envelope != NULL) != 1)
        return invalid(error, "$", "needs exactly one of messageSignature and dsseEnvelope");
    return read_material(reader, material, error) &&
           (message ? read_message(reader->bundle, message, error) : read_envelope(reader->bundle, envelope, error));
}

GpBundle *gp_bundle_parse(GBytes *json, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(json, &size);
    g_autoptr(GpBundle) bundle = gp_bundle_new();
    Reader reader = {.bundle = bundle};
    GError *cause = NULL;
    g_autoptr(json_t) document = gp_json_parse(size ? data : "", size, GP_LIMIT_BUNDLE, "$", &cause);
    if (document && read_bundle(&reader, document, &cause))
        return g_steal_pointer(&bundle);
    /* Nesting is a matter of form; sizes and counts are ceilings. */
    if (!document && size <= GP_LIMIT_BUNDLE)
        cause->code = GP_ERROR_INVALID;
    (void) gp_refuse_cause(error, "bundle-format", cause);
    return NULL;
}
