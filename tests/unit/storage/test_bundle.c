#include <fcntl.h>
#include <glib/gstdio.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/json.h"
#include "base/limits.h"
#include "storage/bundle.h"

typedef struct {
    char *bundle, *rootfs, *config;
    int fd;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->bundle = g_dir_make_tmp("gp-bundle-XXXXXX", NULL);
    f->rootfs = g_build_filename(f->bundle, "rootfs", NULL);
    f->config = g_build_filename(f->bundle, "config.json", NULL);
    g_autofree char *etc = g_build_filename(f->rootfs, "etc", NULL);
    g_autofree char *passwd = g_build_filename(etc, "passwd", NULL);
    g_autofree char *group = g_build_filename(etc, "group", NULL);
    g_assert_cmpint(g_mkdir_with_parents(etc, 0755), ==, 0);
    g_assert_true(g_file_set_contents(passwd, "root:x:0:0::/root:\nweb:x:33:133::/srv/web:\n", -1, NULL));
    g_assert_true(g_file_set_contents(group, "adm:x:4:web\nweb:x:133:\n", -1, NULL));
    f->fd = open(f->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(f->fd, >=, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    close(f->fd);
    g_assert_true(gp_remove_tree(AT_FDCWD, f->bundle, NULL));
    g_free(f->bundle);
    g_free(f->rootfs);
    g_free(f->config);
}

static json_t *write_and_read(Fixture *f, const GpBundleConfig *config)
{
    g_autoptr(GError) error = NULL;
    gp_bundle_write_config(f->bundle, f->fd, config, &error);
    g_assert_no_error(error);
    g_autofree char *text = NULL;
    gsize length;
    g_assert_true(g_file_get_contents(f->config, &text, &length, NULL));
    json_t *document = gp_json_parse(text, length, GP_LIMIT_CONFIG, "config.json", &error);
    g_assert_no_error(error);
    return document;
}

/* The compact text of what is at @path ("process/user") in @document. */
static void assert_at(json_t *document, const char *path, const char *expected)
{
    g_auto(GStrv) keys = g_strsplit(path, "/", -1);
    json_t *value = document;
    for (gsize i = 0; keys[i]; i++)
        value = json_object_get(value, keys[i]);
    g_autofree char *text = value ? gp_json_to_text(value, FALSE) : g_strdup("absent");
    g_assert_cmpstr(text, ==, expected);
}

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void test_empty_configuration(Fixture *f, gconstpointer data)
{
    GpBundleConfig config = {0};
    g_autoptr(json_t) document = write_and_read(f, &config);
    assert_at(document, "ociVersion", "\"1.0.2\"");
    assert_at(document, "process/args", "[\"sh\"]");
    assert_at(document, "process/env", "[\"" DEFAULT_PATH "\",\"HOME=/root\"]");
    assert_at(document, "process/cwd", "\"/\"");
    assert_at(document, "process/terminal", "false");
    assert_at(document, "process/user", "{\"uid\":0,\"gid\":0}");
    assert_at(document, "process/capabilities/inheritable", "absent");
    assert_at(document, "process/capabilities/ambient", "absent");
    assert_at(document, "root", "{\"path\":\"rootfs\",\"readonly\":false}");
    assert_at(document, "annotations", "{}");
    g_assert_cmpuint(json_array_size(json_object_get(
                         json_object_get(json_object_get(document, "process"), "capabilities"), "effective")),
        ==, 11);
}

static void test_full_configuration(Fixture *f, gconstpointer data)
{
    char *env[] = {(char *) (guintptr) "A=1", (char *) (guintptr) "PATH=/bin", (char *) (guintptr) "HOME=/h",
        (char *) (guintptr) "E=", NULL};
    char *entrypoint[] = {(char *) (guintptr) "/bin/prog", (char *) (guintptr) "with space", NULL};
    char *cmd[] = {(char *) (guintptr) "--x", (char *) (guintptr) "\"quoted\"\n", NULL};
    g_autoptr(GHashTable) labels = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(labels, (gpointer) (guintptr) "org.opencontainers.image.os", (gpointer) (guintptr) "mine");
    g_hash_table_insert(labels, (gpointer) (guintptr) "a", (gpointer) (guintptr) "");
    GpBundleConfig config = {.env = env,
        .entrypoint = entrypoint,
        .cmd = cmd,
        .working_dir = "srv",
        .user = "web",
        .labels = labels,
        .stop_signal = "SIGINT",
        .os = "linux",
        .architecture = "amd64"};
    g_autoptr(json_t) document = write_and_read(f, &config);
    assert_at(document, "process/args", "[\"/bin/prog\",\"with space\",\"--x\",\"\\\"quoted\\\"\\n\"]");
    assert_at(document, "process/env", "[\"A=1\",\"PATH=/bin\",\"HOME=/h\",\"E=\"]");
    assert_at(document, "process/cwd", "\"/srv\"");
    assert_at(document, "process/user", "{\"uid\":33,\"gid\":133,\"additionalGids\":[4]}");
    assert_at(document, "process/capabilities/effective", "[]");
    assert_at(document, "process/capabilities/permitted", "[]");
    assert_at(document, "annotations",
        "{\"org.opencontainers.image.os\":\"mine\",\"org.opencontainers.image.architecture\":\"amd64\","
        "\"org.opencontainers.image.stopSignal\":\"SIGINT\",\"a\":\"\"}");
}

static void test_refused(Fixture *f, gconstpointer data)
{
    char *bad[] = {(char *) (guintptr) "A=\xff", NULL};
    static const char *const reasons[] = {"user \"nobody\"", "Env", "Entrypoint", "Cmd", "WorkingDir"};
    const GpBundleConfig cases[] = {
        {.user = "nobody"}, {.env = bad}, {.entrypoint = bad}, {.cmd = bad}, {.working_dir = "/\xff"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(gp_bundle_write_config(f->bundle, f->fd, &cases[i], &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, reasons[i]));
    }
    /* Nothing but what was there. */
    g_autoptr(GDir) dir = g_dir_open(f->bundle, 0, NULL);
    g_assert_cmpstr(g_dir_read_name(dir), ==, "rootfs");
    g_assert_null(g_dir_read_name(dir));
}

/* A retry into the same bundle works, and a link that somebody left is replaced, not followed. */
static void test_replaced(Fixture *f, gconstpointer data)
{
    struct stat st;
    g_autofree char *victim = g_build_filename(f->bundle, "victim", NULL);
    g_assert_true(g_file_set_contents(victim, "untouched", -1, NULL));
    g_assert_cmpint(symlink(victim, f->config), ==, 0);
    GpBundleConfig config = {0};
    g_autoptr(json_t) first = write_and_read(f, &config);
    config.user = "web";
    g_autoptr(json_t) second = write_and_read(f, &config);
    assert_at(second, "process/user/uid", "33");
    g_assert_cmpint(lstat(f->config, &st), ==, 0);
    g_assert_cmpuint(st.st_mode, ==, S_IFREG | 0600);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(victim, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "untouched");
    g_autoptr(GError) error = NULL;
    g_assert_false(gp_bundle_write_config(victim, f->fd, &config, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_INTERNAL);
}

#define ADD(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/storage/bundle/empty-configuration-gets-defaults", test_empty_configuration);
    ADD("/storage/bundle/full-configuration", test_full_configuration);
    ADD("/storage/bundle/missing-user-and-bad-text-are-refused-and-leave-nothing", test_refused);
    ADD("/storage/bundle/config-is-replaced-atomically", test_replaced);
    return g_test_run();
}
