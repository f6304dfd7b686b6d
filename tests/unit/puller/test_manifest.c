#include "base/error.h"
#include "base/limits.h"
#include "puller/manifest.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "\"digest\":\"sha256:" HEX "\",\"size\":7"
#define CONFIG "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\"," DIGEST "}"
#define LAYER(type) "{\"mediaType\":\"" type "\"," DIGEST "}"
#define GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define LAYERS "\"layers\":[" LAYER(GZIP) "]"
#define HEAD "{\"schemaVersion\":2,"
#define MANIFEST HEAD CONFIG "," LAYERS "}"
#define INDEX HEAD "\"manifests\":[{\"mediaType\":\"" GP_TYPE_OCI_MANIFEST "\"," DIGEST "}]}"
#define TYPED(type, rest) HEAD "\"mediaType\":\"" type "\"," rest "}"

static gboolean parse(const char *text, const char *type, GpManifest **manifest, GpIndex **index, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static(text, strlen(text));
    return gp_manifest_parse(bytes, type, manifest, index, error);
}

static void test_accepted(void)
{
    static const struct {
        const char *text, *content_type, *type;
        gboolean is_index;
    } rows[] = {
        {MANIFEST, NULL, GP_TYPE_OCI_MANIFEST, FALSE},
        {MANIFEST, "text/plain; charset=utf-8", GP_TYPE_OCI_MANIFEST, FALSE},
        {MANIFEST, GP_TYPE_OCI_MANIFEST, GP_TYPE_OCI_MANIFEST, FALSE},
        {MANIFEST, GP_TYPE_DOCKER_MANIFEST, GP_TYPE_DOCKER_MANIFEST, FALSE},
        {TYPED(GP_TYPE_DOCKER_MANIFEST, CONFIG "," LAYERS), NULL, GP_TYPE_DOCKER_MANIFEST, FALSE},
        {TYPED(GP_TYPE_OCI_MANIFEST, CONFIG "," LAYERS), GP_TYPE_OCI_MANIFEST "; x=y", GP_TYPE_OCI_MANIFEST, FALSE},
        {HEAD CONFIG ",\"layers\":[]}", NULL, GP_TYPE_OCI_MANIFEST, FALSE},
        {INDEX, NULL, GP_TYPE_OCI_INDEX, TRUE},
        {INDEX, GP_TYPE_DOCKER_LIST, GP_TYPE_DOCKER_LIST, TRUE},
        {HEAD "\"manifests\":[]}", GP_TYPE_OCI_INDEX, GP_TYPE_OCI_INDEX, TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GpManifest) manifest = NULL;
        g_autoptr(GpIndex) index = NULL;
        g_autoptr(GError) error = NULL;
        parse(rows[i].text, rows[i].content_type, &manifest, &index, &error);
        g_assert_no_error(error);
        g_assert_true(rows[i].is_index ? index && !manifest : manifest && !index);
        g_assert_cmpstr(index ? index->media_type : manifest->media_type, ==, rows[i].type);
    }
}

static void test_fields(void)
{
    static const char text[] =
        HEAD CONFIG ",\"layers\":[" LAYER(GZIP) ",{\"mediaType\":\"" GZIP "\",\"digest\":\"sha256:" HEX
                                                "\",\"size\":9,\"urls\":[\"http://evil\"],"
                                                "\"data\":\"aGk=\",\"annotations\":{\"a\":\"b\"}}]}";
    g_autoptr(GpManifest) manifest = NULL;
    GpIndex *index;
    g_assert_true(parse(text, NULL, &manifest, &index, NULL));
    g_assert_cmpuint(manifest->layers->len, ==, 2); /* the same digest twice is two layers */
    const GpDescriptor *layer = manifest->layers->pdata[1];
    g_autofree char *digest = gp_digest_to_string(&layer->digest);
    g_assert_cmpstr(digest, ==, "sha256:" HEX);
    g_assert_cmpuint(layer->size, ==, 9);
    g_assert_cmpstr(g_hash_table_lookup(layer->annotations, "a"), ==, "b");
    g_assert_null(layer->urls); /* it lies in the registry */
}

#define OCI_FOREIGN "application/vnd.oci.image.layer.nondistributable.v1.tar"
#define DOCKER_FOREIGN "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
#define FOREIGN(urls)                                                                                                  \
    HEAD CONFIG ",\"layers\":[" LAYER(GZIP) ",{\"mediaType\":\"" DOCKER_FOREIGN "\"," DIGEST ",\"urls\":" urls "}]}"

