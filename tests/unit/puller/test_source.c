/* Sources: names, local folders, signatures as files, and a registry of our own and the real one. */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "puller/manifest.h"
#include "puller/signature_blob.h"
#include "puller/source.h"
#include "tests/unit/puller/http_server.h"

#define COSIGN_TYPE "application/vnd.dev.cosign.simplesigning.v1+json"
#define SIMPLE "\x90signature"

/* A folder that goes away with its scope. */
typedef char Folder;
static void folder_free(Folder *path)
{
    gp_remove_tree(AT_FDCWD, path, NULL);
    g_free(path);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Folder, folder_free)

static Folder *folder_new(void)
{
    return g_dir_make_tmp("guest-pull-test-XXXXXX", NULL);
}

static void put(const char *folder, const char *name, const void *data, gssize length)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
    g_assert_true(g_file_set_contents(path, data, length, NULL));
}

static void assert_error(const GError *error, GpErrorCode code, const char *reason)
{
    g_assert_nonnull(error);
    if (gp_error_code(error) != code || !strstr(error->message, reason))
        g_test_message("got: %s: %s", gp_error_info((int) gp_error_code(error))->name, error->message);
    g_assert_cmpint(gp_error_code(error), ==, code);
    g_assert_nonnull(strstr(error->message, reason));
}

static char *digest_text(const char *data)
{
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, data, strlen(data), &digest);
    return gp_digest_to_string(&digest);
}

/* Puts a blob into an OCI layout; its descriptor's text, with @rest appended. */
static char *put_blob(const char *layout, const char *type, const char *data, const char *rest)
{
    g_autofree char *digest = digest_text(data);
    g_autofree char *name = g_strconcat("blobs/sha256/", digest + 7, NULL);
    put(layout, name, data, -1);
    return g_strdup_printf(
        "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%" G_GSIZE_FORMAT "%s}", type, digest, strlen(data), rest);
}

static char *put_image(
    const char *layout, const char *config, const char *layer_type, const char *layer, const char *rest)
{
    g_autofree char *config_text = put_blob(layout, "application/vnd.oci.image.config.v1+json", config, "");
    g_autofree char *layer_text = put_blob(layout, layer_type, layer, rest);
    return g_strdup_printf("{\"schemaVersion\":2,\"mediaType\":\"" GP_TYPE_OCI_MANIFEST
                           "\",\"config\":%s,\"layers\":[%s]}",
        config_text, layer_text);
}

