#include "base/error.h"
#include "puller/image_config.h"

#define ID "\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""
#define HEAD "{\"os\":\"linux\",\"architecture\":\"amd64\","
#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" ID "]}"
#define WITH(process) HEAD ROOTFS ",\"config\":" process "}"

static GpImageConfig *parse(const char *text, guint layers, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static(text, strlen(text));
    return gp_image_config_parse(bytes, layers, error);
}

static void test_full(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpImageConfig) config =
        parse(WITH("{\"Env\":[\"A=b\",\"C=\"],\"Entrypoint\":[\"/e\"],\"Cmd\":[\"c\",\"\"],\"WorkingDir\":\"/w\","
                   "\"User\":\"1:2\",\"StopSignal\":\"SIGINT\",\"Labels\":{\"k\":\"v\"},\"Unknown\":1}"),
            1, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(config->os, ==, "linux");
    g_assert_cmpstr(config->architecture, ==, "amd64");
    g_assert_cmpuint(config->diff_ids->len, ==, 1);
    g_assert_cmpstr(config->env[0], ==, "A=b");
    g_assert_cmpstr(config->env[1], ==, "C=");
    g_assert_null(config->env[2]);
    g_assert_cmpstr(config->entrypoint[0], ==, "/e");
    g_assert_cmpstr(config->cmd[1], ==, "");
    g_assert_cmpstr(config->working_dir, ==, "/w");
    g_assert_cmpstr(config->user, ==, "1:2");
    g_assert_cmpstr(config->stop_signal, ==, "SIGINT");
    g_assert_cmpstr(g_hash_table_lookup(config->labels, "k"), ==, "v");
}

static void test_sparse(void)
{
    static const char *const texts[] = {HEAD ROOTFS "}", WITH("null"), WITH("{}"),
        WITH("{\"Env\":null,\"Entrypoint\":null,\"Cmd\":null,\"WorkingDir\":\"\",\"User\":\"\",\"Labels\":null}")};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpImageConfig) config = parse(texts[i], 1, &error);
        g_assert_no_error(error);
        g_assert_true(!config->env && !config->entrypoint && !config->cmd && !config->working_dir && !config->user &&
                      !config->stop_signal && !config->labels);
    }
    g_autoptr(GpImageConfig) empty = parse(HEAD "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":null}}", 0, NULL);
    g_assert_cmpuint(empty->diff_ids->len, ==, 0);
}

static void test_refused(void)
{
    static const struct {
        const char *text;
        guint layers;
        GpErrorCode code;
        const char *reason;
    } rows[] = {
        {HEAD ROOTFS "}", 0, GP_ERROR_INVALID, "1 entries, but the manifest has 0 layers"},
        {HEAD ROOTFS "}", 2, GP_ERROR_INVALID, "1 entries, but the manifest has 2 layers"},
        {HEAD "\"rootfs\":{\"type\":\"layers\"}}", 1, GP_ERROR_INVALID, "\"diff_ids\" is missing"},
        {HEAD "\"rootfs\":{\"type\":\"tree\",\"diff_ids\":[" ID "]}}", 1, GP_ERROR_UNSUPPORTED, "is not \"layers\""},
        {HEAD "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:0\"]}}", 1, GP_ERROR_INVALID, "not a digest"},
        {HEAD "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"md5:00\"]}}", 1, GP_ERROR_UNSUPPORTED, "algorithm"},
        {HEAD "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[1]}}", 1, GP_ERROR_INVALID, "must be a string"},
        {HEAD "\"x\":1}", 1, GP_ERROR_INVALID, "\"rootfs\" is missing"},
        {"{\"os\":\"linux\"," ROOTFS "}", 1, GP_ERROR_INVALID, "\"architecture\" is missing"},
        {"{\"os\":\"\",\"architecture\":\"amd64\"," ROOTFS "}", 1, GP_ERROR_INVALID, "must not be empty"},
        {HEAD ROOTFS ",\"Rootfs\":{}}", 1, GP_ERROR_INVALID, "letter case"},
        {WITH("[]"), 1, GP_ERROR_INVALID, "$.config: must be an object"},
        {WITH("{\"env\":[]}"), 1, GP_ERROR_INVALID, "letter case"},
        {WITH("{\"Env\":\"A=b\"}"), 1, GP_ERROR_INVALID, "$.config.Env: must be an array"},
        {WITH("{\"Env\":[\"A=b\",1]}"), 1, GP_ERROR_INVALID, "$.config.Env[1]: must be a string"},
        {WITH("{\"Env\":[\"A\"]}"), 1, GP_ERROR_INVALID, "not of the form NAME=VALUE"},
        {WITH("{\"Env\":[\"=x\"]}"), 1, GP_ERROR_INVALID, "not of the form NAME=VALUE"},
        {WITH("{\"Env\":[\"A=\\u0000\"]}"), 1, GP_ERROR_INVALID, "line 1"},
        {WITH("{\"Cmd\":\"sh\"}"), 1, GP_ERROR_INVALID, "$.config.Cmd: must be an array"},
        {WITH("{\"WorkingDir\":\"w\"}"), 1, GP_ERROR_INVALID, "not an absolute path"},
        {WITH("{\"User\":0}"), 1, GP_ERROR_INVALID, "$.config.User: must be a string"},
        {WITH("{\"Labels\":{\"a\":null}}"), 1, GP_ERROR_INVALID, "Labels.a: must be a string"},
        {"[]", 1, GP_ERROR_INVALID, "must be an object"},
        {"{", 1, GP_ERROR_INVALID, "image configuration: line 1"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse(rows[i].text, rows[i].layers, &error));
        if (!strstr(error->message, rows[i].reason))
            g_test_message("row %u: %s", (guint) i, error->message);
        g_assert_error(error, GP_ERROR, (gint) rows[i].code);
        g_assert_nonnull(strstr(error->message, rows[i].reason));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/puller/image-config/full", test_full);
    g_test_add_func("/puller/image-config/sparse", test_sparse);
    g_test_add_func("/puller/image-config/refused", test_refused);
    return g_test_run();
}
