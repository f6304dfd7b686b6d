#include "puller/verify_material.h"

#include "base/error.h"
#include "base/limits.h"
#include "puller/verify_evaluator.h"

/* Of one requirement about signers: one of the two. */
typedef struct {
    const GpRequirement *requirement;
    gpointer made;
    GError *error;
} Row;

struct _GpVerifyMaterial {
    GPtrArray *requirements;
    GpResources *resources;
    GThread *thread; /* NULL: there is nothing to do, or it was waited for */
    GpPolicySources *sources;
    GArray *rows;
    GError *error; /* that of the sources */
};

static void clear_row(gpointer data)
{
    Row *row = data;
    if (row->made)
        gp_evaluator_for(row->requirement)->release(row->made);
    g_clear_error(&row->error);
}

/* ---- the sources */

/* One thing that the policy names by location, and the first place that names it. */
typedef struct {
    const char *location, *place;
} SourceName;

static void name_source(const GpRequirement *requirement, const GpKeySource *source, gpointer data)
{
    GArray *names = data;
    SourceName name = {source->location, requirement->path};
    for (guint i = 0; i < names->len; i++)
        if (g_strcmp0(g_array_index(names, SourceName, i).location, name.location) == 0)
            return;
    if (name.location)
        g_array_append_val(names, name);
}

/* All keys of the scope at the same time: each may be a question to a remote KBS. */
static gboolean fetch_sources(GpVerifyMaterial *material, GError **error)
{
    g_autoptr(GArray) names = g_array_new(FALSE, FALSE, sizeof(SourceName));
    for (guint i = 0; i < material->requirements->len; i++)
        gp_requirement_visit_sources(material->requirements->pdata[i], name_source, names);
    g_autofree GpResourceRequest *wanted = g_new0(GpResourceRequest, names->len);
    for (guint i = 0; i < names->len; i++)
        wanted[i] = (GpResourceRequest){
            .location = g_array_index(names, SourceName, i).location, .max = GP_LIMIT_KEY, .what = "key"};
    gp_resources_fetch(material->resources, wanted, names->len);
    gboolean ok = TRUE;
    for (guint i = 0; i < names->len; i++) {
        GpResourceRequest *got = &wanted[i];
        const char *place = g_array_index(names, SourceName, i).place;
        if (got->bytes)
            g_hash_table_insert(material->sources, (gpointer) (guintptr) got->location, g_steal_pointer(&got->bytes));
        else if (ok)
            g_propagate_prefixed_error(error, g_steal_pointer(&got->error), "%s: ", place);
        ok = ok && g_hash_table_contains(material->sources, got->location);
        gp_resource_request_clear(got);
    }
    return ok;
}

GBytes *gp_policy_source_bytes(GpPolicySources *sources, const GpKeySource *source)
{
    return source->data ? source->data : g_hash_table_lookup(sources, source->location);
}

/* ---- what is made of them */

static gboolean has_evaluator(const GpRequirement *requirement)
{
    return requirement->type == GP_REQUIREMENT_SIGNED_BY || requirement->type == GP_REQUIREMENT_SIGSTORE_SIGNED ||
           requirement->type == GP_REQUIREMENT_KEYLESS;
}

static void prepare(GpVerifyMaterial *material, GPtrArray *requirements)
{
    for (guint i = 0; i < requirements->len; i++) {
        const GpRequirement *requirement = requirements->pdata[i];
        Row row = {.requirement = requirement};
        if (has_evaluator(requirement)) {
            row.made = gp_evaluator_for(requirement)->prepare(requirement, material->sources, &row.error);
            g_array_append_val(material->rows, row);
        }
        prepare(material, requirement->children);
    }
}

static gpointer work(gpointer data)
{
    GpVerifyMaterial *material = data;
    if (fetch_sources(material, &material->error))
        prepare(material, material->requirements);
    return NULL;
}

static gboolean is_needed(GPtrArray *requirements)
{
    for (guint i = 0; i < requirements->len; i++) {
        const GpRequirement *requirement = requirements->pdata[i];
        if (requirement->type == GP_REQUIREMENT_REJECT || requirement->unsupported)
            return FALSE;
    }
    return TRUE;
}

GpVerifyMaterial *gp_verify_material_start(GPtrArray *requirements, GpResources *resources)
{
    GpVerifyMaterial *material = g_new0(GpVerifyMaterial, 1);
    material->requirements = requirements;
    material->resources = resources;
    material->sources = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) g_bytes_unref);
    material->rows = g_array_new(FALSE, FALSE, sizeof(Row));
    g_array_set_clear_func(material->rows, clear_row);
    if (!is_needed(requirements))
        return material;
    material->thread = g_thread_try_new("material", work, material, NULL);
    if (!material->thread)
        (void) work(material); /* then without a thread */
    return material;
}

gboolean gp_verify_material_wait(GpVerifyMaterial *material, GError **error)
{
    if (material->thread)
        g_thread_join(g_steal_pointer(&material->thread));
    if (!material->error)
        return TRUE;
    g_propagate_error(error, g_error_copy(material->error));
    return FALSE;
}

gpointer gp_verify_material_of(const GpVerifyMaterial *material, const GpRequirement *requirement, GError **error)
{
    for (guint i = 0; i < material->rows->len; i++) {
        const Row *row = &g_array_index(material->rows, Row, i);
        if (row->requirement != requirement)
            continue;
        if (!row->made)
            g_propagate_error(error, g_error_copy(row->error));
        return row->made;
    }
    g_return_val_if_reached(NULL);
}

void gp_verify_material_free(GpVerifyMaterial *material)
{
    if (!material)
        return;
    (void) gp_verify_material_wait(material, NULL);
    g_array_unref(material->rows);
    g_hash_table_unref(material->sources);
    g_clear_error(&material->error);
    g_free(material);
}