/* A layout with the image "v1" and a cosign signature of it; *@manifest is the image's manifest. */
static void make_layout(const char *layout, char **manifest)
{
    put(layout, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", -1);
    g_autofree char *diff_id = digest_text("layer");
    g_autofree char *config = g_strdup_printf(
        "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
        diff_id);
    *manifest = put_image(layout, config, "application/vnd.oci.image.layer.v1.tar", "layer", "");
    g_autofree char *digest = digest_text(*manifest);
    g_autofree char *signature = put_image(
        layout, "{}", COSIGN_TYPE, "payload", ",\"annotations\":{\"dev.cosignproject.cosign/signature\":\"c2ln\"}");
    g_autofree char *first = put_blob(
        layout, GP_TYPE_OCI_MANIFEST, *manifest, ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}");
    g_autofree char *rest =
        g_strdup_printf(",\"annotations\":{\"org.opencontainers.image.ref.name\":\"sha256-%s.sig\"}", digest + 7);
    g_autofree char *second = put_blob(layout, GP_TYPE_OCI_MANIFEST, signature, rest);
    g_autofree char *index = g_strdup_printf("{\"schemaVersion\":2,\"manifests\":[%s,%s]}", first, second);
    put(layout, "index.json", index, -1);
}

static GpSource *open_name(const char *kind, const char *folder, const char *tag, GError **error)
{
    g_autofree char *text = g_strconcat(kind, ":", folder, tag, NULL);
    g_autoptr(GpImageName) name = gp_image_name_parse(text, error);
    return name ? gp_source_open(name, NULL, NULL, error) : NULL;
}

/* ---- names */

static void test_names(void)
{
    static const struct {
        const char *text;
        GpSourceType type;
        const char *directory, *tag;
        GpErrorCode code;
        const char *reason; /* NULL: accepted */
    } rows[] = {
        {"oci:/a/b", GP_SOURCE_OCI, "/a/b", NULL, 0, NULL},
        {"oci:/a/../b:v1", GP_SOURCE_OCI, "/b", "v1", 0, NULL},
        {"dir:/a:b", GP_SOURCE_DIR, "/a:b", NULL, 0, NULL},
        {"docker://registry.example/x", GP_SOURCE_DOCKER, NULL, NULL, 0, NULL},
        {"registry.example/x:v1", GP_SOURCE_DOCKER, NULL, NULL, 0, NULL},
        {"oci:", 0, NULL, NULL, GP_ERROR_INVALID, "directory is missing"},
        {"oci:/a:", 0, NULL, NULL, GP_ERROR_INVALID, "tag is missing"},
        {"dir:", 0, NULL, NULL, GP_ERROR_INVALID, "directory is missing"},
        {"oci-archive:/x", 0, NULL, NULL, GP_ERROR_UNSUPPORTED, "not supported"},
        {"https://registry.example/x", 0, NULL, NULL, GP_ERROR_UNSUPPORTED, "not supported"},
        {"UPPER", 0, NULL, NULL, GP_ERROR_INVALID, ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpImageName) name = gp_image_name_parse(rows[i].text, &error);
        if (rows[i].reason) {
            g_assert_null(name);
            assert_error(error, rows[i].code, rows[i].reason);
            continue;
        }
        g_assert_no_error(error);
        g_assert_cmpint(name->type, ==, rows[i].type);
        g_assert_cmpstr(name->directory, ==, rows[i].directory);
        g_assert_cmpstr(name->tag, ==, rows[i].tag);
        g_assert_true((name->reference != NULL) == (rows[i].type == GP_SOURCE_DOCKER));
    }
}

/* ---- oci: */

static void check_image(GpSource *source, const char *manifest)
{
    g_autoptr(GError) error = NULL;
    GpDigest digest;
    g_autofree char *type = NULL;
    g_autoptr(GBytes) top = gp_source_top(source, &digest, &type, &error);
    g_assert_no_error(error);
    g_autoptr(GpManifest) parsed = NULL;
    GpIndex *index;
    g_assert_true(gp_manifest_parse(top, type, &parsed, &index, &error));
    if (manifest)
        g_assert_cmpmem(g_bytes_get_data(top, NULL), g_bytes_get_size(top), manifest, strlen(manifest));
    g_autoptr(GBytes) again = gp_source_manifest(source, &digest, g_bytes_get_size(top), NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) config =
        gp_source_blob(source, &parsed->config->digest, parsed->config->size, GP_LIMIT_CONFIG, &error);
    g_assert_no_error(error);
    const GpDescriptor *layer = parsed->layers->pdata[0];
    g_autoptr(GpSourceStream) stream = gp_source_stream_open(source, &layer->digest, layer->size, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) bytes = gp_read_all(gp_source_stream_fd(stream), 1000, "layer", &error);
    g_assert_true(gp_source_stream_finish(stream, &error));
    g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), "layer", 5);

    GpDigest wrong = digest;
    wrong.bytes[0] ^= 1;
    g_assert_null(gp_source_blob(source, &wrong, 5, 1000, &error));
    assert_error(error, GP_ERROR_NOT_FOUND, "");
    g_clear_error(&error);
    g_assert_null(gp_source_blob(source, &parsed->config->digest, parsed->config->size + 1, GP_LIMIT_CONFIG, &error));
    assert_error(error, GP_ERROR_INVALID, "");
    g_clear_error(&error);
    g_assert_null(gp_source_blob(source, &parsed->config->digest, 11, 10, &error));
    assert_error(error, GP_ERROR_LIMIT, "at most 10");
}