static void test_foreign(void)
{
    static const struct {
        const char *text, *refused; /* NULL: it is no such image */
        guint urls;                 /* of the last layer */
    } rows[] = {
        {MANIFEST, NULL, 0},
        {HEAD CONFIG ",\"layers\":[" LAYER(OCI_FOREIGN "+gzip") "]}", "$.layers[0]: \"" OCI_FOREIGN "+gzip\"", 0},
        {HEAD CONFIG ",\"layers\":[" LAYER(OCI_FOREIGN "+gzip+encrypted") "]}", NULL, 0},
        {FOREIGN("null"), "$.layers[1]: \"" DOCKER_FOREIGN "\"", 0},
        {FOREIGN("[]"), "outside the registry", 0},
        {FOREIGN("[\"https://a.example/x\",\"ftp://b.example/y\"]"), "outside the registry", 2},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GpManifest) manifest = NULL;
        g_autoptr(GError) error = NULL;
        GpIndex *index;
        g_assert_true(parse(rows[i].text, NULL, &manifest, &index, NULL));
        const GpDescriptor *last = manifest->layers->pdata[manifest->layers->len - 1];
        g_assert_cmpuint(last->urls ? g_strv_length(last->urls) : 0, ==, rows[i].urls);
        g_assert_cmpint(gp_manifest_refuse_foreign(manifest, &error), ==, rows[i].refused == NULL);
        if (!rows[i].refused)
            continue;
        g_assert_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED);
        g_assert_nonnull(strstr(error->message, rows[i].refused));
    }
}

#define DESCRIPTOR(rest) HEAD CONFIG ",\"layers\":[{\"mediaType\":\"" GZIP "\"," rest "}]}"

