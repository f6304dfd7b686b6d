/* FUZZ_LIBS: policy base
 * registries.conf, through the TOML shim: the first place is never the name's own word alone, every place is a name
 * that parses again, the last is no mirror, and the name that was asked for stays as it was. */
#include "base/error.h"
#include "policy/registries.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void check(const GpRegistries *registries, const char *name)
{
    g_autoptr(GpReference) reference = gp_reference_parse(name, NULL);
    g_autofree char *before = gp_reference_to_string(reference);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) places = gp_registries_resolve(registries, reference, NULL, &error);
    g_assert_true((places == NULL) == (error != NULL));
    (void) gp_registries_check_short_name(registries, name, NULL);
    g_autofree char *after = gp_reference_to_string(reference);
    g_assert_cmpstr(before, ==, after);
    for (guint i = 0; places && i < places->len; i++) {
        const GpRegistryPlace *place = places->pdata[i];
        g_autofree char *text = gp_reference_to_string(place->reference);
        g_autoptr(GpReference) again = gp_reference_parse(text, NULL);
        g_assert_true(again && g_str_equal(again->domain, place->reference->domain));
        g_assert_cmpint(place->mirror, ==, i + 1 < places->len);
        g_assert_cmpint(place->reference->has_digest, ==, reference->has_digest);
    }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GBytes) bytes = g_bytes_new(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(GpRegistries) registries = gp_registries_new();
    gboolean good = gp_registries_add(registries, bytes, "registries", &error);
    g_assert_true(good == (error == NULL));
    check(registries, "docker.io/library/debian:12");
    check(registries, "a.example:5000/ns/app:1");
    check(registries, "x.b.example/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    if (good && size > 0)
        (void) gp_registries_add(registries, bytes, "again", NULL);
    return 0;
}
