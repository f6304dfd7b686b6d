#define GP_LIBOSTREE_ITSELF
#include "storage/libostree.h"

#include <dlfcn.h>

#include "base/error.h"

#define LIBRARY "libostree-1.so.1"

GpLibostree gp_libostree;

static const struct {
    const char *name;
    gsize offset;
} functions[] = {
#define ROW(name) {#name, G_STRUCT_OFFSET(GpLibostree, name)},
    GP_LIBOSTREE_FUNCTIONS(ROW)
#undef ROW
};

/* What is missing; NULL: nothing. Caller's. */
static char *load(void)
{
    void *library = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    if (!library)
        return g_strdup(dlerror());
    for (gsize i = 0; i < G_N_ELEMENTS(functions); i++) {
        void *function = dlsym(library, functions[i].name);
        if (!function)
            return g_strdup_printf("%s has no %s", LIBRARY, functions[i].name);
        memcpy(G_STRUCT_MEMBER_P(&gp_libostree, functions[i].offset), &function, sizeof function);
    }
    return NULL;
}

gboolean gp_libostree_load(GError **error)
{
    static gsize done;
    static char *missing;
    if (g_once_init_enter(&done)) {
        missing = load();
        g_once_init_leave(&done, 1);
    }
    if (!missing)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL,
        "store: libostree cannot be loaded: %s\nThe guest needs the package libostree-1-1, and memory for it.",
        missing);
    return FALSE;
}

void gp_libostree_clear(void *object)
{
    gpointer *place = object;
    gpointer it = *place;
    *place = NULL;
    if (it)
        gp_libostree.g_object_unref(it);
}