static void test_refused(void)
{
    static const struct {
        const char *text, *content_type;
        GpErrorCode code;
        const char *reason;
    } rows[] = {
        /* CVE-2021-41190 and relatives */
        {HEAD CONFIG "," LAYERS ",\"manifests\":[]}", NULL, GP_ERROR_INVALID, "CVE-2021-41190"},
        {HEAD CONFIG "," LAYERS ",\"manifests\":null}", GP_TYPE_OCI_MANIFEST, GP_ERROR_INVALID, "CVE-2021-41190"},
        {HEAD "\"manifests\":[],\"layers\":[]}", GP_TYPE_OCI_INDEX, GP_ERROR_INVALID, "CVE-2021-41190"},
        {HEAD "\"manifests\":[],\"config\":{}}", GP_TYPE_OCI_INDEX, GP_ERROR_INVALID, "CVE-2021-41190"},
        {HEAD CONFIG "," LAYERS ",\"fsLayers\":[]}", NULL, GP_ERROR_INVALID, "CVE-2021-41190"},
        {HEAD CONFIG "," LAYERS ",\"Manifests\":[]}", NULL, GP_ERROR_INVALID, "letter case"},
        {HEAD CONFIG "," LAYERS ",\"LAYERS\":[]}", NULL, GP_ERROR_INVALID, "letter case"},
        {HEAD CONFIG "," LAYERS "," LAYERS "}", NULL, GP_ERROR_INVALID, "duplicate"},
        /* what it is */
        {MANIFEST, GP_TYPE_OCI_INDEX, GP_ERROR_INVALID, "\"manifests\" is missing"},
        {INDEX, GP_TYPE_OCI_MANIFEST, GP_ERROR_INVALID, "\"config\" is missing"},
        {TYPED(GP_TYPE_OCI_MANIFEST, CONFIG "," LAYERS), GP_TYPE_DOCKER_MANIFEST, GP_ERROR_INVALID, "calls itself"},
        {TYPED(GP_TYPE_OCI_INDEX, CONFIG "," LAYERS), NULL, GP_ERROR_INVALID, "\"manifests\" is missing"},
        {TYPED("text/plain", CONFIG "," LAYERS), NULL, GP_ERROR_UNSUPPORTED, "neither an image manifest nor an index"},
        {TYPED("application/x\\u001b", CONFIG "," LAYERS), NULL, GP_ERROR_UNSUPPORTED, "application/x\\x1b"},
        {MANIFEST, "text/html", GP_ERROR_UNSUPPORTED, "content type \"text/html\""},
        {TYPED("", CONFIG "," LAYERS), NULL, GP_ERROR_INVALID, "must not be empty"},
        {"{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, GP_ERROR_UNSUPPORTED, "schema 1"},
        {MANIFEST, "application/vnd.docker.distribution.manifest.v1+prettyjws", GP_ERROR_UNSUPPORTED, "schema 1"},
        {"{\"schemaVersion\":3," CONFIG "," LAYERS "}", NULL, GP_ERROR_UNSUPPORTED, "must be 2"},
        {"{\"schemaVersion\":\"2\"," CONFIG "," LAYERS "}", NULL, GP_ERROR_INVALID, "must be an integer"},
        {"{" CONFIG "," LAYERS "}", NULL, GP_ERROR_INVALID, "\"schemaVersion\" is missing"},
        /* fields */
        {HEAD CONFIG "}", NULL, GP_ERROR_INVALID, "\"layers\" is missing"},
        {HEAD LAYERS "}", NULL, GP_ERROR_INVALID, "\"config\" is missing"},
        {HEAD CONFIG ",\"layers\":{}}", NULL, GP_ERROR_INVALID, "must be an array"},
        {HEAD CONFIG ",\"layers\":[null]}", NULL, GP_ERROR_INVALID, "$.layers[0]: must be an object"},
        {HEAD "\"config\":{\"mediaType\":\"application/vnd.x\"," DIGEST "}," LAYERS "}", NULL, GP_ERROR_UNSUPPORTED,
            "no image configuration"},
        {HEAD "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:" HEX
              "\",\"size\":4194305}," LAYERS "}",
            NULL, GP_ERROR_LIMIT, "at most 4194304"},
        {DESCRIPTOR("\"digest\":\"sha256:" HEX "\""), NULL, GP_ERROR_INVALID, "\"size\" is missing"},
        {DESCRIPTOR("\"digest\":\"sha256:" HEX "\",\"size\":-1"), NULL, GP_ERROR_INVALID, "negative"},
        {DESCRIPTOR("\"digest\":\"sha256:" HEX "\",\"size\":1.5"), NULL, GP_ERROR_INVALID, "must be an integer"},
        {DESCRIPTOR("\"digest\":\"sha256:" HEX "\",\"size\":99999999999999"), NULL, GP_ERROR_LIMIT, "at most"},
        {DESCRIPTOR("\"digest\":\"sha256:../../etc/passwd\",\"size\":1"), NULL, GP_ERROR_INVALID, "not a digest"},
        {DESCRIPTOR("\"digest\":\"md5:abc\",\"size\":1"), NULL, GP_ERROR_UNSUPPORTED, "neither sha256 nor sha512"},
        {DESCRIPTOR(DIGEST ",\"Digest\":\"x\""), NULL, GP_ERROR_INVALID, "letter case"},
        {DESCRIPTOR(DIGEST ",\"annotations\":{\"a\":1}"), NULL, GP_ERROR_INVALID, "annotations.a: must be a string"},
        {DESCRIPTOR(DIGEST ",\"URLs\":[]"), NULL, GP_ERROR_INVALID, "letter case"},
        {FOREIGN("\"https://a\""), NULL, GP_ERROR_INVALID, "$.layers[1].urls: must be a list"},
        {FOREIGN("[\"https://a\",1]"), NULL, GP_ERROR_INVALID, "$.layers[1].urls[1]: must be a URL"},
        {FOREIGN("[\"\"]"), NULL, GP_ERROR_INVALID, "urls[0]: must be a URL"},
        {FOREIGN("[\"https://a/\\n\"]"), NULL, GP_ERROR_INVALID, "urls[0]: must be a URL"},
        {FOREIGN("[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7]"), NULL, GP_ERROR_LIMIT, "a list of at most 16"},
        {"", NULL, GP_ERROR_INVALID, "manifest"},
        {MANIFEST "x", NULL, GP_ERROR_INVALID, "end of file expected"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        GpManifest *manifest;
        GpIndex *index;
        g_autoptr(GError) error = NULL;
        g_assert_false(parse(rows[i].text, rows[i].content_type, &manifest, &index, &error));
        g_assert_null(manifest);
        g_assert_null(index);
        if (gp_error_code(error) != rows[i].code || !strstr(error->message, rows[i].reason))
            g_test_message("row %u: %s", (guint) i, error->message);
        g_assert_error(error, GP_ERROR, (gint) rows[i].code);
        g_assert_nonnull(strstr(error->message, rows[i].reason));
    }
}

static void test_too_many_layers(void)
{
    g_autoptr(GString) text = g_string_new(HEAD CONFIG ",\"layers\":[");
    for (guint i = 0; i <= GP_LIMIT_LAYERS; i++)
        g_string_append_printf(text, "%s" LAYER(GZIP), i ? "," : "");
    g_string_append(text, "]}");
    GpManifest *manifest;
    GpIndex *index;
    g_autoptr(GError) error = NULL;
    g_assert_false(parse(text->str, NULL, &manifest, &index, &error));
    g_assert_error(error, GP_ERROR, GP_ERROR_LIMIT);
    g_assert_nonnull(strstr(error->message, "501 layers, at most 500"));
}

static void test_layer_types(void)
{
    static const struct {
        const char *type;
        GpCompression compression;
        const char *reason; /* NULL: accepted */
    } rows[] = {
        {"application/vnd.oci.image.layer.v1.tar", GP_COMPRESSION_NONE, NULL},
        {"application/vnd.oci.image.layer.v1.tar+gzip", GP_COMPRESSION_GZIP, NULL},
        {"application/vnd.oci.image.layer.v1.tar+zstd", GP_COMPRESSION_ZSTD, NULL},
        {"application/vnd.docker.image.rootfs.diff.tar", GP_COMPRESSION_NONE, NULL},
        {"application/vnd.docker.image.rootfs.diff.tar.gzip", GP_COMPRESSION_GZIP, NULL},
        {"application/vnd.docker.image.rootfs.diff.tar.zstd", GP_COMPRESSION_ZSTD, NULL},
        {"application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted", 0, "can be decrypted"},
        {"application/vnd.oci.image.layer.v1.tar+gzip+encrypted+encrypted", 0, "can be decrypted"},
        {"application/vnd.oci.image.layer.v1.tar+encrypted", GP_COMPRESSION_NONE, NULL},
        {"application/vnd.oci.image.layer.v1.tar+gzip+encrypted", GP_COMPRESSION_GZIP, NULL},
        {"application/vnd.oci.image.layer.v1.tar+zstd+encrypted", GP_COMPRESSION_ZSTD, NULL},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+encrypted", GP_COMPRESSION_NONE, NULL},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip+encrypted", GP_COMPRESSION_GZIP, NULL},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd+encrypted", GP_COMPRESSION_ZSTD, NULL},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar", GP_COMPRESSION_NONE, NULL},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", GP_COMPRESSION_GZIP, NULL},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", GP_COMPRESSION_ZSTD, NULL},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar", GP_COMPRESSION_NONE, NULL},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", GP_COMPRESSION_GZIP, NULL},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar.xz", 0, "not a layer type"},
        {"application/vnd.oci.image.layer.v1.tar+xz", 0, "not a layer type"},
        {"Application/vnd.oci.image.layer.v1.tar", 0, "not a layer type"},
        {"", 0, "not a layer type"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        GpDescriptor layer = {.media_type = (char *) (guintptr) rows[i].type};
        GpCompression compression;
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(gp_layer_compression(&layer, &compression, &error), ==, rows[i].reason == NULL);
        if (!rows[i].reason) {
            g_assert_cmpint(compression, ==, rows[i].compression);
            continue;
        }
        g_assert_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED);
        g_assert_nonnull(strstr(error->message, rows[i].reason));
    }
}

