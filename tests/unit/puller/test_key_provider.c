/* ocicrypt's configuration of key providers, and what a manifest says about its layers' keys. */
#include "puller/key_provider.h"

#include "base/error.h"

static void test_config(void)
{
    static const struct {
        const char *text;
        const char *reason; /* NULL: accepted */
    } rows[] = {
        {"{\"key-providers\":{}}", NULL},
        {"{\"key-providers\":{\"attestation-agent\":{\"ttrpc\":\"unix:///run/x.sock\"}}}", NULL},
        {"{\"key-providers\":{\"a\":{\"cmd\":{\"path\":\"/bin/x\",\"args\":[]}},\"b\":{\"grpc\":\"127.0.0.1:5\"}}}",
            NULL},
        {"{\"key-providers\":{\"a\":{\"native\":\"attestation-agent\"}}}", NULL},
        {"{\"key-providers\":{\"a\":{}}}", NULL},
        {"", "$: line 1"},
        {"[]", "$: must be an object"},
        {"{}", "\"key-providers\" is missing"},
        {"{\"key-providers\":[]}", "$.key-providers: must be an object"},
        {"{\"key_providers\":{}}", "key_providers"},
        {"{\"key-providers\":{\"a\":1}}", "$.key-providers.a: must be an object"},
        {"{\"key-providers\":{\"a\":{\"ttrpc\":1}}}", "$.key-providers.a.ttrpc: must be a string"},
        {"{\"key-providers\":{\"a\":{\"ttrpc\":\"tcp://127.0.0.1:1\"}}}", "$.key-providers.a.ttrpc: "},
        {"{\"key-providers\":{\"a\":{\"ttrpc\":\"run/x.sock\"}}}", "$.key-providers.a.ttrpc: "},
        {"{\"key-providers\":{\"a\":{\"http\":\"x\"}}}", "$.key-providers.a.http"},
        {"{\"key-providers\":{\"a\":{},\"a\":{}}}", "duplicate"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) bytes = g_bytes_new_static(rows[i].text, strlen(rows[i].text));
        g_autoptr(GpKeyProviders) providers = gp_key_providers_new("/run/cdh.sock", bytes, &error);
        if (!rows[i].reason) {
            g_assert_no_error(error);
            g_assert_nonnull(providers);
            continue;
        }
        g_assert_null(providers);
        g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
        if (!strstr(error->message, rows[i].reason))
            g_error("\"%s\": \"%s\" does not say \"%s\"", rows[i].text, error->message, rows[i].reason);
    }
}

static void test_missing_file(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_key_providers_load("/run/cdh.sock", "/nowhere/ocicrypt.json", NULL, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
    g_assert_nonnull(strstr(error->message, "/nowhere/ocicrypt.json"));
}

static void test_providers_in_order(void)
{
    GpDescriptor layer = {.media_type = (char *) (guintptr) "application/vnd.oci.image.layer.v1.tar+encrypted"};
    layer.annotations = g_hash_table_new(g_str_hash, g_str_equal);
    const char *const names[] = {"org.opencontainers.image.enc.keys.provider.b",
        "org.opencontainers.image.enc.keys.jwe", "org.opencontainers.image.enc.keys.provider.a",
        "org.opencontainers.image.enc.pubopts"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        g_hash_table_insert(layer.annotations, (gpointer) (guintptr) names[i], (gpointer) (guintptr) "AAAA");
    g_autoptr(GPtrArray) providers = gp_layer_key_providers(&layer);
    g_assert_cmpuint(providers->len, ==, 2);
    g_assert_cmpstr(providers->pdata[0], ==, "a");
    g_assert_cmpstr(providers->pdata[1], ==, "b");
    g_hash_table_unref(layer.annotations);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/key-provider/config", test_config);
    g_test_add_func("/key-provider/missing-file", test_missing_file);
    g_test_add_func("/key-provider/providers-in-order", test_providers_in_order);
    return g_test_run();
}
