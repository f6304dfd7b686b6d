#include "policy/verdict.h"

static void attempt_free(gpointer data)
{
    GpVerdictAttempt *attempt = data;
    g_free(attempt->source);
    g_free(attempt->signer);
    g_free(attempt->reason);
    g_free(attempt);
}

static void requirement_free(gpointer data)
{
    GpVerdictRequirement *requirement = data;
    g_free(requirement->type);
    g_free(requirement->place);
    g_free(requirement->by);
    g_free(requirement->reason);
    g_ptr_array_unref(requirement->attempts);
    g_clear_pointer(&requirement->parts, g_ptr_array_unref);
    g_free(requirement);
}

GpVerdict *gp_verdict_new(const char *scope, const char *policy_digest)
{
    GpVerdict *verdict = g_new0(GpVerdict, 1);
    verdict->scope = g_strdup(scope);
    verdict->policy_digest = g_strdup(policy_digest);
    verdict->requirements = g_ptr_array_new_with_free_func(requirement_free);
    return verdict;
}

static GpVerdictRequirement *add(GPtrArray *list, const char *type, const char *place)
{
    GpVerdictRequirement *requirement = g_new0(GpVerdictRequirement, 1);
    requirement->type = g_strdup(type);
    requirement->place = g_strdup(place);
    requirement->reason = g_strdup("not evaluated");
    requirement->attempts = g_ptr_array_new_with_free_func(attempt_free);
    g_ptr_array_add(list, requirement);
    return requirement;
}

GpVerdictRequirement *gp_verdict_add(GpVerdict *verdict, const char *type, const char *place)
{
    return add(verdict->requirements, type, place);
}

GpVerdictRequirement *gp_verdict_add_part(GpVerdictRequirement *whole, const char *type, const char *place)
{
    if (!whole->parts)
        whole->parts = g_ptr_array_new_with_free_func(requirement_free);
    return add(whole->parts, type, place);
}

void gp_verdict_attempt(
    GpVerdictRequirement *requirement, const char *source, gboolean accepted, const char *signer, const char *reason)
{
    GpVerdictAttempt *attempt = g_new0(GpVerdictAttempt, 1);
    attempt->source = g_strdup(source);
    attempt->accepted = accepted;
    attempt->signer = g_strdup(signer);
    attempt->reason = g_strdup(reason);
    g_ptr_array_add(requirement->attempts, attempt);
}

void gp_verdict_settle(GpVerdictRequirement *requirement, GpVerdictResult result, const char *by, const char *reason)
{
    requirement->result = result;
    g_free(requirement->by);
    requirement->by = g_strdup(by);
    g_free(requirement->reason);
    requirement->reason = g_strdup(reason);
}

void gp_verdict_conclude(GpVerdict *verdict)
{
    gboolean all = verdict->requirements->len > 0;
    for (guint i = 0; i < verdict->requirements->len; i++) {
        const GpVerdictRequirement *requirement = verdict->requirements->pdata[i];
        all = all && requirement->result == GP_VERDICT_ACCEPT;
    }
    verdict->result = all ? GP_VERDICT_ACCEPT : GP_VERDICT_REJECT;
}

/* JSON strings must be UTF-8, and a source or a reason may quote what somebody else wrote. */
static json_t *text_or_null(const char *text)
{
    if (!text)
        return json_null();
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return json_string(valid);
}

static json_t *attempt_to_json(const GpVerdictAttempt *attempt)
{
    json_t *object = json_object();
    json_object_set_new(object, "source", text_or_null(attempt->source));
    json_object_set_new(object, "accepted", json_boolean(attempt->accepted));
    json_object_set_new(object, "signer", text_or_null(attempt->signer));
    json_object_set_new(object, "reason", text_or_null(attempt->reason));
    return object;
}

static json_t *requirements_to_json(const GPtrArray *list);

static json_t *requirement_to_json(const GpVerdictRequirement *requirement)
{
    json_t *object = json_object();
    json_object_set_new(object, "type", text_or_null(requirement->type));
    json_object_set_new(object, "accepted", json_boolean(requirement->result == GP_VERDICT_ACCEPT));
    json_object_set_new(object, "by", text_or_null(requirement->by));
    json_object_set_new(object, "reason", text_or_null(requirement->reason));
    json_object_set_new(object, "place", text_or_null(requirement->place));
    json_t *signatures = json_array();
    for (guint i = 0; i < requirement->attempts->len; i++)
        json_array_append_new(signatures, attempt_to_json(requirement->attempts->pdata[i]));
    json_object_set_new(object, "signatures", signatures);
    if (requirement->parts)
        json_object_set_new(object, "of", requirements_to_json(requirement->parts));
    return object;
}

static json_t *requirements_to_json(const GPtrArray *list)
{
    json_t *array = json_array();
    for (guint i = 0; i < list->len; i++)
        json_array_append_new(array, requirement_to_json(list->pdata[i]));
    return array;
}

json_t *gp_verdict_to_json(const GpVerdict *verdict)
{
    json_t *object = json_object();
    json_object_set_new(object, "scope", text_or_null(verdict->scope));
    json_object_set_new(object, "policyDigest", text_or_null(verdict->policy_digest));
    json_object_set_new(object, "accepted", json_boolean(verdict->result == GP_VERDICT_ACCEPT));
    json_object_set_new(object, "requirements", requirements_to_json(verdict->requirements));
    return object;
}

void gp_verdict_free(GpVerdict *verdict)
{
    if (!verdict)
        return;
    g_free(verdict->scope);
    g_free(verdict->policy_digest);
    g_ptr_array_unref(verdict->requirements);
    g_free(verdict);
}