static void check_cosign(GpSource *source, const char *manifest)
{
    g_autoptr(GError) error = NULL;
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, manifest, strlen(manifest), &digest);
    g_autoptr(GPtrArray) found = gp_source_cosign_signatures(source, NULL, &digest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(found->len, ==, 1);
    const GpFoundSignature *signature = found->pdata[0];
    g_assert_cmpint(signature->type, ==, GP_FOUND_COSIGN);
    g_assert_cmpstr(signature->media_type, ==, COSIGN_TYPE);
    g_assert_cmpstr(
        json_string_value(json_object_get(signature->annotations, "dev.cosignproject.cosign/signature")), ==, "c2ln");
    g_assert_cmpmem(g_bytes_get_data(signature->blob, NULL), g_bytes_get_size(signature->blob), "payload", 7);
    digest.bytes[0] ^= 1;
    g_autoptr(GPtrArray) none = gp_source_cosign_signatures(source, NULL, &digest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(none->len, ==, 0);
}

static void test_oci(void)
{
    g_autoptr(Folder) layout = folder_new();
    g_autofree char *manifest = NULL;
    make_layout(layout, &manifest);
    static const char *const tags[] = {"", ":v1"};
    for (gsize i = 0; i < G_N_ELEMENTS(tags); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpSource) source = open_name("oci", layout, tags[i], &error);
        g_assert_no_error(error);
        check_image(source, manifest);
        check_cosign(source, manifest);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSource) source = open_name("oci", layout, ":v2", &error);
    GpDigest digest;
    g_assert_null(gp_source_top(source, &digest, NULL, &error));
    assert_error(error, GP_ERROR_NOT_FOUND, "no image called v2");
}

static void assert_oci_fails(const char *layout, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSource) source = open_name("oci", layout, "", &error);
    GpDigest digest;
    g_autoptr(GBytes) top = source ? gp_source_top(source, &digest, NULL, &error) : NULL;
    g_assert_null(top);
    assert_error(error, code, reason);
}