static void test_artifact(void)
{
    static const char text[] = HEAD CONFIG ",\"layers\":[" LAYER("application/vnd.anything") "]}";
    static const struct {
        const char *text, *type, *reason;
    } rows[] = {
        {text, GP_TYPE_OCI_MANIFEST, NULL},
        {text, NULL, NULL},
        {text, GP_TYPE_DOCKER_MANIFEST, "not an OCI image manifest"},
        {INDEX, NULL, "not an OCI image manifest"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GBytes) bytes = g_bytes_new_static(rows[i].text, strlen(rows[i].text));
        g_autoptr(GError) error = NULL;
        g_autoptr(GpManifest) manifest = gp_manifest_parse_artifact(bytes, rows[i].type, &error);
        g_assert_true((manifest != NULL) == (rows[i].reason == NULL));
        if (rows[i].reason) {
            g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
            g_assert_nonnull(strstr(error->message, rows[i].reason));
        }
    }
}

/* An index whose entries are "os/arch/variant" words, with "+WORD" behind them when an annotation says so of zstd; the
 * size of the chosen one is its place, or -1. */
static int choose(const char *entries, const char *wanted, GError **error)
{
    g_auto(GStrv) words = g_strsplit(entries, " ", -1);
    g_autoptr(GString) text = g_string_new(HEAD "\"manifests\":[");
    for (guint i = 0; words[i]; i++) {
        g_string_append_printf(text, "%s{\"digest\":\"sha256:" HEX "\",\"size\":%u,\"mediaType\":\"%s\"", i ? "," : "",
            i, strcmp(words[i], "other") == 0 ? "application/vnd.other" : GP_TYPE_OCI_MANIFEST);
        char *zstd = strchr(words[i], '+');
        if (zstd) {
            *zstd = '\0';
            g_string_append_printf(
                text, ",\"annotations\":{\"io.github.containers.compression.zstd\":\"%s\"}", zstd + 1);
        }
        g_auto(GStrv) parts = g_strsplit(words[i], "/", 3);
        if (g_strv_length(parts) >= 2)
            g_string_append_printf(text, ",\"platform\":{\"os\":\"%s\",\"architecture\":\"%s\",\"variant\":\"%s\"}",
                parts[0], parts[1], parts[2] ? parts[2] : "");
        if (strcmp(words[i], "attestation") == 0)
            g_string_append(text, ",\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"}");
        g_string_append(text, "}");
    }
    g_string_append(text, "]}");
    GpPlatform platform;
    g_autoptr(GpIndex) index = NULL;
    GpManifest *manifest;
    g_assert_true(gp_platform_parse(wanted, &platform, NULL));
    g_assert_true(parse(text->str, NULL, &manifest, &index, NULL));
    const GpDescriptor *chosen = gp_index_choose(index, &platform, error);
    int place = chosen ? (int) chosen->size : -1;
    gp_platform_clear(&platform);
    return place;
}

