#include "puller/worker_auth.h"

#include <curl/curl.h>

#include "base/error.h"
#include "puller/worker_challenge.h"
#include "puller/worker_token.h"
#include "puller/worker_url.h"

static char *encode(const char *text)
{
    char *coded = curl_easy_escape(NULL, text, 0);
    char *copy = g_strdup(coded);
    curl_free(coded);
    return copy;
}

/* Distribution "token/oauth": an identity token is exchanged by POST, so that it never stands in a URL. */
static void plan_exchange(const GpRequest *request, const GpChallenge *challenge, GpAuthStep *step)
{
    char *token = encode(request->identity_token);
    g_autofree char *service = encode(challenge->service ? challenge->service : "");
    g_autofree char *scope = g_strdup_printf("repository:%s:pull", request->repository);
    g_autofree char *coded_scope = encode(scope);
    step->token_form =
        g_strdup_printf("grant_type=refresh_token&client_id=guest-pull&service=%s&scope=%s&refresh_token=%s", service,
            coded_scope, token);
    step->token_url = g_strdup(challenge->realm);
    gp_secret_free(token);
}

static gboolean plan_get(const GpRequest *request, const GpChallenge *challenge, GpAuthStep *step, GError **error)
{
    g_autofree char *scope = g_strdup_printf("repository:%s:pull", request->repository);
    g_autofree char *with_service = gp_url_add_query(challenge->realm, "service", challenge->service);
    g_autofree char *with_scope = with_service ? gp_url_add_query(with_service, "scope", scope) : NULL;
    step->token_url = with_scope ? gp_url_add_query(with_scope, "account", request->username) : NULL;
    if (!step->token_url) {
        g_set_error(error, GP_ERROR, GP_ERROR_AUTH, "the registry names a token server that is no URL");
        return FALSE;
    }
    if (!request->username)
        return TRUE;
    step->token_basic = gp_basic_authorization(request->username, request->password, error);
    return step->token_basic != NULL;
}

static gboolean plan_bearer(const GpRequest *request, const GpChallenge *challenge, GpAuthStep *step, GError **error)
{
    g_autofree char *origin = gp_url_origin(challenge->realm);
    g_autofree char *shown = gp_url_show(challenge->realm);
    if (!origin) {
        g_set_error(error, GP_ERROR, GP_ERROR_AUTH, "the registry names a token server that is no URL: %s", shown);
        return FALSE;
    }
    if (g_str_has_prefix(origin, "http://") && !g_str_has_prefix(request->origin, "http://")) {
        g_set_error(error, GP_ERROR, GP_ERROR_AUTH,
            "the registry wants credentials sent over plain http to %s, which is refused", shown);
        return FALSE;
    }
    if (!request->identity_token)
        return plan_get(request, challenge, step, error);
    plan_exchange(request, challenge, step);
    return TRUE;
}

static gboolean plan_basic(const GpRequest *request, GpAuthStep *step, GError **error)
{
    if (!request->username) {
        g_set_error(error, GP_ERROR, GP_ERROR_AUTH,
            "the registry wants a user name and a password\n"
            "Give them in a containers-auth.json: --authfile FILE.");
        return FALSE;
    }
    step->authorization = gp_basic_authorization(request->username, request->password, error);
    return step->authorization != NULL;
}

gboolean gp_auth_plan(const GpRequest *request, const GPtrArray *fields, GpAuthStep *step, GError **error)
{
    *step = (GpAuthStep){0};
    if (!request->repository) {
        g_set_error(error, GP_ERROR, GP_ERROR_AUTH, "the server wants credentials, and only registries are given any");
        return FALSE;
    }
    g_autoptr(GPtrArray) challenges = gp_challenges_new();
    for (guint i = 0; i < fields->len; i++) {
        g_autoptr(GError) cause = NULL;
        if (!gp_challenges_parse(fields->pdata[i], challenges, &cause)) {
            g_set_error(error, GP_ERROR, GP_ERROR_AUTH, "%s", cause->message);
            return FALSE;
        }
    }
    const GpChallenge *challenge = gp_challenges_choose(challenges);
    if (!challenge) {
        g_set_error(error, GP_ERROR, GP_ERROR_AUTH, "the registry asks for neither Basic nor Bearer authentication");
        return FALSE;
    }
    return strcmp(challenge->scheme, "bearer") == 0 ? plan_bearer(request, challenge, step, error)
                                                    : plan_basic(request, step, error);
}

void gp_auth_step_clear(GpAuthStep *step)
{
    g_clear_pointer(&step->authorization, gp_secret_free);
    g_clear_pointer(&step->token_url, g_free);
    g_clear_pointer(&step->token_form, gp_secret_free);
    g_clear_pointer(&step->token_basic, gp_secret_free);
}

char *gp_auth_key(const GpRequest *request)
{
    return g_strjoin("\n", request->origin, request->repository, request->username ? request->username : "",
        request->password ? request->password : "", request->identity_token ? request->identity_token : "", NULL);
}
