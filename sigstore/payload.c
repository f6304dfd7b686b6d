#include "sigstore/payload.h"

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

typedef struct {
    const char *type;
    GpJsonFlags optional; /* of the key "optional" */
} Grammar;

static const Grammar grammars[] = {
    [GP_PAYLOAD_ATOMIC] = {"atomic container signature", GP_JSON_MANDATORY},
    [GP_PAYLOAD_COSIGN] = {"cosign container image signature", GP_JSON_NULLABLE},
};

/* A JSON number without a fraction. Go's encoder, and with it the reference implementation, writes and reads 1.0 and
 * 1e9 as integers as well; beyond 2^53 a double no longer says which integer it is. */
static gboolean integral(const json_t *value, gint64 *number)
{
    if (json_is_integer(value)) {
        *number = json_integer_value(value);
        return TRUE;
    }
    const double exact = 9007199254740992.0;
    double real = json_real_value(value);
    if (!json_is_real(value) || !(real >= -exact && real <= exact) || (double) (gint64) real != real)
        return FALSE;
    *number = (gint64) real;
    return TRUE;
}

static gboolean read_optional(json_t *optional, GpSignatureFacts *facts, GError **error)
{
    json_t *creator, *timestamp;
    const GpJsonField fields[] = {
        {"creator", GP_JSON_STRING, GP_JSON_OPTIONAL, &creator},
        {"timestamp", GP_JSON_ANY, GP_JSON_OPTIONAL, &timestamp},
        {NULL},
    };
    if (!gp_json_fields(optional, "$.optional", fields, FALSE, error))
        return FALSE;
    facts->creator = g_strdup(json_string_value(creator));
    if (timestamp && !integral(timestamp, &facts->timestamp)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "$.optional.timestamp: must be an integer");
        return FALSE;
    }
    return TRUE;
}

static gboolean read_critical(json_t *critical, const Grammar *grammar, GpSignatureFacts *facts, GError **error)
{
    json_t *type, *image, *identity, *digest, *reference;
    const GpJsonField critical_fields[] = {
        {"type", GP_JSON_STRING, GP_JSON_MANDATORY, &type},
        {"image", GP_JSON_OBJECT, GP_JSON_MANDATORY, &image},
        {"identity", GP_JSON_OBJECT, GP_JSON_MANDATORY, &identity},
        {NULL},
    };
    const GpJsonField image_fields[] = {{"docker-manifest-digest", GP_JSON_STRING, GP_JSON_MANDATORY, &digest}, {NULL}};
    const GpJsonField identity_fields[] = {{"docker-reference", GP_JSON_STRING, GP_JSON_MANDATORY, &reference}, {NULL}};

    if (!gp_json_fields(critical, "$.critical", critical_fields, TRUE, error))
        return FALSE;
    if (!g_str_equal(json_string_value(type), grammar->type)) {
        g_autofree char *shown = gp_escape(json_string_value(type), -1, 100);
        g_set_error(
            error, GP_ERROR, GP_ERROR_INVALID, "$.critical.type: is \"%s\", expected \"%s\"", shown, grammar->type);
        return FALSE;
    }
    if (!gp_json_fields(image, "$.critical.image", image_fields, TRUE, error) ||
        !gp_json_fields(identity, "$.critical.identity", identity_fields, TRUE, error))
        return FALSE;
    if (!gp_digest_parse(json_string_value(digest), &facts->manifest_digest, error)) {
        g_prefix_error(error, "$.critical.image.docker-manifest-digest: ");
        return FALSE;
    }
    facts->docker_reference = g_strdup(json_string_value(reference));
    return TRUE;
}

static gboolean read_payload(GBytes *payload, const Grammar *grammar, GpSignatureFacts *facts, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(payload, &size);
    g_autoptr(json_t) document = gp_json_parse(data ? data : "", size, GP_LIMIT_SIGNATURE, "signed text", error);
    if (!document)
        return FALSE;
    json_t *critical, *optional;
    const GpJsonField fields[] = {
        {"critical", GP_JSON_OBJECT, GP_JSON_MANDATORY, &critical},
        {"optional", GP_JSON_OBJECT, grammar->optional, &optional},
        {NULL},
    };
    return gp_json_fields(document, "$", fields, TRUE, error) && read_critical(critical, grammar, facts, error) &&
           (!optional || read_optional(optional, facts, error));
}

GpSignatureFacts *gp_payload_parse(GBytes *payload, GpPayloadKind kind, const char *signer, GError **error)
{
    GpSignatureFacts *facts = g_new0(GpSignatureFacts, 1);
    facts->kind = kind == GP_PAYLOAD_COSIGN ? GP_SIGNATURE_COSIGN : GP_SIGNATURE_SIMPLE;
    facts->timestamp = -1;
    facts->signer = g_strdup(signer);
    g_autoptr(GError) problem = NULL;
    if (read_payload(payload, &grammars[kind], facts, &problem))
        return facts;
    gp_signature_facts_free(facts);
    g_set_error(error, GP_ERROR, GP_ERROR_SIGNATURE, "payload: %s", problem->message);
    return NULL;
}
