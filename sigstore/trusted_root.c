#include "sigstore/trusted_root.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/error.h"
#include "base/limits.h"
#include "sigstore/protojson.h"
#include "sigstore/rfc3339.h"

#define MEDIA_TYPE_1 "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
#define MEDIA_TYPE_2 "application/vnd.dev.sigstore.trustedroot.v0.2+json"
#define ID_SIZE 32

static void log_free(gpointer data)
{
    GpTrustedLog *log = data;
    gp_public_key_free(log->key);
    g_clear_pointer(&log->id, g_bytes_unref);
    g_free(log->host);
    g_free(log);
}

static void authority_free(gpointer data)
{
    GpTrustedAuthority *authority = data;
    g_ptr_array_unref(authority->certificates);
    g_free(authority);
}

static GpTrustedRoot *root_new(void)
{
    GpTrustedRoot *root = g_new0(GpTrustedRoot, 1);
    root->tlogs = g_ptr_array_new_with_free_func(log_free);
    root->ctlogs = g_ptr_array_new_with_free_func(log_free);
    root->authorities = g_ptr_array_new_with_free_func(authority_free);
    root->timestamp_authorities = g_ptr_array_new_with_free_func(authority_free);
    return root;
}

void gp_trusted_root_free(GpTrustedRoot *root)
{
    if (!root)
        return;
    g_ptr_array_unref(root->tlogs);
    g_ptr_array_unref(root->ctlogs);
    g_ptr_array_unref(root->authorities);
    g_ptr_array_unref(root->timestamp_authorities);
    g_free(root);
}

gboolean gp_in_window(gint64 start, gint64 end, gint64 time)
{
    return start <= time && time <= end;
}

X509 *gp_certificate_from_der(GBytes *der)
{
    gsize size;
    const unsigned char *bytes = g_bytes_get_data(der, &size), *next = bytes;
    X509 *certificate = size <= GP_LIMIT_CERTIFICATE ? d2i_X509(NULL, &next, (long) size) : NULL;
    if (certificate && next != bytes + size)
        g_clear_pointer(&certificate, X509_free);
    ERR_clear_error();
    return certificate;
}

static gboolean invalid(GError **error, const char *place, const char *what)
{
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: %s", place, what);
    return FALSE;
}

/* ---- parts of the document */

static gboolean read_time(json_t *value, const char *place, const char *key, gint64 *seconds, GError **error)
{
    if (!value || gp_rfc3339_parse(json_string_value(value), seconds))
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s.%s: must be a time as in RFC 3339", place, key);
    return FALSE;
}

static gboolean read_window(json_t *object, const char *parent, gint64 *start, gint64 *end, GError **error)
{
    json_t *from = NULL, *to = NULL;
    const GpProtoField fields[] = {
        {"start", GP_JSON_STRING, FALSE, &from}, {"end", GP_JSON_STRING, FALSE, &to}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, "validFor");
    *start = G_MININT64;
    *end = G_MAXINT64;
    if (!object)
        return TRUE;
    return gp_proto_fields(object, place, fields, error) && read_time(from, place, "start", start, error) &&
           read_time(to, place, "end", end, error) &&
           (*start <= *end || invalid(error, place, "ends before it starts"));
}

/* The host of "https://host[:port][/path]". */
static char *host_of(const char *url)
{
    const char *rest = strstr(url, "://");
    rest = rest ? rest + strlen("://") : url;
    return g_strndup(rest, strcspn(rest, "/"));
}

/* A log's id is made from its key: SHA-256 of the key, or the signed note's key id for Ed25519 logs (Rekor v2). */
static gboolean check_log_id(const GpTrustedLog *log, const char *place, GError **error)
{
    GpDigest of_key, of_note;
    gsize size;
    const guint8 *der = g_bytes_get_data(gp_public_key_der(log->key), &size);
    gp_digest_of(GP_DIGEST_SHA256, der, size, &of_key);
    gboolean good = memcmp(of_key.bytes, g_bytes_get_data(log->id, NULL), ID_SIZE) == 0;
    if (!good && !gp_public_key_signs_digests(log->key) && log->host) {
        g_autoptr(GByteArray) text = g_byte_array_new();
        g_byte_array_append(text, (const guint8 *) log->host, (guint) strlen(log->host));
        g_byte_array_append(text, (const guint8 *) "\n\x01", 2);
        g_byte_array_append(text, der + size - 32, 32);
        gp_digest_of(GP_DIGEST_SHA256, text->data, text->len, &of_note);
        good = memcmp(of_note.bytes, g_bytes_get_data(log->id, NULL), ID_SIZE) == 0;
    }
    return good || invalid(error, place, "logId is not that of the key");
}

