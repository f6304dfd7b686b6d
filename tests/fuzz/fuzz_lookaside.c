/* FUZZ_LIBS: policy base
 * registries.d: YAML through libyaml; a base that is handed out is a URL without user, query and fragment. */
#include "base/error.h"
#include "policy/lookaside.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static const char *const names[] = {"docker.io/library/debian:12", "a.example:5000/ns/app:1", "x.b.example/app"};
    g_autoptr(GBytes) bytes = g_bytes_new(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpLookaside) lookaside = gp_lookaside_new();
    gboolean good = gp_lookaside_add(lookaside, bytes, "registries.d", &error);
    g_assert_true(good == (error == NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GpReference) reference = gp_reference_parse(names[i], NULL);
        g_autofree char *base = gp_lookaside_base(lookaside, reference);
        g_assert_true(!base || good);
        g_assert_true(
            !base || (!strpbrk(base, "?# \n") && !g_str_has_suffix(base, "/")) || g_str_equal(base, "file://"));
        (void) gp_lookaside_use_attachments(lookaside, reference, TRUE);
    }
    return 0;
}
