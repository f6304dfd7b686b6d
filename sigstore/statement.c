#include "sigstore/statement.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "sigstore/refusal.h"

GBytes *gp_dsse_pae(const char *payload_type, GBytes *payload)
{
    gsize size;
    const guint8 *data = g_bytes_get_data(payload, &size);
    g_autofree char *head =
        g_strdup_printf("DSSEv1 %zu %s %" G_GSIZE_FORMAT " ", strlen(payload_type), payload_type, size);
    GByteArray *text = g_byte_array_sized_new((guint) (strlen(head) + size));
    g_byte_array_append(text, (const guint8 *) head, (guint) strlen(head));
    g_byte_array_append(text, data, (guint) size);
    return g_byte_array_free_to_bytes(text);
}

/* Does one of the subjects have the digest? Digests of other algorithms beside it mean nothing. */
static gboolean names_digest(json_t *subjects, const GpDigest *digest)
{
    g_autofree char *wanted = gp_digest_to_hex(digest);
    size_t i;
    json_t *subject;
    json_array_foreach(subjects, i, subject)
    {
        json_t *digests = json_object_get(subject, "digest");
        const char *value = json_string_value(json_object_get(digests, gp_digest_algorithm_name(digest->algorithm)));
        if (value && strcmp(value, wanted) == 0)
            return TRUE;
    }
    return FALSE;
}

static gboolean is_known_type(const char *type)
{
    return strcmp(type, "https://in-toto.io/Statement/v1") == 0 ||
           strcmp(type, "https://in-toto.io/Statement/v0.1") == 0;
}

gboolean gp_statement_check(
    const char *payload_type, GBytes *payload, const GpDigest *digest, const char *predicate_type, GError **error)
{
    json_t *type, *subjects, *predicate;
    const GpJsonField fields[] = {{"_type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"subject", GP_JSON_ARRAY, GP_JSON_MANDATORY, &subjects},
        {"predicateType", GP_JSON_STRING, GP_JSON_MANDATORY | GP_JSON_NON_EMPTY, &predicate}, {NULL}};
    gsize size;
    const void *data = g_bytes_get_data(payload, &size);
    GError *cause = NULL;
    if (strcmp(payload_type, GP_STATEMENT_PAYLOAD_TYPE) != 0) {
        g_autofree char *shown = gp_escape(payload_type, -1, 80);
        return gp_refuse(error, "statement", "the payload is \"%s\", not " GP_STATEMENT_PAYLOAD_TYPE, shown);
    }
    g_autoptr(json_t) document = gp_json_parse(data, size, GP_LIMIT_BUNDLE, "$", &cause);
    if (!document || !gp_json_fields(document, "$", fields, FALSE, &cause))
        return gp_refuse_cause(error, "statement", cause);
    if (!is_known_type(json_string_value(type))) {
        g_autofree char *shown = gp_escape(json_string_value(type), -1, 80);
        return gp_refuse(error, "statement", "\"%s\" is no type of statement that is known", shown);
    }
    if (predicate_type && strcmp(json_string_value(predicate), predicate_type) != 0) {
        g_autofree char *shown = gp_escape(json_string_value(predicate), -1, 120);
        return gp_refuse(error, "predicate-type", "an attestation of type \"%s\", not a signature of the image", shown);
    }
    if (names_digest(subjects, digest))
        return TRUE;
    g_autofree char *text = gp_digest_to_string(digest);
    return gp_refuse(error, "digest-mismatch", "the statement is about something else than %s", text);
}