static gboolean read_id(json_t *object, const char *parent, const char *key, GBytes **id, GError **error)
{
    json_t *value = NULL;
    const GpProtoField fields[] = {{"keyId", GP_JSON_STRING, TRUE, &value}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, key);
    return gp_proto_fields(object, place, fields, error) &&
           (*id = gp_proto_bytes(value, place, "keyId", ID_SIZE, error)) != NULL;
}

static gboolean read_log_key(GpTrustedLog *log, json_t *object, const char *parent, GError **error)
{
    json_t *raw = NULL, *details = NULL, *window = NULL;
    const GpProtoField fields[] = {{"rawBytes", GP_JSON_STRING, TRUE, &raw},
        {"keyDetails", GP_JSON_STRING, FALSE, &details}, {"validFor", GP_JSON_OBJECT, FALSE, &window}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, "publicKey");
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    g_autoptr(GBytes) der = gp_proto_bytes(raw, place, "rawBytes", 0, error);
    gboolean pkcs1 = details && g_str_has_prefix(json_string_value(details), "PKCS1_");
    if (!der || !read_window(window, place, &log->start, &log->end, error))
        return FALSE;
    log->key = gp_public_key_from_der(der, pkcs1, place, error);
    return log->key != NULL;
}

static gboolean read_log(json_t *object, const char *place, GPtrArray *logs, GError **error)
{
    json_t *url = NULL, *algorithm = NULL, *key = NULL, *id = NULL, *checkpoint_id = NULL, *operator_name = NULL;
    const GpProtoField fields[] = {{"baseUrl", GP_JSON_STRING, FALSE, &url},
        {"hashAlgorithm", GP_JSON_STRING, FALSE, &algorithm}, {"publicKey", GP_JSON_OBJECT, TRUE, &key},
        {"logId", GP_JSON_OBJECT, TRUE, &id}, {"checkpointKeyId", GP_JSON_OBJECT, FALSE, &checkpoint_id},
        {"operator", GP_JSON_STRING, FALSE, &operator_name}, {NULL}};
    GpTrustedLog *log = g_new0(GpTrustedLog, 1);
    g_ptr_array_add(logs, log);
    if (!gp_proto_fields(object, place, fields, error) || !read_log_key(log, key, place, error) ||
        !read_id(id, place, "logId", &log->id, error))
        return FALSE;
    log->host = url ? host_of(json_string_value(url)) : NULL;
    if (algorithm && strcmp(json_string_value(algorithm), "SHA2_256") != 0)
        return invalid(error, place, "hashAlgorithm must be SHA2_256");
    return check_log_id(log, place, error);
}

static gboolean read_certificates(json_t *object, const char *parent, GPtrArray *certificates, GError **error)
{
    json_t *list = NULL, *item;
    const GpProtoField fields[] = {{"certificates", GP_JSON_ARRAY, TRUE, &list}, {NULL}};
    g_autofree char *place = gp_json_path_key(parent, "certChain");
    size_t i;
    if (!gp_proto_fields(object, place, fields, error))
        return FALSE;
    json_array_foreach(list, i, item)
    {
        json_t *raw = NULL;
        const GpProtoField inner[] = {{"rawBytes", GP_JSON_STRING, TRUE, &raw}, {NULL}};
        g_autofree char *at = gp_json_path_index(place, i);
        g_autoptr(GBytes) der = NULL;
        if (!json_is_object(item))
            return invalid(error, at, "must be an object");
        if (!gp_proto_fields(item, at, inner, error) || !(der = gp_proto_bytes(raw, at, "rawBytes", 0, error)))
            return FALSE;
        X509 *certificate = gp_certificate_from_der(der);
        if (!certificate)
            return invalid(error, at, "not a certificate in DER");
        g_ptr_array_add(certificates, certificate);
    }
    return certificates->len > 0 || invalid(error, place, "no certificate");
}

static gboolean read_authority(json_t *object, const char *place, GPtrArray *authorities, GError **error)
{
    json_t *subject = NULL, *uri = NULL, *chain = NULL, *window = NULL, *operator_name = NULL;
    const GpProtoField fields[] = {{"subject", GP_JSON_OBJECT, FALSE, &subject}, {"uri", GP_JSON_STRING, FALSE, &uri},
        {"certChain", GP_JSON_OBJECT, TRUE, &chain}, {"validFor", GP_JSON_OBJECT, FALSE, &window},
        {"operator", GP_JSON_STRING, FALSE, &operator_name}, {NULL}};
    GpTrustedAuthority *authority = g_new0(GpTrustedAuthority, 1);
    authority->certificates = g_ptr_array_new_with_free_func((GDestroyNotify) X509_free);
    g_ptr_array_add(authorities, authority);
    return gp_proto_fields(object, place, fields, error) &&
           read_certificates(chain, place, authority->certificates, error) &&
           read_window(window, place, &authority->start, &authority->end, error);
}

/* ---- the document */

typedef gboolean (*ReadItem)(json_t *object, const char *place, GPtrArray *items, GError **error);