static void test_choose(void)
{
    static const struct {
        const char *entries, *wanted;
        int place;
    } rows[] = {
        {"linux/arm64 linux/amd64", "linux/amd64", 1},
        {"linux/amd64 linux/amd64", "linux/amd64", 0},
        {"linux/amd64 linux/amd64+true linux/amd64+true", "linux/amd64", 1},
        {"linux/amd64+true linux/amd64", "linux/amd64", 0},
        {"linux/amd64 linux/amd64+false", "linux/amd64", 0},
        {"linux/amd64 linux/arm64+true", "linux/amd64", 0},
        {"linux/arm/v6+true linux/arm/v7", "linux/arm/v7", 1},
        {"linux/amd64/v3 linux/amd64", "linux/amd64", 1},
        {"linux/amd64/v3 linux/amd64/v2 linux/amd64", "linux/amd64/v2", 1},
        {"linux/amd64/v4 linux/amd64/v1", "linux/amd64/v3", 1},
        {"linux/arm/v5 linux/arm/v6 linux/arm/v7 linux/arm/v8", "linux/arm/v7", 2},
        {"linux/arm/v5 linux/arm/v6", "linux/arm", 1},
        {"linux/arm/v8", "linux/arm/v7", -1},
        {"linux/arm linux/arm/v6", "linux/arm/v7", 1},
        {"linux/arm64 linux/arm64/v8", "linux/arm64", 0},
        {"linux/arm64/v8", "linux/arm64", 0},
        {"linux/arm64", "linux/arm64/v8", 0},
        {"linux/arm64/v9", "linux/arm64", -1},
        {"none linux/amd64", "linux/amd64", 1},
        {"linux/arm64 none none", "linux/amd64", 1},
        {"unknown/unknown other attestation", "linux/amd64", -1},
        {"windows/amd64", "linux/amd64", -1},
        {"LINUX/amd64", "linux/amd64", -1},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(choose(rows[i].entries, rows[i].wanted, &error), ==, rows[i].place);
        if (rows[i].place < 0)
            g_assert_error(error, GP_ERROR, GP_ERROR_UNSUPPORTED);
    }
    g_autoptr(GError) error = NULL;
    choose("windows/amd64 linux/arm/v6", "linux/s390x", &error);
    g_assert_nonnull(strstr(error->message, "nothing for linux/s390x, only: windows/amd64, linux/arm/v6"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/puller/manifest/accepted", test_accepted);
    g_test_add_func("/puller/manifest/fields", test_fields);
    g_test_add_func("/puller/manifest/foreign", test_foreign);
    g_test_add_func("/puller/manifest/refused", test_refused);
    g_test_add_func("/puller/manifest/too-many-layers", test_too_many_layers);
    g_test_add_func("/puller/manifest/layer-types", test_layer_types);
    g_test_add_func("/puller/manifest/artifact", test_artifact);
    g_test_add_func("/puller/manifest/choose", test_choose);
    return g_test_run();
}