static void test_oci_refused(void)
{
    g_autoptr(Folder) layout = folder_new();
    assert_oci_fails("/nowhere/at/all", GP_ERROR_NOT_FOUND, "no such directory");
    assert_oci_fails("/etc/passwd", GP_ERROR_INVALID, "not a directory");
    assert_oci_fails(layout, GP_ERROR_NOT_FOUND, "oci-layout: no such file");
    put(layout, "oci-layout", "{\"imageLayoutVersion\":\"2.0\"}", -1);
    assert_oci_fails(layout, GP_ERROR_UNSUPPORTED, "version \"2.0\"");
    put(layout, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", -1);
    assert_oci_fails(layout, GP_ERROR_NOT_FOUND, "index.json");
    put(layout, "index.json", "{\"schemaVersion\":2,\"manifests\":[]}", -1);
    assert_oci_fails(layout, GP_ERROR_NOT_FOUND, "no image");

    g_autofree char *entry = put_blob(layout, GP_TYPE_OCI_MANIFEST, "{}", "");
    g_autofree char *two = g_strdup_printf("{\"schemaVersion\":2,\"manifests\":[%s,%s]}", entry, entry);
    put(layout, "index.json", two, -1);
    assert_oci_fails(layout, GP_ERROR_INVALID, "2 images");
    g_autofree char *one = g_strdup_printf("{\"schemaVersion\":2,\"manifests\":[%s]}", entry);
    put(layout, "index.json", one, -1);
    g_autofree char *digest = digest_text("{}");
    g_autofree char *blob = g_strconcat("blobs/sha256/", digest + 7, NULL);
    put(layout, blob, "[]", -1);
    assert_oci_fails(layout, GP_ERROR_DIGEST, "the manifest is sha256:");
    put(layout, blob, "[1]", -1);
    assert_oci_fails(layout, GP_ERROR_INVALID, "3 bytes, index.json says 2");

    g_autofree char *path = g_build_filename(layout, blob, NULL);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(symlink("/etc/passwd", path), ==, 0);
    assert_oci_fails(layout, GP_ERROR_INVALID, "symbolic link");
    g_autofree char *blobs = g_build_filename(layout, "blobs", NULL);
    g_autofree char *moved = g_build_filename(layout, "moved", NULL);
    g_assert_cmpint(g_rename(blobs, moved), ==, 0);
    g_assert_cmpint(symlink(moved, blobs), ==, 0);
    assert_oci_fails(layout, GP_ERROR_INVALID, "links are not followed");
}

/* ---- dir: */

static void test_dir(void)
{
    g_autoptr(Folder) folder = folder_new();
    g_autofree char *manifest = NULL;
    make_layout(folder, &manifest); /* for its blobs */
    put(folder, "manifest.json", manifest, -1);
    put(folder, "signature-1", SIMPLE, -1);
    put(folder, "signature-2",
        "\0sigstore-json\n{\"mimeType\":\"" COSIGN_TYPE "\",\"payload\":\"cGF5bG9hZA==\","
        "\"annotations\":{\"dev.cosignproject.cosign/signature\":\"c2ln\"}}",
        15 + (gssize) strlen("{\"mimeType\":\"" COSIGN_TYPE "\",\"payload\":\"cGF5bG9hZA==\","
                             "\"annotations\":{\"dev.cosignproject.cosign/signature\":\"c2ln\"}}"));
    put(folder, "signature-4", SIMPLE, -1); /* behind the gap */
    static const char *const command = "cp -n blobs/sha256/* .";
    g_autofree char *shell = g_strdup_printf("sh -c 'cd %s && %s'", folder, command);
    g_assert_true(g_spawn_command_line_sync(shell, NULL, NULL, NULL, NULL));

    g_autoptr(GError) error = NULL;
    g_autoptr(GpSource) source = open_name("dir", folder, "", &error);
    g_assert_no_error(error);
    check_image(source, manifest);
    check_cosign(source, manifest);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, manifest, strlen(manifest), &digest);
    g_autoptr(GPtrArray) simple = gp_source_simple_signatures(source, NULL, NULL, &digest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(simple->len, ==, 1);
    g_assert_nonnull(strstr(((GpFoundSignature *) simple->pdata[0])->source, "/signature-1"));

    put(folder, "signature-3", "junk", -1);
    g_assert_null(gp_source_simple_signatures(source, NULL, NULL, &digest, &error));
    assert_error(error, GP_ERROR_INVALID, "signature-3: not a signature");
}

static void test_signature_blobs(void)
{
#define BYTES(text) text, sizeof text - 1
#define SIGSTORE "\0sigstore-json\n"
    static const struct {
        const char *data;
        gsize length;
        int type; /* -1: refused */
        const char *expected;
    } rows[] = {
        {BYTES("\x90x"), GP_FOUND_SIMPLE, "\x90x"},
        {BYTES("\0simple-signing\n\xa3y"), GP_FOUND_SIMPLE, "\xa3y"},
        {BYTES(SIGSTORE "{\"mimeType\":\"a\",\"payload\":\"aGk=\",\"annotations\":{}}"), GP_FOUND_COSIGN, "hi"},
        {BYTES(""), -1, "not a signature"},
        {BYTES("text"), -1, "not a signature"},
        {BYTES("-----BEGIN PGP SIGNATURE-----"), -1, "not a signature"},
        {BYTES("\0simple-signing\n"), -1, "not a signature"},
        {BYTES("\0simple-signing\ntext"), -1, "not a signature"},
        {BYTES("\0other\n\x90"), -1, "not a signature"},
        {BYTES(SIGSTORE), -1, "sigstore-json"},
        {BYTES(SIGSTORE "{\"mimeType\":\"a\",\"payload\":\"aGk=\"}"), -1, "\"annotations\" is missing"},
        {BYTES(SIGSTORE "{\"mimeType\":\"a\",\"payload\":\"aGk=\",\"annotations\":{},\"x\":1}"), -1, "unknown key"},
        {BYTES(SIGSTORE "{\"mimeType\":\"a\",\"payload\":\"aGk=\",\"annotations\":{\"k\":1}}"), -1, "must be a string"},
        {BYTES(SIGSTORE "{\"mimeType\":\"a\",\"payload\":\"a Gk=\",\"annotations\":{}}"), -1, "not base64"},
        {BYTES(SIGSTORE "{\"mimeType\":\"a\",\"payload\":\"aGk\",\"annotations\":{}}"), -1, "not base64"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GBytes) blob = g_bytes_new_static(rows[i].data, rows[i].length);
        g_autoptr(GError) error = NULL;
        GpFoundSignature *found = gp_signature_blob_parse(blob, "here", &error);
        if (rows[i].type < 0) {
            g_assert_null(found);
            assert_error(error, GP_ERROR_INVALID, rows[i].expected);
            continue;
        }
        g_assert_no_error(error);
        g_assert_cmpint((int) found->type, ==, rows[i].type);
        g_assert_cmpmem(g_bytes_get_data(found->blob, NULL), g_bytes_get_size(found->blob), rows[i].expected,
            strlen(rows[i].expected));
        g_assert_cmpstr(found->source, ==, "here");
        gp_found_signature_free(found);
    }
}

/* ---- lookaside */

typedef struct {
    guint good; /* signatures that are there */
    int status; /* of the next one */
} Lookaside;

static void serve_lookaside(HttpConnection *c, gpointer data)
{
    const Lookaside *lookaside = data;
    const char *number = strrchr(c->path, '-');
    guint64 index = number ? g_ascii_strtoull(number + 1, NULL, 10) : 0;
    if (index >= 1 && index <= lookaside->good)
        http_answer(c, 200, "", SIMPLE, strlen(SIMPLE));
    else
        http_answer(c, lookaside->status, "", "", 0);
}

static void test_lookaside(void)
{
    static const struct {
        Lookaside server;
        GpErrorCode code;
        const char *reason;
    } rows[] = {
        {{0, 404}, 0, NULL},
        {{3, 404}, 0, NULL},
        {{3, 403}, GP_ERROR_AUTH, "lookaside signature 4: "},
        {{0, 418}, GP_ERROR_INVALID, "lookaside signature 1: "},
        {{0, 200}, GP_ERROR_INVALID, "lookaside signature 1: not a signature"},
        {{200, 404}, GP_ERROR_LIMIT, "more than 128 signatures"},
    };
    g_autoptr(GpReference) reference = gp_reference_parse("registry.example/team/app:v1", NULL);
    g_autoptr(GpImageName) name = gp_image_name_parse("registry.example/team/app:v1", NULL);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, "x", 1, &digest);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Lookaside lookaside = rows[i].server;
        HttpServer *server = http_server_new(serve_lookaside, &lookaside, NULL);
        g_autofree char *host = g_strdup_printf("127.0.0.1:%u", server->port);
        g_autofree char *base = g_strdup_printf("http://%s/sigs", host);
        char *plain[] = {host, NULL};
        GpFetchConfig config = {.plain_http = plain, .timeout = 20};
        g_autoptr(GError) error = NULL;
        g_autoptr(GpFetch) fetch = gp_fetch_start(&config, &error);
        g_assert_no_error(error);
        GpLocation location = {.host = host, .repository = reference->path};
        g_autoptr(GpSource) source = gp_source_open(name, fetch, &location, &error);
        g_autoptr(GPtrArray) found = gp_source_simple_signatures(source, reference, base, &digest, &error);
        if (rows[i].reason) {
            g_assert_null(found);
            assert_error(error, rows[i].code, rows[i].reason);
        } else {
            g_assert_no_error(error);
            g_assert_cmpuint(found->len, ==, lookaside.good);
            g_assert_nonnull(strstr(server->heads->pdata[0], "/sigs/team/app@sha256=2d711642"));
        }
        g_clear_pointer(&fetch, gp_fetch_free);
        http_server_free(server);
    }
}