static gboolean read_list(json_t *list, const char *name, ReadItem read, GPtrArray *items, GError **error)
{
    size_t i;
    json_t *item;
    g_autofree char *place = gp_json_path_key("$", name);
    if (json_array_size(list) > GP_LIMIT_TRUSTED_SERVICES) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%s: more than %d", place, GP_LIMIT_TRUSTED_SERVICES);
        return FALSE;
    }
    json_array_foreach(list, i, item)
    {
        g_autofree char *at = gp_json_path_index(place, i);
        if (!json_is_object(item))
            return invalid(error, at, "must be an object");
        if (!read(item, at, items, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean read_root(GpTrustedRoot *root, json_t *document, GError **error)
{
    json_t *type = NULL, *tlogs = NULL, *cas = NULL, *ctlogs = NULL, *tsas = NULL;
    const GpProtoField fields[] = {{"mediaType", GP_JSON_STRING, TRUE, &type}, {"tlogs", GP_JSON_ARRAY, FALSE, &tlogs},
        {"certificateAuthorities", GP_JSON_ARRAY, FALSE, &cas}, {"ctlogs", GP_JSON_ARRAY, FALSE, &ctlogs},
        {"timestampAuthorities", GP_JSON_ARRAY, FALSE, &tsas}, {NULL}};
    if (!gp_proto_fields(document, "$", fields, error))
        return FALSE;
    if (strcmp(json_string_value(type), MEDIA_TYPE_1) != 0 && strcmp(json_string_value(type), MEDIA_TYPE_2) != 0)
        return invalid(error, "$.mediaType", "must be " MEDIA_TYPE_1 " or " MEDIA_TYPE_2);
    return read_list(tlogs, "tlogs", read_log, root->tlogs, error) &&
           read_list(ctlogs, "ctlogs", read_log, root->ctlogs, error) &&
           read_list(cas, "certificateAuthorities", read_authority, root->authorities, error) &&
           read_list(tsas, "timestampAuthorities", read_authority, root->timestamp_authorities, error);
}

GpTrustedRoot *gp_trusted_root_parse(GBytes *json, const char *what, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(json, &size);
    g_autoptr(GpTrustedRoot) root = root_new();
    g_autoptr(GError) cause = NULL;
    g_autoptr(json_t) document = gp_json_parse(data, size, GP_LIMIT_TRUSTED_ROOT, "$", &cause);
    if (document && !json_is_object(document))
        (void) invalid(&cause, "$", "must be an object");
    if (!cause && read_root(root, document, &cause))
        return g_steal_pointer(&root);
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: trusted-root: %s", what, cause->message);
    return NULL;
}

/* ---- from parts */

static gboolean add_rekor_key(GpTrustedRoot *root, GpPublicKey *key)
{
    GpTrustedLog *log = g_new0(GpTrustedLog, 1);
    GpDigest id;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(gp_public_key_der(key), NULL),
        g_bytes_get_size(gp_public_key_der(key)), &id);
    log->key = gp_public_key_ref(key);
    log->id = g_bytes_new(id.bytes, ID_SIZE);
    log->start = G_MININT64;
    log->end = G_MAXINT64;
    g_ptr_array_add(root->tlogs, log);
    return TRUE;
}

GpTrustedRoot *gp_trusted_root_assemble(GBytes *ca, GPtrArray *rekor_keys, const char *what, GError **error)
{
    g_autoptr(GpTrustedRoot) root = root_new();
    for (guint i = 0; rekor_keys && i < rekor_keys->len; i++)
        (void) add_rekor_key(root, rekor_keys->pdata[i]);
    if (!ca)
        return g_steal_pointer(&root);
    GpTrustedAuthority *authority = g_new0(GpTrustedAuthority, 1);
    authority->certificates = gp_certificates_from_pem(ca, what, error);
    if (!authority->certificates) {
        g_free(authority);
        return NULL;
    }
    authority->start = G_MININT64;
    authority->end = G_MAXINT64;
    g_ptr_array_add(root->authorities, authority);
    return g_steal_pointer(&root);
}

GPtrArray *gp_certificates_from_pem(GBytes *pem, const char *what, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(pem, &size);
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify) X509_free);
    g_autoptr(BIO) bio = size > 0 && size <= GP_LIMIT_KEY ? BIO_new_mem_buf(data, (int) size) : NULL;
    X509 *certificate;
    while (bio && list->len < GP_LIMIT_CHAIN && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        g_ptr_array_add(list, certificate);
    unsigned long why = ERR_peek_last_error();
    gboolean ended = bio && list->len > 0 && ERR_GET_REASON(why) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    if (ended)
        return g_steal_pointer(&list);
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "%s: not a list of 1 to %d PEM certificates", what, GP_LIMIT_CHAIN);
    return NULL;
}
