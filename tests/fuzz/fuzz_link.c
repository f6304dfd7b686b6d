/* FUZZ_LIBS: fetch base
 * A registry's Link field: what comes out of it enters a URL as its query, and may be nothing else. */
#include "puller/fetch_protocol.h"
#include "puller/worker_header.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);
int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree char *field = g_strndup((const char *) data, size);
    g_autofree char *query = gp_link_next_query(field);
    if (!query)
        return 0;
    g_assert_true(gp_fetch_is_page(query));
    g_assert_cmpuint(strcspn(query, "# \r\n\t\"<>\\"), ==, strlen(query));
    g_assert_nonnull(strstr(field, query));
    return 0;
}
