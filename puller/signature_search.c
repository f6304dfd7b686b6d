#include "puller/signature_search.h"

#include "base/error.h"
#include "base/limits.h"

#define MAX_DIGESTS 2

typedef struct Question Question;
typedef GPtrArray *(*Ask)(Question *question, GError **error);

/* One place asked about one digest. */
struct Question {
    const GpSignatureSearchRequest *request;
    const GpDigest *digest;
    Ask ask;
    GThread *thread; /* NULL: not asked, or the answer is there */
    GPtrArray *answer;
    gboolean elsewhere; /* referrers: the registry keeps no list of them */
    GError *error;
};

struct _GpSignatureSearch {
    GpSignatureSearchRequest request;
    Question questions[GP_N_PLACES][MAX_DIGESTS];
    GPtrArray *found[GP_N_PLACES]; /* NULL: not taken yet */
};

/* ---- the questions */

static GPtrArray *ask_simple(Question *question, GError **error)
{
    const GpSignatureSearchRequest *request = question->request;
    const GpReference *reference = gp_source_physical(request->source);
    g_autofree char *base = reference ? gp_lookaside_base(request->lookaside, reference) : NULL;
    if (!base) {
        reference = request->identity;
        base = reference ? gp_lookaside_base(request->lookaside, reference) : NULL;
    }
    return gp_source_simple_signatures(request->source, reference, base, question->digest, error);
}

static GPtrArray *ask_tag(Question *question, GError **error)
{
    const GpSignatureSearchRequest *request = question->request;
    return gp_source_cosign_signatures(request->source, request->identity, question->digest, error);
}

/* The list alone: an image whose tag has what is needed costs no more than that. */
static GPtrArray *ask_referrers(Question *question, GError **error)
{
    return gp_source_referrers(question->request->source, question->digest, &question->elsewhere, error);
}

static gpointer run(gpointer data)
{
    Question *question = data;
    question->answer = question->ask(question, &question->error);
    return NULL;
}

static void start(GpSignatureSearch *search, GpSignaturePlace place, Ask ask)
{
    for (guint i = 0; i < search->request.n_digests; i++) {
        Question *question = &search->questions[place][i];
        *question = (Question){.request = &search->request, .digest = &search->request.digests[i], .ask = ask};
        question->thread = g_thread_new("signatures", run, question);
    }
}

/* ---- the answers */

static void candidate_free(gpointer data)
{
    GpCandidate *candidate = data;
    gp_found_signature_free(candidate->found);
    g_free(candidate);
}

static void add_all(GPtrArray *list, GPtrArray *found, const GpDigest *digest)
{
    while (found->len > 0) {
        GpCandidate *candidate = g_new0(GpCandidate, 1);
        candidate->digest = *digest;
        candidate->found = g_ptr_array_steal_index(found, 0);
        g_ptr_array_add(list, candidate);
    }
}

static GPtrArray *await(Question *question, GError **error)
{
    if (question->thread)
        g_thread_join(g_steal_pointer(&question->thread));
    if (!question->answer && question->error)
        g_propagate_error(error, g_error_copy(question->error));
    return question->answer;
}

static gboolean open_referrers(GpSource *source, const Question *question, GPtrArray *list, GError **error)
{
    g_autoptr(GPtrArray) fallback =
        question->elsewhere ? gp_source_fallback_referrers(source, question->digest, error) : NULL;
    if (question->elsewhere && !fallback)
        return FALSE;
    g_autoptr(GPtrArray) bundles =
        gp_source_bundles(source, question->digest, fallback ? fallback : question->answer, error);
    if (bundles)
        add_all(list, bundles, question->digest);
    return bundles != NULL;
}

static gboolean take_one(GpSignatureSearch *search, GpSignaturePlace place, guint i, GPtrArray *list, GError **error)
{
    Question *question = &search->questions[place][i];
    GPtrArray *answer = await(question, error);
    if (!answer)
        return FALSE;
    if (place == GP_PLACE_BUNDLES)
        return open_referrers(search->request.source, question, list, error);
    add_all(list, answer, question->digest);
    return TRUE;
}

GPtrArray *gp_signature_search_take(GpSignatureSearch *search, GpSignaturePlace place, GError **error)
{
    if (search->found[place])
        return search->found[place];
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(candidate_free);
    for (guint i = 0; i < search->request.n_digests && search->questions[place][i].ask; i++)
        if (!take_one(search, place, i, list, error)) {
            g_prefix_error(error, "looking for signatures: ");
            return NULL;
        }
    if (list->len > GP_LIMIT_TAG_SIGNATURES) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT, "%u signatures, at most %d are looked at", list->len,
            GP_LIMIT_TAG_SIGNATURES);
        return NULL;
    }
    search->found[place] = g_steal_pointer(&list);
    return search->found[place];
}

/* ---- */

/* Unlike the reference, attachments are asked for unless configuration says no: guests seldom have a registries.d. */
static gboolean may_ask_attached(const GpSignatureSearchRequest *request)
{
    return request->want_attached &&
           (!request->identity || gp_lookaside_use_attachments(request->lookaside, request->identity, TRUE));
}

GpSignatureSearch *gp_signature_search_start(const GpSignatureSearchRequest *request)
{
    GpSignatureSearch *search = g_new0(GpSignatureSearch, 1);
    search->request = *request;
    g_assert(request->n_digests <= MAX_DIGESTS);
    if (request->want_simple)
        start(search, GP_PLACE_SIMPLE, ask_simple);
    if (may_ask_attached(request)) {
        start(search, GP_PLACE_TAG, ask_tag);
        start(search, GP_PLACE_BUNDLES, ask_referrers);
    }
    return search;
}

void gp_signature_search_free(GpSignatureSearch *search)
{
    if (!search)
        return;
    for (int place = 0; place < GP_N_PLACES; place++) {
        for (int i = 0; i < MAX_DIGESTS; i++) {
            Question *question = &search->questions[place][i];
            if (question->thread)
                g_thread_join(question->thread);
            g_clear_pointer(&question->answer, g_ptr_array_unref);
            g_clear_error(&question->error);
        }
        g_clear_pointer(&search->found[place], g_ptr_array_unref);
    }
    g_free(search);
}