static void test_lookaside_files(void)
{
    g_autoptr(Folder) folder = folder_new();
    g_autoptr(GpReference) reference = gp_reference_parse("registry.example/team/app:v1", NULL);
    g_autoptr(GpImageName) name = gp_image_name_parse("registry.example/team/app:v1", NULL);
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, "x", 1, &digest);
    g_autofree char *hex = gp_digest_to_hex(&digest);
    g_autofree char *first = g_strdup_printf("team/app@sha256=%s/signature-1", hex);
    g_autofree char *second = g_strdup_printf("team/app@sha256=%s/signature-2", hex);
    put(folder, first, SIMPLE, -1);
    g_autofree char *base = g_strconcat("file://", folder, NULL);
    GpFetchConfig config = {.timeout = 20};
    g_autoptr(GError) error = NULL;
    g_autoptr(GpFetch) fetch = gp_fetch_start(&config, &error);
    g_assert_no_error(error);
    GpLocation location = {.host = reference->domain, .repository = reference->path};
    g_autoptr(GpSource) source = gp_source_open(name, fetch, &location, &error);
    g_autoptr(GPtrArray) found = gp_source_simple_signatures(source, reference, base, &digest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(found->len, ==, 1);
    g_autoptr(GPtrArray) none = gp_source_simple_signatures(source, reference, NULL, &digest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(none->len, ==, 0);
    g_autofree char *path = g_build_filename(folder, second, NULL);
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    g_assert_null(gp_source_simple_signatures(source, reference, base, &digest, &error));
    assert_error(error, GP_ERROR_INVALID, "not a regular file");
}

/* ---- the real registry */

static guint free_port(void)
{
    GP_AUTOFD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    g_assert_cmpint(bind(fd, (struct sockaddr *) &address, size), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *) &address, &size), ==, 0);
    return ntohs(address.sin_port);
}

static void wait_for_port(guint port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((guint16) port)};
    for (guint i = 0; i < 200; i++) {
        GP_AUTOFD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *) &address, sizeof address) == 0)
            return;
        g_usleep(50000);
    }
    g_error("the registry did not start");
}

static GPid start_registry(const char *folder, guint port)
{
    g_autofree char *text = g_strdup_printf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: "
                                            "%s/data}}\nhttp: {addr: '127.0.0.1:%u'}\n",
        folder, port);
    put(folder, "config.yml", text, -1);
    g_autofree char *path = g_build_filename(folder, "config.yml", NULL);
    char *argv[] = {(char *) (guintptr) "docker-registry", (char *) (guintptr) "serve", path, NULL};
    GPid pid;
    GSpawnFlags flags =
        G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL;
    g_assert_true(g_spawn_async(NULL, argv, NULL, flags, NULL, NULL, &pid, NULL));
    wait_for_port(port);
    return pid;
}

static void push(const char *layout, const char *tag, guint port)
{
    g_autofree char *command =
        g_strdup_printf("skopeo copy -q --insecure-policy --preserve-digests --dest-tls-verify=false oci:%s:%s "
                        "docker://127.0.0.1:%u/team/app:%s",
            layout, tag, port, tag);
    int status;
    g_autofree char *err = NULL;
    g_assert_true(g_spawn_command_line_sync(command, NULL, &err, &status, NULL));
    if (status != 0)
        g_error("%s: %s", command, err);
}

static void check_registry(const char *image, guint port, const char *manifest)
{
    g_autofree char *host = g_strdup_printf("127.0.0.1:%u", port);
    g_autofree char *text = g_strconcat(host, "/team/app", image, NULL);
    char *plain[] = {host, NULL};
    GpFetchConfig config = {.plain_http = plain, .timeout = 20};
    g_autoptr(GError) error = NULL;
    g_autoptr(GpFetch) fetch = gp_fetch_start(&config, &error);
    g_assert_no_error(error);
    g_autoptr(GpImageName) name = gp_image_name_parse(text, &error);
    g_assert_no_error(error);
    g_autoptr(GpLocation) location = gp_location_for(name->reference, NULL, &config);
    g_autoptr(GpSource) source = gp_source_open(name, fetch, location, &error);
    g_assert_no_error(error);
    check_image(source, manifest);
    check_cosign(source, manifest);
}

static void test_real_registry(void)
{
    g_autofree char *registry = g_find_program_in_path("docker-registry");
    g_autofree char *skopeo = g_find_program_in_path("skopeo");
    if (!registry || !skopeo) {
        g_test_skip("docker-registry or skopeo is not installed");
        return;
    }
    g_autoptr(Folder) folder = folder_new();
    g_autofree char *layout = g_build_filename(folder, "layout", NULL);
    g_autofree char *manifest = NULL;
    make_layout(layout, &manifest);
    guint port = free_port();
    GPid pid = start_registry(folder, port);
    g_autofree char *digest = digest_text(manifest);
    g_autofree char *tag = g_strdup_printf("sha256-%s.sig", digest + 7);
    g_autofree char *by_digest = g_strconcat("@", digest, NULL);
    push(layout, "v1", port);
    push(layout, tag, port);
    check_registry(":v1", port, manifest);
    check_registry(by_digest, port, manifest);
    (void) kill(pid, SIGTERM);
    (void) waitpid(pid, NULL, 0);
}

static void skip(void)
{
    g_test_skip("GUEST_PULL_LIBEXEC is not set, so there is no worker to test");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void) signal(SIGPIPE, SIG_IGN);
    gboolean worker = g_getenv("GUEST_PULL_LIBEXEC") != NULL;
    g_test_add_func("/puller/source/names", test_names);
    g_test_add_func("/puller/source/oci", test_oci);
    g_test_add_func("/puller/source/oci-refused", test_oci_refused);
    g_test_add_func("/puller/source/dir", test_dir);
    g_test_add_func("/puller/source/signature-blobs", test_signature_blobs);
    g_test_add_func("/puller/source/lookaside", worker ? test_lookaside : skip);
    g_test_add_func("/puller/source/lookaside-files", worker ? test_lookaside_files : skip);
    g_test_add_func("/puller/source/real-registry", worker ? test_real_registry : skip);
    return g_test_run();
}
